"""The shape of a step's durations."""

import numpy as np
import pytest

from rackmoe.errors import ShapeError
from rackmoe.network.layer_times import LayerTimes


def test_a_step_without_exchanges_is_not_connected(uniform_times):
    times = uniform_times(3, 4, pre=1.0, shared=0.0, expert=1.0, dispatch=None, combine=None)
    assert not times.is_connected
    assert times.shape == (3, 4)
    assert times.latencies_s == (0.0, 0.0)


def test_one_rank_has_nobody_to_exchange_with(random_times):
    assert not random_times(2, 1).is_connected
    assert random_times(2, 2).is_connected


def test_rows_of_a_range_are_contiguous_and_in_kernel_order(random_times):
    times = random_times(5, 3)
    rows = times.rows(first=1, last=4)
    assert [row.shape for row in rows] == [(3, 3)] * 7
    assert all(row.flags.c_contiguous for row in rows)
    assert (rows[2] == times.expert_s[1:4]).all()
    assert (rows[5] == times.combine.egress_s[1:4]).all()


@pytest.mark.parametrize("shape", [(2, 4), (3,), (3, 4, 1)])
def test_arrays_of_different_shapes_are_refused(shape):
    matrix = np.zeros((3, 4))
    with pytest.raises(ShapeError, match=r"expert_s: shape .* expected \(n_layers, n_ranks\)"):
        LayerTimes(
            pre_s=matrix, shared_s=matrix, expert_s=np.zeros(shape), dispatch=None, combine=None
        )
