"""The compiled port times against their NumPy twin, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.network.port_kernels import NO_COPIES, NO_TOKENS, added_s, added_s_plain

COPIES = np.array([[10.0, 0.0, 3.0], [7.0, 2.0, 30.0]])
TOKENS_S = np.array([1e-6, 0.0, 4e-6])


def test_one_part_beyond_the_start_of_a_full_ramp_takes_its_own_time():
    took_s = added_s(NO_TOKENS, COPIES, 2e-6, NO_COPIES, 0.0, 10e-6, 1.0)
    assert took_s == pytest.approx(2e-6 * COPIES, rel=1e-9)


def test_nic_alone_is_taken_where_no_port_is_used():
    took_s = added_s(NO_TOKENS, NO_COPIES, 0.0, COPIES, 2e-6, 10e-6, 1.0)
    assert took_s == pytest.approx(2e-6 * COPIES, rel=1e-9)


def test_two_equal_parts_are_joined_softly():
    took_s = added_s(np.full(3, 6e-6), np.full((2, 3), 3.0), 2e-6, NO_COPIES, 0.0, 0.0, 1.0)
    assert took_s == pytest.approx(np.full((2, 3), 6e-6 * 2**0.25))


@pytest.mark.parametrize("token_s", [NO_TOKENS, TOKENS_S])
@pytest.mark.parametrize(("port", "nic"), [(1, 0), (0, 1), (1, 1)])
@given(seed=st.integers(0, 99), latency_s=st.floats(0.0, 1e-4), ramp=st.floats(0.01, 2.0))
def test_kernel_is_its_twin_to_the_last_bit(token_s, port, nic, seed, latency_s, ramp):
    rng = np.random.default_rng(seed)
    copies = [rng.integers(0, 50, (4, 3)) * 1.5 if used else NO_COPIES for used in (port, nic)]
    arguments = (token_s, copies[0], 1.3e-7, copies[1], 2.7e-6, latency_s, ramp)
    assert added_s(*arguments).tolist() == added_s_plain(*arguments).tolist()
