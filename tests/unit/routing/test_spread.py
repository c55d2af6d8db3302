from dataclasses import fields

import numpy as np
import pytest

from rackmoe.routing.spread import (
    RANK_FIELDS,
    add_tally,
    add_tally_plain,
    gather_counted,
    spread_nodes,
    spread_nodes_plain,
    spread_senders,
    spread_senders_plain,
)
from rackmoe.routing.step import StepRouting
from rackmoe.routing.tally import Tally

FIELD = {name: index for index, name in enumerate(RANK_FIELDS)}


@pytest.fixture
def place(make_placement):
    return make_placement(n_layers=2, n_experts=16, n_ranks=8, n_redundant=8, ranks_per_node=2)


@pytest.fixture
def loads(make_rng):
    """Loads, hits, node hits and parts of the tokens of eight ranks on four nodes."""
    rng = make_rng(5)
    load = rng.integers(5, 40, (2, 8)).astype(float)
    part = rng.random(8)
    node_hits = load.reshape(2, 4, 2).sum(axis=2) * 0.5
    return load, load * 0.8, node_hits, part / part.sum()


def test_rank_fields_are_those_of_a_step_in_the_order_that_kernels_use():
    names = [field.name for field in fields(StepRouting)]
    assert list(RANK_FIELDS) == names[1:]
    assert names[1:] == [
        *("rank_assignments", "active_experts", "copies_in", "copies_out"),
        *("assignments_in", "assignments_out", "node_copies_in", "node_copies_out"),
        *("remote_assignments_in", "remote_assignments_out"),
    ]


def test_tally_is_added_as_its_twin_adds_it(place, make_rng):
    rng = make_rng()
    tally = Tally.zeros(place)
    tally.slots[:] = rng.integers(0, 9, tally.slots.shape)
    tally.per_rank[:] = rng.integers(0, 9, tally.per_rank.shape)
    sent = rng.integers(0, 9, 8)
    results = [(np.zeros((2, 16), np.int32), np.zeros((10, 2, 8))) for _ in range(2)]
    counts, ranks = results[0]
    add_tally(tally.slots, tally.per_rank, sent, place.slots, True, counts, ranks)  # noqa: FBT003
    add_tally_plain(tally, sent, place, *results[1])
    assert (counts == results[1][0]).all()
    assert (ranks == results[1][1]).all()


def test_senders_take_their_part_and_keep_their_own():
    """Two ranks, three quarters of the tokens on the first."""
    ranks = np.zeros((10, 1, 2))
    load, hits = np.array([[60.0, 40.0]]), np.array([[40.0, 20.0]])
    spread_senders(load, hits, np.array([0.75, 0.25]), np.full((1, 2), 0.5), ranks)
    assert ranks[FIELD["assignments_in"], 0].tolist() == [15.0, 30.0]
    assert ranks[FIELD["assignments_out"], 0].tolist() == [30.0, 15.0]
    assert ranks[FIELD["copies_in"], 0].tolist() == [10.0, 15.0]
    assert ranks[FIELD["copies_out"], 0].tolist() == [15.0, 10.0]


def test_spread_of_senders_equals_its_twin(loads, make_rng):
    load, hits, _, part = loads
    own_share = make_rng().random((2, 8)) / 8
    one, two = np.zeros((2, 10, 2, 8))
    spread_senders(load, hits, part, own_share, one)
    spread_senders_plain(load, hits, part, own_share, two)
    assert one == pytest.approx(two, rel=1e-12)


def test_spread_over_nodes_equals_its_twin_and_loses_nothing(loads):
    load, _, node_hits, part = loads
    node_share = np.full((2, 8), 0.25)
    one, two = np.zeros((2, 10, 2, 8))
    spread_nodes(load, node_hits, part, node_share, one)
    spread_nodes_plain(load, node_hits, part, node_share, two)
    assert one == pytest.approx(two, rel=1e-12)
    for kind in ("node_copies", "remote_assignments"):
        sent, received = one[FIELD[f"{kind}_out"]], one[FIELD[f"{kind}_in"]]
        assert sent.sum(axis=1) == pytest.approx(received.sum(axis=1), rel=1e-12)
    # equal chances: a quarter of the load of a node is its own tokens' if it sends a quarter
    crossing = node_hits * (1 - part.reshape(4, 2).sum(axis=1))
    assert one[FIELD["node_copies_in"]].sum(axis=1) == pytest.approx(crossing.sum(axis=1))


def test_node_that_sends_everything_keeps_its_own():
    ranks = np.zeros((10, 1, 4))
    part = np.array([0.5, 0.5, 0.0, 0.0])
    load, node_hits = np.array([[10.0, 10, 10, 10]]), np.array([[12.0, 14.0]])
    spread_nodes(load, node_hits, part, np.full((1, 4), 0.5), ranks)
    assert ranks[FIELD["remote_assignments_in"], 0].tolist() == [0, 0, 10, 10]
    assert ranks[FIELD["remote_assignments_out"], 0].tolist() == [10, 10, 0, 0]
    assert ranks[FIELD["node_copies_in"], 0].tolist() == [0, 0, 7, 7]
    assert ranks[FIELD["node_copies_out"], 0].tolist() == [7, 7, 0, 0]


def test_gathered_loads_are_sums_over_the_slots_of_a_rank(place, make_rng):
    rng = make_rng()
    slot_counts = rng.integers(0, 9, (24, 2)).astype(np.int32)
    hits, node_hits = np.ones((8, 2), np.int32), np.ones((4, 2), np.int32)
    counts = np.zeros((2, 16), np.int32)
    load, hit, nodes = np.empty((2, 8)), np.empty((2, 8)), np.empty((2, 4))
    gather_counted(slot_counts, hits, node_hits, place.slots, counts, load, hit, nodes)
    assert (load == slot_counts.T.reshape(2, 8, 3).sum(axis=2)).all()
    assert (hit == 1).all()
    assert (nodes == 1).all()
    for layer in range(2):
        weights = slot_counts[:, layer]
        assert (counts[layer] == np.bincount(place.slots[layer], weights=weights)).all()
