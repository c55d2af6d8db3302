import numpy as np
import pytest

from rackmoe.errors import ShapeError
from rackmoe.routing.placement import Placement, contiguous
from rackmoe.routing.rebalance import LoadWindow, find_moves, with_layers


def placed(*slots, n_experts=4, n_ranks=2, per_node=None):
    return Placement.from_slots(
        np.array(slots), n_experts=n_experts, n_ranks=n_ranks, ranks_per_node=per_node
    )


def rows(moves):
    columns = (moves.layer, moves.expert, moves.source, moves.destination)
    return [tuple(row) for row in np.stack(columns, axis=1).tolist()]


def test_a_window_forgets_what_is_older():
    window = LoadWindow(n_layers=1, n_experts=2, n_steps=3)
    assert not window.load.any()
    for number in range(1, 6):
        window.add(np.array([[number, 1]]))
    assert window.load.tolist() == [[3 + 4 + 5, 3]]
    assert sorted(window.parts[:, 0, 0].tolist()) == [3, 4, 5]


def test_a_long_window_moves_on_in_parts():
    window = LoadWindow(n_layers=1, n_experts=1, n_steps=160)
    for _ in range(100):
        window.add(np.array([[10]]), n_steps=10)
    assert window.load[0, 0] == 160.0


def test_experts_that_a_rank_has_do_not_travel():
    old = placed([0, 1, 2, 3], [0, 1, 2, 3])
    new = placed([1, 0, 2, 3], [0, 2, 1, 3])
    assert rows(find_moves(old, new=new)) == [(1, 2, 1, 0), (1, 1, 0, 1)]
    assert len(find_moves(old, new=old)) == 0


def test_two_slots_of_one_rank_are_filled_by_one_transfer():
    old = placed([0, 1, 2, 3, 0, 1], n_ranks=2)
    new = placed([0, 1, 2, 3, 3, 3], n_ranks=2)
    new = placed([2, 2, 1, 0, 3, 1], n_ranks=2)
    assert rows(find_moves(old, new=new)) == []
    new = placed([3, 3, 1, 0, 2, 1], n_ranks=2)
    assert rows(find_moves(old, new=new)) == [(0, 3, 1, 0), (0, 2, 0, 1)]


def test_experts_come_from_the_own_node_and_from_the_rank_that_sent_least():
    old = placed([0, 0, 0, 1], [0, 0, 0, 1], n_experts=2, n_ranks=4, per_node=2)
    new = placed([0, 0, 1, 0], [0, 0, 1, 0], n_experts=2, n_ranks=4, per_node=2)
    assert rows(find_moves(old, new=new)) == [
        (layer, *move) for layer in (0, 1) for move in ((1, 3, 2), (0, 2, 3))
    ]
    old = placed([0, 0, 1, 1], [0, 0, 1, 1], n_experts=2, n_ranks=4)
    new = placed([0, 1, 1, 0], [0, 1, 1, 0], n_experts=2, n_ranks=4)
    assert find_moves(old, new=new).source.tolist() == [2, 0, 3, 1]


def test_moves_are_counted_by_layers_and_pairs():
    old = placed([0, 1, 2, 3], [0, 1, 2, 3])
    new = placed([2, 3, 0, 1], [2, 1, 0, 3])
    moves = find_moves(old, new=new)
    assert moves.pairs() == {(1, 0): 3, (0, 1): 3}
    assert moves.of_layers(1, last=2).pairs() == {(1, 0): 1, (0, 1): 1}


def test_layers_change_over_one_by_one():
    old, new = placed([0, 1, 2, 3], [0, 1, 2, 3]), placed([2, 3, 0, 1], [3, 2, 1, 0])
    half = with_layers(old, new=new, first=0, last=1)
    assert half.slots.tolist() == [[2, 3, 0, 1], [0, 1, 2, 3]]


def test_another_group_is_refused():
    old = contiguous(4, n_layers=1, n_ranks=2)
    with pytest.raises(ShapeError, match="place the same group anew"):
        find_moves(old, new=contiguous(4, n_layers=1, n_ranks=4))
    with pytest.raises(ShapeError, match="place the same group anew"):
        with_layers(old, new=contiguous(4, n_layers=2, n_ranks=2), first=0, last=1)
