from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.routing.affinity import affinity_placement, count_pairs, count_pairs_plain
from rackmoe.routing.bounds import placed_imbalance
from rackmoe.routing.eplb import eplb


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_pairs_are_those_of_plain_numpy(make_routed, seed):
    routed = make_routed(n_tokens=40, n_layers=3, n_experts=6, top_k=2, seed=seed)
    fast = count_pairs(routed, n_experts=6, rows=np.arange(40))
    plain = count_pairs_plain(routed, n_experts=6)
    assert (fast.within == plain.within).all()
    assert (fast.across == plain.across).all()
    assert fast.load.sum() == 40 * 3 * 2


def test_experts_that_share_tokens_share_a_rank():
    # tokens choose {0, 3} or {1, 2} in both layers, never across
    routed = np.array([[[0, 3], [0, 3]], [[1, 2], [1, 2]]] * 8, np.uint8)
    pairs = count_pairs(routed, n_experts=4, rows=np.arange(16))
    found = affinity_placement(pairs, n_ranks=2)
    for row in found.slots.tolist():
        assert {frozenset(row[:2]), frozenset(row[2:])} == {frozenset({0, 3}), frozenset({1, 2})}
    # and what follows a choice in the next layer sits on the same rank
    assert set(found.slots[0][:2].tolist()) == set(found.slots[1][:2].tolist())


@given(seed=st.integers(0, 10**6), n_redundant=st.sampled_from([0, 4, 8]))
@settings(max_examples=10, deadline=None)
def test_every_expert_keeps_its_copies(make_routed, seed, n_redundant):
    routed = make_routed(n_tokens=200, n_layers=2, n_experts=16, top_k=2, seed=seed)
    pairs = count_pairs(routed, n_experts=16, rows=np.arange(200))
    found = affinity_placement(pairs, n_ranks=4, n_redundant=n_redundant)
    balanced = eplb(pairs.load, n_ranks=4, n_redundant=n_redundant)
    assert (found.n_replicas == balanced.n_replicas).all()


def test_slack_is_load_that_affinity_may_cost(make_routed):
    routed = make_routed(n_tokens=2000, n_layers=3, n_experts=32, top_k=4)
    pairs = count_pairs(routed, n_experts=32, rows=np.arange(2000))
    tight = affinity_placement(pairs, n_ranks=4, slack_frac=0.05)
    balanced = placed_imbalance(pairs.load, placement=eplb(pairs.load, n_ranks=4))
    assert (placed_imbalance(pairs.load, placement=tight) <= 1.1 * balanced).all()


def test_nonsense_is_refused(make_routed):
    routed = make_routed(n_tokens=8, n_layers=2, n_experts=4, top_k=1)
    pairs = count_pairs(routed, n_experts=4, rows=np.arange(8))
    with pytest.raises(ConfigError, match=r"slack -0\.1; expected at least 0"):
        affinity_placement(pairs, n_ranks=2, slack_frac=-0.1)
    with pytest.raises(ShapeError, match="expected one matrix for each layer"):
        affinity_placement(replace(pairs, across=pairs.within), n_ranks=2)
