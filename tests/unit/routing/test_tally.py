from dataclasses import fields

import numpy as np
import pytest

from rackmoe.routing.placement import Placement, contiguous
from rackmoe.routing.replicas import build_replica_table
from rackmoe.routing.tally import Tally, count_rows, count_rows_plain


def count(routed, place, rows, row_rank, choice="random"):
    tally = Tally.zeros(place)
    count_rows(
        routed,
        tally=tally,
        placement=place,
        table=build_replica_table(place),
        choice=choice,
        rows=np.asarray(rows, np.int64),
        row_rank=np.asarray(row_rank, np.int32),
    )
    return tally


def test_counts_worked_by_hand():
    """Four ranks on two nodes, two experts each; two tokens of rank 0 and 3."""
    place = contiguous(8, n_layers=1, n_ranks=4, ranks_per_node=2)
    routed = np.array([[[0, 1, 2, 7]], [[6, 4, 5, 0]]], np.uint8)
    tally = count(routed, place, [0, 1], [0, 3])
    assert tally.slots[:, 0].tolist() == [2, 1, 1, 0, 1, 1, 1, 1]
    assert tally.rank_hits[:, 0].tolist() == [2, 1, 1, 2]
    assert tally.own_assignments[:, 0].tolist() == [2, 0, 0, 1]
    assert tally.own_copies[:, 0].tolist() == [1, 0, 0, 1]
    assert tally.destinations[:, 0].tolist() == [3, 0, 0, 3]
    # token 0 (rank 0) visits node 1: arrives at rank 2; token 1 (rank 3) arrives at rank 1
    assert tally.node_out[:, 0].tolist() == [1, 0, 0, 1]
    assert tally.node_in[:, 0].tolist() == [0, 1, 1, 0]
    assert tally.own_node_out[:, 0].tolist() == [3, 0, 0, 3]
    assert tally.own_node_in[:, 0].tolist() == [2, 1, 2, 1]


def test_cleared_tally_is_zero_everywhere():
    tally = Tally.zeros(contiguous(8, n_layers=2, n_ranks=2))
    tally.per_rank[:] = 1
    assert tally.own_node_out.all()
    tally.slots[:] = 1
    tally.clear()
    assert not any(getattr(tally, field.name).any() for field in fields(tally))


@pytest.mark.parametrize(
    ("n_ranks", "per_node", "n_redundant"), [(8, 8, 0), (8, 2, 8), (4, 2, 4), (1, 1, 0), (4, 1, 8)]
)
def test_compiled_count_equals_its_twin(
    make_placement, make_routed, make_rng, n_ranks, per_node, n_redundant
):
    place = make_placement(
        n_layers=3,
        n_experts=16,
        n_ranks=n_ranks,
        n_redundant=n_redundant,
        ranks_per_node=per_node,
    )
    routed = make_routed(n_tokens=50, n_layers=3, n_experts=16, top_k=4)
    rows = make_rng(1).integers(0, 50, 40)
    row_rank = make_rng(2).integers(0, n_ranks, 40).astype(np.int32)
    tally = count(routed, place, rows, row_rank)
    twin = count_rows_plain(
        routed, placement=place, table=build_replica_table(place), rows=rows, row_rank=row_rank
    )
    for field in fields(Tally):
        assert (getattr(tally, field.name) == getattr(twin, field.name)).all(), field.name


@pytest.fixture
def three_copies():
    """Three ranks; expert 0 on all of them."""
    return Placement.from_slots(np.array([[0, 1, 0, 2, 0, 3]]), n_experts=4, n_ranks=3)


def test_round_robin_takes_replicas_in_turn(three_copies):
    routed = np.zeros((1, 1, 1), np.uint8)
    tally = count(routed, three_copies, [0] * 7, [0] * 7, choice="round_robin")
    assert tally.slots[[0, 2, 4], 0].tolist() == [3, 2, 2]


def test_nearest_takes_the_own_replica(three_copies):
    routed = np.zeros((1, 1, 1), np.uint8)
    tally = count(routed, three_copies, [0] * 5, [0, 0, 1, 2, 2], choice="nearest")
    assert tally.own_assignments[:, 0].tolist() == [2, 1, 2]


def test_nearest_prefers_its_node_where_the_rank_has_none():
    place = Placement.from_slots(
        np.array([[0, 1, 2, 3, 0, 4, 0, 5]]), n_experts=6, n_ranks=4, ranks_per_node=2
    )
    routed = np.zeros((9, 1, 1), np.uint8)
    rows = np.arange(9)
    tally = count(routed, place, rows, np.ones(9), choice="nearest")
    assert tally.slots[[0, 4, 6], 0].tolist() == [9, 0, 0]
    # two replicas on the sender's node: both are used
    other = Placement.from_slots(
        np.array([[0, 1, 2, 3, 0, 4, 0, 5, 4, 5]]), n_experts=6, n_ranks=5, ranks_per_node=5
    )
    spread = count(routed, other, rows, np.ones(9), choice="nearest").slots[[0, 4, 6], 0]
    assert (spread > 0).all()


def test_least_loaded_takes_the_idle_replica(three_copies):
    routed = np.array([[[1]], [[2]], [[0]]], np.uint8)
    tally = count(routed, three_copies, [0, 0, 1, 2, 2], [0] * 5, choice="least_loaded")
    # ranks 0 and 1 have 2 and 1 tokens when expert 0 comes: rank 2 first, then 1 (a tie with 2)
    assert tally.slots[:, 0].tolist() == [0, 2, 1, 1, 1, 0]
