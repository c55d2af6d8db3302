import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import ConfigError
from rackmoe.routing.placement import Placement, contiguous
from rackmoe.routing.replicas import (
    build_replica_table,
    check_replica_choice,
    hashed_replica,
    nearest_shares,
    split_counts,
)


@pytest.fixture
def place():
    """Four ranks of two slots; expert 0 on ranks 0, 1 and 3, expert 1 on ranks 0 and 2."""
    return Placement.from_slots(
        np.array([[0, 1, 0, 2, 1, 3, 0, 4]]), n_experts=5, n_ranks=4, ranks_per_node=2
    )


def test_replica_table_inverts_the_placement(place):
    table = build_replica_table(place)
    assert table.n_replicas.tolist() == [[3, 2, 1, 1, 1]]
    assert table.slots[0].tolist() == [[0, 2, 6], [1, 4, 1], [3, 3, 3], [5, 5, 5], [7, 7, 7]]


def test_unknown_replica_choice_is_refused():
    check_replica_choice("nearest")
    with pytest.raises(ConfigError, match="'farthest' is unknown; expected one of random"):
        check_replica_choice("farthest")


def test_hashed_replicas_are_spread_evenly_and_stay_the_same():
    chosen = [hashed_replica(row, 17, 3) for row in range(3000)]
    assert np.bincount(chosen) == pytest.approx([1000] * 3, rel=0.1)
    assert chosen == [hashed_replica.py_func(row, 17, 3) for row in range(3000)]


def test_random_replicas_share_the_expected_count(place):
    load = split_counts(np.array([[9.0, 4, 1, 0, 2]]), placement=place, choice="random")
    assert load.tolist() == [[3, 2, 3, 1, 2, 0, 3, 2]]


def test_round_robin_replicas_differ_by_one_at_most(place):
    load = split_counts(np.array([[8.0, 5, 1, 0, 2]]), placement=place, choice="round_robin")
    assert load.tolist() == [[3, 3, 3, 1, 2, 0, 2, 2]]


def test_nearest_replica_is_on_the_own_rank_then_on_the_own_node(place):
    share, own, own_node = nearest_shares(place)
    # expert 0: ranks 0, 1 and 3 keep theirs; rank 2 asks its node-mate 3
    assert share[0, [0, 2, 6]].tolist() == [0.25, 0.25, 0.5]
    # expert 1: ranks 0, 2 keep theirs, 1 asks 0, 3 asks 2
    assert share[0, [1, 4]].tolist() == [0.5, 0.5]
    # rank 0 computes 1 + 2 quarters, of which it sends one of each
    assert own[0, 0] == pytest.approx(2 / 3, rel=1e-12)
    assert own_node[0, 0] == pytest.approx(1.0, rel=1e-12)
    counts = np.array([[8.0, 4, 4, 4, 4]])
    assert split_counts(counts, placement=place, choice="nearest")[0, :3].tolist() == [2, 2, 2]


def test_least_loaded_replicas_level_the_ranks(place):
    # ranks hold 0, 6, 2 and 8 of single experts; expert 0 (10) fills 0, 1 and 3, expert 1 0 and 2
    load = split_counts(np.array([[10.0, 4, 6, 2, 8]]), placement=place, choice="least_loaded")
    ranks = load.reshape(4, 2).sum(axis=1)
    # expert 0: 8 to rank 0, then level with rank 1 at 8; expert 1: all to rank 2
    assert ranks.tolist() == [8, 8, 6, 8]


@given(
    seed=st.integers(0, 10**6),
    choice=st.sampled_from(["random", "round_robin", "nearest", "least_loaded"]),
)
@settings(max_examples=40, deadline=None)
def test_splits_keep_every_expert_whole(seed, choice):
    rng = np.random.default_rng(seed)
    slots = np.array([rng.permutation(np.r_[np.arange(8), rng.integers(0, 8, 4)])] * 2)
    place = Placement.from_slots(slots, n_experts=8, n_ranks=6, ranks_per_node=2)
    counts = rng.integers(0, 50, (2, 8)).astype(float)
    load = split_counts(counts, placement=place, choice=choice)
    assert (load >= 0).all()
    for layer in range(2):
        whole = np.bincount(slots[layer], weights=load[layer], minlength=8)
        assert whole == pytest.approx(counts[layer], rel=1e-12)


def test_single_replicas_make_all_choices_alike():
    place = contiguous(8, n_layers=1, n_ranks=4)
    counts = np.arange(8.0)[None]
    for choice in ("random", "round_robin", "nearest", "least_loaded"):
        assert split_counts(counts, placement=place, choice=choice).tolist() == counts.tolist()
