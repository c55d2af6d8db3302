"""NICs and leaves under a group: what is left of them, and which bytes they carry."""

from dataclasses import replace

import numpy as np
import pytest
import simpy

from rackmoe.engine.group_links import GroupLinks
from rackmoe.engine.interconnect import Interconnect
from rackmoe.hardware.profile import load_machine

N_RANKS = 16
NODE = np.arange(N_RANKS) // 8
DIRECT = 1.0 * (NODE[:, None] != NODE)
BY_RAIL = DIRECT * (np.arange(N_RANKS)[:, None] % 8 == np.arange(N_RANKS) % 8)
N_PEERS = N_RANKS - 1


def group(*, mask=DIRECT, uplinks=32):
    whole = load_machine("hgx_h200")
    machine = replace(whole, scale_out=replace(whole.scale_out, leaf_uplinks=uplinks))
    net = Interconnect(simpy.Environment(initial_time=0), machine=machine, n_gpus=N_RANKS)
    return GroupLinks(net, gpus=np.arange(N_RANKS), far_mask=mask), net


def test_a_healthy_machine_is_nominal():
    links, _ = group()
    state = links.state(n_peers=N_PEERS)
    assert state.far_out.tolist() == state.far_in.tolist() == [1.0] * N_RANKS
    assert state.leaf[:, 0].tolist() == [*range(8), *range(8)]
    # 32 uplinks for two NICs are none of its concern
    assert not state.uplink_frac.any()
    assert state.tight.size == 0


def test_one_uplink_for_two_nics_is_tight():
    links, _ = group(uplinks=1)
    assert links.state(n_peers=N_PEERS).tight.tolist() == list(range(8))


def test_copies_by_rail_do_not_care_about_uplinks():
    links, net = group(mask=BY_RAIL, uplinks=1)
    net.ports.scale(net.links.leaf[:, 0], live_frac=0.0)
    state = links.state(n_peers=N_PEERS)
    assert state.tight.size == 0
    assert np.isfinite(state.uplink_frac).all()
    assert not links.uplink_bytes(np.ones(N_RANKS), in_bytes=np.ones(N_RANKS)).any()


def test_a_dead_uplink_that_is_needed_is_infinitely_slow():
    links, net = group()
    net.ports.scale(net.links.leaf[:, 2], live_frac=0.0)
    assert np.isinf(links.state(n_peers=N_PEERS).uplink_frac[:, 2]).all()


def test_a_failed_nic_is_served_through_the_leaf_of_its_neighbor():
    links, net = group(uplinks=2)
    net.ports.gpus[3].nics[0].scale(0.0)
    net.ports.find_serving_nics()
    state = links.state(n_peers=N_PEERS)
    assert state.far_out[[3, 4]].tolist() == [2.0, 2.0]
    assert state.leaf[:8, 0].tolist() == [0, 1, 2, 4, 4, 5, 6, 7]
    assert links.serving()[3, 0] == 4
    assert np.delete(state.far_out, [3, 4]).tolist() == [1.0] * 14
    # three ranks below a leaf of two uplinks
    assert state.tight.tolist() == [4]


def test_exchanges_of_others_leave_at_least_half_of_an_uplink():
    links, net = group(uplinks=2)
    nominal = net.links.capacity_bytes_per_s[net.links.leaf]
    for taken_frac, factor in ((0.25, 4 / 3), (0.9, 2.0)):
        state = links.state(n_peers=N_PEERS, others_bytes_per_s=taken_frac * nominal)
        assert state.uplink_frac == pytest.approx(np.full((2, 8), 0.5 * factor))


def test_uplinks_carry_what_leaves_a_rail():
    links, _ = group()
    rng = np.random.default_rng(0)
    out = rng.random(N_RANKS)
    # what a node receives is what the other one sends
    into = rng.random((2, 8))
    into *= np.array([[out[8:].sum()], [out[:8].sum()]]) / into.sum(axis=1, keepdims=True)
    moved = links.uplink_bytes(out, in_bytes=into.reshape(-1))
    assert moved.size == links.uplinks.size == 16
    assert moved[:8].sum() == pytest.approx(moved[8:].sum(), rel=1e-6)
    even = links.uplink_bytes(np.ones(N_RANKS), in_bytes=np.ones(N_RANKS))
    # seven of eight peers are on another rail
    assert even == pytest.approx(np.full(16, 2 * 7 / 8))
