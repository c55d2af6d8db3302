from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.backend.operator_files import operator_constants
from rackmoe.backend.operators import free_constants, ideal_constants
from rackmoe.compute.attention_shapes import DEEPSEEK_ATTENTION
from rackmoe.compute.operators import OperatorLaws
from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine, profile_names

EXPERTS = {"hidden": 7168, "inter": 2048, "dtype": "fp8_block"}


@cache
def gpu_of(machine):
    return load_machine(machine).gpu


@cache
def constants_of(name):
    return operator_constants(name)


def all_times(laws, size=1.0):
    m = np.array([size, 300.0 * size])
    return {
        "gemm": laws.gemm_time_s(m, n=7168, k=2048, dtype="fp8_block"),
        "experts": laws.grouped_gemm_time_s(
            8 * m, active_experts=np.minimum(8 * m, 4), n_local_experts=4, **EXPERTS
        ),
        "mla decode": laws.mla_decode_time_s(m, kv_tokens=4000 * m, heads=128, kv_dtype="fp8"),
        "mla prefill": laws.mla_prefill_time_s(m, score_pairs=4000 * m, heads=128, kv_dtype="fp8"),
        "gqa decode": laws.gqa_decode_time_s(
            m, kv_tokens=4000 * m, heads=64, kv_heads=8, head_dim=64, kv_dtype="bf16"
        ),
        "gqa prefill": laws.gqa_prefill_time_s(
            m, score_pairs=4000 * m, heads=64, kv_heads=8, head_dim=64, kv_dtype="bf16"
        ),
        "floor": laws.attention_floor_s(m, dtype="fp8_block", phase="decode"),
        "element-wise": laws.elementwise_time_s(1e6 * m),
    }


@pytest.mark.parametrize("machine", profile_names())
def test_every_machine_has_times_for_every_operator(machine):
    gpu = gpu_of(machine)
    for name, times_s in all_times(OperatorLaws(gpu, operator_constants(gpu.name))).items():
        assert np.isfinite(times_s).all(), name
        assert (np.diff(times_s) >= 0).all(), name
        assert (times_s > 0).all(), name


def test_free_operators_take_no_time(gpu):
    for times_s in all_times(OperatorLaws(gpu, free_constants())).values():
        assert times_s.tolist() == [0.0, 0.0]


def test_ideal_operators_are_never_slower_than_fitted_ones():
    machine_gpu = gpu_of("gb200_nvl72")
    ideal = all_times(OperatorLaws(machine_gpu, ideal_constants()))
    fitted = all_times(OperatorLaws(machine_gpu, constants_of("gb200")))
    for name, times_s in ideal.items():
        assert (times_s <= fitted[name]).all(), name


@given(
    st.sampled_from(["gb200", "h200"]),
    st.floats(1.0, 4.0),
    st.floats(1.0, 4.0),
    st.floats(1.0, 400.0),
)
def test_faster_parts_are_never_slower(name, flop_gain, bandwidth_gain, size):
    machine = {"gb200": "gb200_nvl72", "h200": "hgx_h200"}[name]
    slow = gpu_of(machine)
    fast = replace(
        slow,
        peak_flop_per_s={key: flop_gain * peak for key, peak in slow.peak_flop_per_s.items()},
        hbm_bandwidth_bytes_per_s=bandwidth_gain * slow.hbm_bandwidth_bytes_per_s,
    )
    constants = constants_of(name)
    slow_times = all_times(OperatorLaws(slow, constants), size)
    fast_times = all_times(OperatorLaws(fast, constants), size)
    for operator, times_s in fast_times.items():
        assert (times_s <= slow_times[operator] * (1 + 1e-9)).all(), operator


@given(
    st.sampled_from(["bf16", "fp8_block", "nvfp4"]),
    st.integers(1, 131_072 * 8),
    st.integers(1, 320),
)
def test_experts_with_more_load_are_never_faster(dtype, assignments, active):
    laws = OperatorLaws(gpu_of("gb200_nvl72"), constants_of("gb200"))
    law = laws.grouped_gemm(hidden=7168, inter=2048, dtype=dtype, n_local_experts=320)
    base = float(law(assignments, active)) * (1 - 1e-12)
    assert float(law(assignments + 1, active)) >= base
    assert float(law(assignments, active + 1)) >= base


def test_a_shape_is_bound_once(gpu):
    laws = OperatorLaws(gpu, ideal_constants())
    assert laws.gemm(n=10, k=20, dtype="bf16") is laws.gemm(n=10, k=20, dtype="bf16")
    bound = laws.attention_decode(DEEPSEEK_ATTENTION, tp=2, kv_dtype="bf16")
    # Half of the heads on each of two ranks is what a model of half the heads has.
    halved = laws.mla_decode_time_s(8.0, kv_tokens=8000.0, heads=64, kv_dtype="bf16")
    assert float(bound(8.0, 8000.0)) == pytest.approx(float(halved), rel=1e-12)


def test_format_without_constants_is_refused_with_those_that_have(gpu):
    lacking = replace(ideal_constants(name="half"), gemm={"bf16": ideal_constants().gemm["bf16"]})
    with pytest.raises(ConfigError, match=r"gemm: nvfp4: no constants for half; .* bf16"):
        OperatorLaws(gpu, lacking).gemm_time_s(1.0, n=1, k=1, dtype="nvfp4")
