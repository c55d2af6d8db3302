from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import InvariantError, ShapeError
from rackmoe.routing import bounds
from rackmoe.routing.bounds import best_split_imbalance, imbalance_floor, placed_imbalance
from rackmoe.routing.eplb import eplb
from rackmoe.routing.placement import Placement


def place(*rows, n_experts, n_ranks):
    return Placement.from_slots(np.array(rows), n_experts=n_experts, n_ranks=n_ranks)


def test_equal_shares_of_replicas_load_the_ranks():
    two = place([0, 1, 0, 2], n_experts=3, n_ranks=2)
    # ranks carry 6/2 + 1 and 6/2 + 5: 8 over a mean of 6
    assert placed_imbalance(np.array([[6, 1, 5]]), placement=two) == pytest.approx([8 / 6])


def test_best_split_moves_the_load_of_a_replicated_expert():
    two = place([0, 1, 0, 2], n_experts=3, n_ranks=2)
    # 5 and 1 of expert 0 beside 1 and 5: exactly balanced
    assert best_split_imbalance(np.array([[6, 1, 5]]), placement=two) == pytest.approx([1.0])
    # nothing can help a rank that holds the only copy of the busiest expert
    assert best_split_imbalance(np.array([[1, 1, 10]]), placement=two) == pytest.approx([10 / 6])


def test_layer_without_load_is_balanced():
    two = place([0, 1], [0, 1], n_experts=2, n_ranks=2)
    load = np.array([[0, 0], [3, 1]])
    for law in (placed_imbalance, best_split_imbalance):
        assert law(load, placement=two) == pytest.approx([1.0, 1.5])


def test_busiest_expert_and_the_lightest_others_are_a_floor():
    # one copy each: the rank of 10 also holds at least the 1: 11 over a mean of 8
    load = np.array([[10, 1, 2, 3]])
    assert imbalance_floor(load, n_ranks=2) == pytest.approx([11 / 8])
    # with two more slots 10 is halved and nothing forbids balance
    assert imbalance_floor(load, n_ranks=2, n_redundant=2) == pytest.approx([1.0])


@given(seed=st.integers(0, 10**6), n_redundant=st.sampled_from([0, 8]))
@settings(max_examples=15, deadline=None)
def test_no_placement_undercuts_the_bounds(seed, n_redundant):
    load = np.random.default_rng(seed).lognormal(0, 1.2, (2, 16))
    found = eplb(load, n_ranks=8, n_redundant=n_redundant)
    placed = placed_imbalance(load, placement=found)
    split = best_split_imbalance(load, placement=found)
    assert (split >= 1 - 1e-9).all()
    assert (split <= placed * (1 + 1e-9)).all()
    floor = imbalance_floor(load, n_ranks=8, n_redundant=n_redundant)
    assert (floor <= placed * (1 + 1e-6)).all()


def test_tables_of_another_shape_are_refused():
    two = place([0, 1], n_experts=2, n_ranks=2)
    with pytest.raises(ShapeError, match=r"expected \(1, 2\)"):
        placed_imbalance(np.ones((1, 3)), placement=two)
    with pytest.raises(ShapeError, match="expected layers and experts"):
        imbalance_floor(np.ones(3), n_ranks=1)


def test_solver_that_fails_is_a_bug(monkeypatch):
    two = place([0, 1], n_experts=2, n_ranks=2)
    failed = SimpleNamespace(success=False, message="no solution")
    monkeypatch.setattr(bounds, "linprog", lambda *_, **__: failed)
    with pytest.raises(InvariantError, match="no solution"):
        best_split_imbalance(np.ones((1, 2)), placement=two)
