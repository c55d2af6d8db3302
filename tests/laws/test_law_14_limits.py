"""LAW-14: ep = 1 sends nothing; a free network gives the roofline; balanced loads imbalance 1."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Shape, cases, run

_PEAKS = ("bf16", "fp8", "fp4")
_FREE_NETWORK = (("scale_up.gpu_bandwidth", "18e9 TB/s"), ("scale_up.link_bandwidth", "1e9 TB/s"))
_WAITS = ["dispatch_wait_s", "combine_wait_s"]
_EXCHANGES = ["dispatch_s", "combine_s"]


@settings(max_examples=12)
@given(case=cases(pools=(Shape(),)))
def test_one_gpu_sends_nothing(small_files, case):
    steps = run(case, small_files).to_frame("steps")
    for column in ("scale_up_bytes", "scale_out_bytes", *_EXCHANGES, *_WAITS):
        assert (steps[column] == 0).all(), column


@settings(max_examples=15)
@given(case=cases(backend="ideal", pools=(Shape(),)))
def test_an_ideal_gpu_runs_at_its_roofline(small_files, case):
    """No faster than the slower unit over the whole step, no slower than both in turn.

    A fused prefill kernel hides the traffic of its queries and results, which is counted.
    """
    result = run(case, small_files)
    steps, gpu = result.to_frame("steps"), result.scenario.machine.gpu
    memory_s = steps["hbm_bytes"] / gpu.hbm_bandwidth_bytes_per_s
    tensor_s = sum(steps[f"{peak}_flop"] / gpu.peak_flop_per_s[peak] for peak in _PEAKS)
    slack = np.where(steps["n_prefill_tokens"] > 0, 0.1, 1e-9)
    assert (steps["duration_s"] >= np.maximum(memory_s, tensor_s) * (1 - slack)).all()
    assert (steps["duration_s"] <= (memory_s + tensor_s) * (1 + 1e-9) + 1e-12).all()


@settings(max_examples=15)
@given(
    case=cases(backend="ideal", overrides=_FREE_NETWORK, policy="mixed"),
    shape=st.sampled_from([Shape(attention_dp=4, ep=4), Shape(tp=2, attention_dp=2, ep=4)]),
)
def test_a_free_network_leaves_only_compute_and_waiting(small_files, case, shape):
    result = run(replace(case, pools=(shape,)), small_files)
    steps = result.to_frame("steps")
    assert (steps[_EXCHANGES].sum(axis=1) <= 1e-6 * steps["duration_s"]).all()
    computed = ["attention_s", "dense_s", "expert_s", "shared_expert_s"]
    total_s = steps[[*computed, *_WAITS]].sum(axis=1)
    assert total_s.to_numpy() == pytest.approx(steps["duration_s"].to_numpy(), rel=2e-6, abs=3e-12)


@settings(max_examples=15)
@given(case=cases(routing="balanced"))
def test_balanced_routing_has_imbalance_one(small_files, case):
    steps = run(case, small_files).to_frame("steps")
    assert steps["imbalance"].to_numpy() == pytest.approx(1.0, rel=1e-12)


@settings(max_examples=15)
@given(case=cases())
def test_no_load_is_better_than_balanced(small_files, case):
    steps = run(case, small_files).to_frame("steps")
    assert (steps["imbalance"] >= 1 - 1e-12).all()
