"""Piecewise constant speed: when work is done."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import ShapeError
from rackmoe.network.link_state import LinkState
from rackmoe.network.reference import work_ends_s
from rackmoe.network.slowdown import Slowdown, finish_all, finish_s, served_s, served_until_s

CHANGES_S = np.array([1.0, 2.0, 4.0])
FACTOR = np.array([[1.0], [2.0], [0.5], [4.0]])


@pytest.mark.parametrize(
    ("start_s", "work_s", "end_s"),
    [
        (0.0, 1.0, 1.0),  # done as the speed changes
        (0.0, 1.25, 1.5),  # the last quarter at half speed
        (0.0, 1.5, 2.0),  # up to the second change
        (0.0, 3.5, 3.0),  # two more at double speed
        (1.5, 4.25, 4.0),  # a quarter, then four at double speed
        (5.0, 1.0, 9.0),  # after all changes
    ],
)
def test_work_runs_at_the_speed_of_each_interval(start_s, work_s, end_s):
    assert finish_s(start_s, work_s, CHANGES_S, FACTOR, 0) == pytest.approx(end_s, rel=1e-12)


@given(start_s=st.floats(0, 6), work_s=st.floats(0, 10))
def test_kernel_equals_its_numpy_twin(start_s, work_s):
    start, work = np.array([start_s]), np.array([work_s])
    result = np.empty(1)
    finish_all(start, work, CHANGES_S, FACTOR, result)
    expected = work_ends_s(start, work_s=work, change_s=CHANGES_S, factor=FACTOR)
    assert result == pytest.approx(expected, rel=1e-12)
    assert finish_s(start_s, work_s, CHANGES_S, FACTOR, 0) == result[0]


@given(at_s=st.floats(-2, 8))
def test_time_of_served_work_is_the_inverse_of_work_served(at_s):
    work_s = served_s(at_s, CHANGES_S, FACTOR, 0)
    assert served_until_s(work_s, CHANGES_S, FACTOR, 0) == pytest.approx(at_s, abs=1e-12)


def test_a_change_keeps_the_factors_that_are_not_given():
    slow = Slowdown.steady(2, egress=2.0).changed(1.0, compute=np.array([1.0, 3.0]))
    assert slow.compute.tolist() == [[1.0, 1.0], [1.0, 3.0]]
    assert slow.egress.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert slow.ingress.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_changes_of_the_past_are_forgotten():
    slow = Slowdown.none(1).changed(1.0, egress=2.0).changed(2.0, egress=3.0)
    assert slow.since(0.5) is slow
    assert slow.since(1.0).change_s.tolist() == [2.0]
    assert slow.since(1.0).egress[:, 0].tolist() == [2.0, 3.0]


def test_a_change_before_the_last_one_is_refused():
    slow = Slowdown.none(1).changed(2.0)
    with pytest.raises(ShapeError, match="give the changes in order"):
        slow.changed(1.0)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.inf, np.nan])
def test_a_rank_without_capacity_is_refused(factor):
    with pytest.raises(ShapeError, match="expected finite positive factors"):
        Slowdown.steady(2, ingress=factor)


def test_links_between_domains_change_with_the_factors():
    tight = replace(LinkState.free(2), far_out=np.array([1.0, 4.0]))
    slow = Slowdown.none(2).changed(1.0, egress=2.0).changed(2.0, links=tight).changed(3.0)
    assert [slow.link_state(row).far_out[1] for row in range(4)] == [1.0, 1.0, 4.0, 4.0]
    assert slow.since(2.0).links == (tight, tight)
    after = Slowdown.none(2).then(1.0, after=slow)
    assert after.links == (LinkState.free(2), tight)
    assert after.egress[-1].tolist() == [2.0, 2.0]
    assert Slowdown.none(2).changed(1.0).links == ()
    assert Slowdown.none(2).link_state(0) is LinkState.free(2)
