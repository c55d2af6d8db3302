import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.physical import check_map, is_trivial, logical_counts, logical_ids

P2L = np.array([[0, 1, 2, 0], [2, 1, 0, -1]])


def test_map_tells_how_many_experts_there_are():
    assert check_map(P2L, n_experts=None, place="a") == 3
    assert check_map(P2L, n_experts=3, place="a") == 3


@pytest.mark.parametrize(
    ("p2l", "n_experts"),
    [
        ([[0, 1, 3]], None),
        ([[0, 1, 1]], 3),
        ([[0, 1, 2]], 2),
        ([[0, -2]], None),
        ([[0, 10**12]], None),
        ([[0, 1]], 10**12),
    ],
)
def test_map_that_misses_an_expert_is_refused(p2l, n_experts):
    with pytest.raises(TraceError, match=r"expected each of .* experts in each layer"):
        check_map(np.array(p2l), n_experts=n_experts, place="a")


@pytest.mark.parametrize("p2l", [np.arange(3), np.empty((0, 3), int), np.empty((2, 0), int)])
def test_map_of_another_shape_is_refused(p2l):
    with pytest.raises(TraceError, match=r"a: a map of shape .*; expected \[layers, slots\]"):
        check_map(p2l, n_experts=None, place="a")


def test_trivial_map_repeats_the_experts():
    assert is_trivial(np.array([[0, 1, 2, 0], [0, 1, 2, 0]]), n_experts=3)
    assert not is_trivial(P2L, n_experts=3)


def test_counts_of_replicas_are_added():
    counts = np.array([[1, 2, 3, 4], [5, 6, 7, 0]])
    out = logical_counts(counts, physical_to_logical=P2L, n_experts=3, place="a")
    assert out.tolist() == [[5, 2, 3], [7, 6, 5]]


def test_counts_of_empty_slots_and_other_shapes_are_refused():
    with pytest.raises(TraceError, match="assignments to a slot without an expert"):
        logical_counts(np.ones((2, 4), int), physical_to_logical=P2L, n_experts=3, place="a")
    with pytest.raises(TraceError, match="expected one count for each slot"):
        logical_counts(np.ones((2, 3), int), physical_to_logical=P2L, n_experts=3, place="a")


def test_ids_of_slots_become_logical_and_shared_ones_stand_behind():
    ids = np.array([[[3, 1, 4], [0, 2, -1]]])
    out = logical_ids(ids, physical_to_logical=P2L, n_experts=3, place="a")
    assert out.tolist() == [[[0, 1, 3], [2, 0, -1]]]
    with pytest.raises(TraceError, match="1 layers for a map of 2"):
        logical_ids(ids[:, :1], physical_to_logical=P2L, n_experts=3, place="a")
