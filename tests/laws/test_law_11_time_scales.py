"""LAW-11: all rates x k and fixed times / k: every time / k."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import build, cases

from rackmoe.simulation import simulate

_PEAKS = ("bf16", "fp8", "fp4")
_COLUMNS = ("arrival_s", "scheduled_s", "prefill_end_s", "first_token_s", "last_token_s")
# times are whole picoseconds, so each step and transfer of the two runs is off by one at most
_STEP_ROUNDING_S = 2e-12


def scaled(machine, k):
    """Return the overrides that make a machine k times faster in everything."""
    gpu, up, out = machine.gpu, machine.scale_up, machine.scale_out
    values = {
        "gpu.hbm_bandwidth": f"{k * gpu.hbm_bandwidth_bytes_per_s!r} B/s",
        "scale_up.gpu_bandwidth": f"{k * up.gpu_bandwidth_bytes_per_s!r} B/s",
        "scale_up.link_bandwidth": f"{k * up.link_bandwidth_bytes_per_s!r} B/s",
        "scale_out.nic_bandwidth": f"{k * out.nic_bandwidth_bytes_per_s!r} B/s",
        "scale_up.link_latency": f"{up.link_latency_s / k!r} s",
        "scale_up.switch_latency": f"{up.switch_latency_s / k!r} s",
        "scale_out.endpoint_latency": f"{out.endpoint_latency_s / k!r} s",
        "scale_out.switch_latency": f"{out.switch_latency_s / k!r} s",
    }
    peaks = {
        f"gpu.peak.{key}": f"{k * gpu.peak_flop_per_s[key]!r} FLOP/s"
        for key in _PEAKS
        if key in gpu.peak_flop_per_s
    }
    return tuple((values | peaks).items())


@settings(max_examples=12)
@given(
    case=cases(backend="ideal", host=("40 us", "10 us"), arrivals=("poisson", "1000 /s")),
    k=st.sampled_from([2, 4]),
)
def test_a_machine_k_times_faster_serves_k_times_the_rate_in_the_same_way(small_files, case, k):
    slow = build(case, small_files)
    changes = {
        "host": (f"{40 / k!r} us", f"{10 / k!r} us"),
        "arrivals": ("poisson", f"{1000 * k} /s"),
        "overrides": scaled(slow.machine, k),
    }
    first = simulate(slow)
    second = simulate(build(replace(case, **changes), small_files))
    before, after = first.to_frame("requests"), second.to_frame("requests")
    steps = first.to_frame("steps"), second.to_frame("steps")
    assert len(steps[0]) == len(steps[1])
    slack_s = _STEP_ROUNDING_S * (len(steps[0]) + 2 * len(before))
    for column in _COLUMNS:
        assert after[column].to_numpy() * k == pytest.approx(
            before[column].to_numpy(), rel=1e-9, abs=k * slack_s, nan_ok=True
        ), column
    for column in ("n_output_tokens", "n_preemptions", "decode_replica", "decode_rank"):
        assert np.array_equal(before[column], after[column]), column
    for column in ("n_decode_tokens", "n_prefill_tokens", "hbm_bytes", "flop"):
        assert steps[0][column].to_numpy() == pytest.approx(steps[1][column].to_numpy()), column
