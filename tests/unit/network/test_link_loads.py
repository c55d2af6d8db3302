"""How the time of a rank is divided between its port and its NICs."""

import numpy as np
import pytest

from rackmoe.network.link_loads import LinkLoads

APART = 1.0 - np.eye(2)


def loads(near, far, *, near_frac=(0.5, 0.5)):
    sides = [tuple(np.array([side], float) for side in kind) for kind in (near, far)]
    return LinkLoads(
        near=sides[0], far=sides[1], near_mask=APART, far_mask=APART, near_frac=near_frac
    )


def test_the_link_that_takes_longer_is_busy_for_the_time_of_the_law():
    # rank 0: four copies of half a unit against one over the NIC; rank 1 the other way around
    one = loads(([4, 2], [1, 1]), ([1, 4], [1, 1]))
    busy = one.busy(0, egress_s=np.array([8.0, 12.0]), ingress_s=np.ones(2), is_combine=False)
    assert busy.near[0].tolist() == pytest.approx([8.0, 3.0])
    assert busy.far[0].tolist() == pytest.approx([4.0, 12.0])
    assert busy.near[1].tolist() == pytest.approx([0.5, 0.5])
    assert busy.far[1].tolist() == pytest.approx([1.0, 1.0])


def test_a_combine_sends_back_and_has_its_own_times():
    one = loads(([4, 4], [2, 2]), ([0, 0], [1, 1]), near_frac=(0.5, 1.0))
    busy = one.busy(0, egress_s=np.ones(2), ingress_s=np.ones(2), is_combine=True)
    # what came in at dispatch goes out: two copies over the port, one over the NIC
    assert busy.near[0].tolist() == [1.0, 1.0]
    assert busy.far[0].tolist() == [0.5, 0.5]
    assert busy.far[1].tolist() == [0.0, 0.0]


def test_ranks_without_copies_are_busy_alone():
    one = loads(([0, 1], [1, 1]), ([0, 1], [1, 1]))
    busy = one.busy(0, egress_s=np.array([3.0, 1.0]), ingress_s=np.ones(2), is_combine=False)
    assert busy.alone[0].tolist() == [3.0, 0.0]
    assert busy.near[0][0] == busy.far[0][0] == 0.0


def test_all_layers_at_once_are_as_one_by_one():
    rng = np.random.default_rng(0)
    kinds = [tuple(rng.random((3, 2)) for _ in range(2)) for _ in range(2)]
    one = LinkLoads(
        near=kinds[0], far=kinds[1], near_mask=APART, far_mask=APART, near_frac=(0.3, 0.4)
    )
    times_s = rng.random((2, 4, 2))
    # a fourth layer is like the third: drafts follow the last layer
    whole = one.busy(np.arange(4), egress_s=times_s[0], ingress_s=times_s[1], is_combine=True).rows
    for layer in range(4):
        alone = one.busy(
            layer, egress_s=times_s[0, layer], ingress_s=times_s[1, layer], is_combine=True
        )
        assert whole[layer].tolist() == alone.rows.tolist()
    pairs = one.far_pairs(np.arange(4), is_combine=False)
    assert pairs[3].tolist() == one.far_pairs(2, is_combine=False).tolist()


def test_other_speeds_stretch_the_link_that_is_slow():
    one = loads(([4, 2], [1, 1]), ([1, 4], [1, 1]))
    busy = one.busy(0, egress_s=np.array([8.0, 12.0]), ingress_s=np.ones(2), is_combine=False)
    ones = np.ones(2)
    slow = busy.slowed((ones, ones), nics=(np.array([3.0, 1.0]), ones))
    assert slow.far[0].tolist() == pytest.approx([12.0, 12.0])
    assert slow.near[0].tolist() == busy.near[0].tolist()
