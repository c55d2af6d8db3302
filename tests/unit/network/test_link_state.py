"""Where NICs are plugged in, and which bytes cross the uplinks of leaves."""

from dataclasses import replace

import numpy as np
import pytest
from linked_cases import rails

from rackmoe.errors import ShapeError
from rackmoe.network.link_state import LinkState

APART = 1.0 - np.eye(4)


def state(leaf, *, uplink_frac=1.0):
    leaf = np.array(leaf)
    ones = np.ones(len(leaf))
    frac = np.full((2, int(leaf.max()) + 1), uplink_frac)
    return LinkState(far_out=ones, far_in=ones, leaf=leaf, uplink_frac=frac)


def test_bytes_between_leaves_go_up_once_and_down_once():
    # ranks 0 and 1 on one leaf, 2 and 3 on the other: two of three peers are beyond
    shares = state([[0], [0], [1], [1]]).uplink_shares(APART)
    up, down = shares
    assert up[0].tolist() == pytest.approx([2 / 3, 2 / 3, 0, 0])
    assert up[1].tolist() == pytest.approx([0, 0, 2 / 3, 2 / 3])
    assert down[0].tolist() == pytest.approx([0, 0, 2 / 3, 2 / 3])
    assert up.sum() == pytest.approx(down.sum())


def test_bytes_on_one_leaf_cross_no_uplink():
    assert not state([[0], [0], [0], [0]]).uplink_shares(APART).any()


def test_nics_of_a_rank_share_its_bytes():
    # each NIC sends to the one of the same place: the second ones are on one leaf
    shares = state([[0, 2], [1, 2], [0, 2], [1, 2]]).uplink_shares(APART)
    assert shares[:, 2].sum() == 0.0
    assert shares[0, 0].tolist() == pytest.approx([1 / 3, 0, 1 / 3, 0])


def test_layers_are_looked_at_together():
    one = state([[0], [0], [1], [1]])
    rng = np.random.default_rng(0)
    pairs = rng.random((3, 4, 4)) * APART
    both = one.uplink_shares(pairs)
    assert both.shape == (3, 2, 2, 4)
    for layer in range(3):
        assert both[layer].tolist() == one.uplink_shares(pairs[layer]).tolist()


def test_uplinks_are_tight_where_they_carry_less_than_the_nics_below():
    # four ranks on each of eight leaves
    assert rails(32, per_leaf=4).tight.size == 0
    assert rails(32, per_leaf=3).tight.tolist() == list(range(8))
    assert LinkState.free(32).tight.size == 0


def test_a_rank_without_a_value_is_refused():
    with pytest.raises(ShapeError, match="expected one value for each rank"):
        replace(LinkState.free(4), far_in=np.ones(3))
