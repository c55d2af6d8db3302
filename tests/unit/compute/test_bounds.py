from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.compute.bounds import join_bounds, peak_flop_per_s
from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.model.dtypes import WEIGHT_DTYPES

TIMES = st.floats(1e-9, 1.0)


def test_bounds_add_at_sharpness_one():
    assert join_bounds(1e-6, second_s=2e-6, third_s=3e-6, sharpness=1.0) == pytest.approx(
        6e-6, rel=1e-12
    )


def test_plain_roofline_takes_the_largest_bound():
    assert join_bounds(
        1.0, second_s=np.array([0.5, 3.0]), third_s=2.0, sharpness=inf
    ).tolist() == [2.0, 3.0]


@given(TIMES, TIMES, TIMES, st.floats(1.0, 8.0))
def test_joined_time_lies_between_the_largest_bound_and_the_sum(first, second, third, sharpness):
    joined = join_bounds(first, second_s=second, third_s=third, sharpness=sharpness)
    assert max(first, second, third) * (1 - 1e-9) <= joined
    assert joined <= (first + second + third) * (1 + 1e-9)


@given(TIMES, TIMES, st.floats(1.0, 8.0), st.floats(1.0, 10.0))
def test_joined_time_never_falls_when_a_bound_rises(first, second, sharpness, factor):
    low = join_bounds(first, second_s=second, third_s=0.0, sharpness=sharpness)
    assert join_bounds(
        first * factor, second_s=second, third_s=0.0, sharpness=sharpness
    ) >= low * (1 - 1e-9)


def test_weight_only_formats_compute_at_the_bf16_peak(gpu):
    assert peak_flop_per_s(gpu, dtype="w4a16_int4") == 1e14
    assert peak_flop_per_s(gpu, dtype="w4a8_mxfp4") == 2e14


def test_every_weight_format_has_a_peak(gpu):
    able = [dtype for dtype in WEIGHT_DTYPES if dtype != "nvfp4"]
    assert all(peak_flop_per_s(gpu, dtype=dtype) > 0 for dtype in able)


def test_gpu_without_the_units_refuses_and_names_what_it_can():
    with pytest.raises(ConfigError, match=r"nvfp4: h200 has no fp4 units; choose one of bf16"):
        peak_flop_per_s(load_machine("hgx_h200").gpu, dtype="nvfp4")


def test_unknown_format_is_refused(gpu):
    with pytest.raises(ConfigError, match="dtype: fp6"):
        peak_flop_per_s(gpu, dtype="fp6")
