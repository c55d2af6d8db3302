"""How start-up time and the parts of a collective add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.network.startup import overlapped_s, ramped_s

times = st.floats(0, 1, allow_subnormal=False).filter(lambda one: one == 0 or one > 1e-9)
ramps = st.floats(0.01, 10)


def test_two_equal_parts_take_a_little_longer_than_one():
    assert float(overlapped_s(3e-6, 3e-6)) == pytest.approx(3e-6 * 2**0.25)


def test_one_part_takes_its_own_time():
    assert float(overlapped_s(3e-6)) == 3e-6


def test_parts_of_different_shapes_are_broadcast():
    assert overlapped_s(np.ones((2, 3)), np.zeros(3)).shape == (2, 3)


@given(times, times)
def test_overlapped_parts_last_between_the_longest_and_the_sum(first_s, second_s):
    together_s = float(overlapped_s(first_s, second_s))
    assert max(first_s, second_s) * (1 - 1e-9) <= together_s <= (first_s + second_s) * (1 + 1e-9)


def test_ramp_of_one_adds_start_up_and_transfer():
    assert float(ramped_s(30e-6, latency_s=10e-6, ramp=1.0)) == pytest.approx(40e-6)


def test_ramp_of_zero_hides_the_start_up_of_a_long_transfer():
    # 3-4-5 triangle
    assert float(ramped_s(4e-6, latency_s=3e-6, ramp=0.0)) == pytest.approx(5e-6)


def test_long_transfer_pays_the_start_up_ramp_times():
    assert float(ramped_s(1.0, latency_s=1e-6, ramp=2.5)) - 1.0 == pytest.approx(2.5e-6, rel=1e-3)


@given(times, times, ramps)
def test_duration_is_at_least_the_start_up_and_grows_with_the_transfer(busy_s, start_s, ramp):
    shorter_s = float(ramped_s(busy_s, latency_s=start_s, ramp=ramp))
    longer_s = float(ramped_s(busy_s * 1.5, latency_s=start_s, ramp=ramp))
    assert start_s * (1 - 1e-9) <= shorter_s <= longer_s * (1 + 1e-9)
