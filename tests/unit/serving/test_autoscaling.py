"""The rule of a horizontal autoscaler, by hand."""

import pytest

from rackmoe.serving.autoscaling import ReplicaCount, wanted_replicas


@pytest.mark.parametrize(
    ("n_now", "load", "wanted"),
    [
        (2, 30.0, 3),
        (2, 31.0, 4),
        (2, 20.0, 2),
        (2, 21.9, 2),
        (2, 18.1, 2),
        (4, 0.0, 0),
        (1, 5.0, 1),
    ],
)
def test_the_load_of_each_replica_is_brought_to_its_target(n_now, load, wanted):
    assert wanted_replicas(n_now, load=load, target=10.0, tolerance_frac=0.1) == wanted


def test_a_number_rises_at_once_and_falls_when_no_recent_wish_was_higher():
    count = ReplicaCount(least=1, most=4, stabilization_ps=100)
    assert count.settle(9, n_now=2, now_ps=0) == 4
    assert count.settle(2, n_now=4, now_ps=50) == 4
    assert count.settle(0, n_now=4, now_ps=100) == 4
    assert count.settle(1, n_now=4, now_ps=101) == 2
    assert count.settle(1, n_now=2, now_ps=151) == 1


def test_without_a_window_it_falls_at_once():
    count = ReplicaCount(least=1, most=4, stabilization_ps=0)
    count.settle(4, n_now=4, now_ps=0)
    assert count.settle(2, n_now=4, now_ps=1) == 2
