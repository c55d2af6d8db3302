"""LAW-02, LAW-06 and LAW-11 on the fabric: random links, paths and traffic."""

from dataclasses import replace

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.backend.collectives import Family
from rackmoe.engine.clock import to_ps, to_s
from rackmoe.engine.exchanges import DispatchCombine
from rackmoe.engine.fabric import Fabric
from rackmoe.engine.group_links import GroupLinks
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.pair_traffic import PairTraffic
from rackmoe.hardware.profile import load_machine
from rackmoe.network.arbitration import Arbitration, TrafficClass
from rackmoe.routing.step import StepRouting

N_LINKS = 6
flows = st.lists(
    st.tuples(
        st.lists(st.integers(0, N_LINKS - 1), min_size=1, max_size=4, unique=True),
        st.floats(1e3, 1e7),
        st.floats(0.0, 0.05),
        st.sampled_from([TrafficClass.KV, TrafficClass.EXPERT]),
    ),
    min_size=1,
    max_size=12,
)
capacities = st.lists(st.floats(1e7, 1e9), min_size=N_LINKS, max_size=N_LINKS)


def move(capacity, traffic, *, arbitration=Arbitration.PER_FLOW, speed=1.0):
    """Run the flows; return the fabric and when each one ended."""
    env = simpy.Environment(initial_time=0)
    names = [f"link{k}" for k in range(N_LINKS)]
    fabric = Fabric(env, speed * np.array(capacity), names=names, arbitration=arbitration)
    ends_s = [0.0] * len(traffic)

    def send(index, path, n_bytes, start_s, kind):
        yield env.timeout(to_ps(start_s / speed))
        yield fabric.transfer(tuple(path), n_bytes=n_bytes, traffic_class=kind)
        ends_s[index] = to_s(env.now)

    for index, (path, n_bytes, start_s, kind) in enumerate(traffic):
        env.process(send(index, path, n_bytes, start_s, kind))
    env.run()
    return fabric, np.array(ends_s)


@settings(max_examples=40)
@given(capacity=capacities, traffic=flows, arbitration=st.sampled_from(Arbitration))
def test_law_02_links_carry_the_bytes_of_every_hop(capacity, traffic, arbitration):
    fabric, _ = move(capacity, traffic, arbitration=arbitration)
    moved = fabric.counters().moved_bytes
    expected = sum(n_bytes * len(path) for path, n_bytes, _, _ in traffic)
    assert moved.sum() == pytest.approx(expected, rel=1e-9)
    for link in range(N_LINKS):
        crossing = sum(n_bytes for path, n_bytes, _, _ in traffic if link in path)
        assert moved[:, link].sum() == pytest.approx(crossing, rel=1e-9)


@settings(max_examples=40)
@given(capacity=capacities, traffic=flows, arbitration=st.sampled_from(Arbitration))
def test_law_06_no_link_carries_more_than_its_capacity(capacity, traffic, arbitration):
    fabric, _ = move(capacity, traffic, arbitration=arbitration)
    counters = fabric.counters()
    most = np.array(capacity) * counters.busy_s
    assert (counters.moved_bytes.sum(axis=0) <= most * (1 + 1e-9) + 1.0).all()


@settings(max_examples=40)
@given(capacity=capacities, traffic=flows, speed=st.sampled_from([2.0, 0.5, 10.0]))
def test_law_11_all_times_scale_with_the_rates(capacity, traffic, speed):
    _, ends_s = move(capacity, traffic)
    _, scaled_s = move(capacity, traffic, speed=speed)
    # every event is rounded up to a picosecond
    assert scaled_s * speed == pytest.approx(ends_s, rel=1e-9, abs=1e-10)


DISPATCH_BYTES, COMBINE_BYTES = 7.0, 11.0


def port_bytes(copies, tokens, *, sums):
    """Bytes out of and into the ports of ranks that send each copy of a token once."""
    n_ranks = len(copies)
    step = StepRouting.zeros(n_layers=1, n_experts=4, n_ranks=n_ranks)
    step.copies_out[:], step.copies_in[:] = copies.sum(axis=1), copies.sum(axis=0)
    exchanges = DispatchCombine(
        None,
        tp=1,
        reduce_law=None,
        payload_bytes=(DISPATCH_BYTES, COMBINE_BYTES),
        hidden=1,
        n_layers=1,
        traffic=PairTraffic(Family.NVLINK_ONE_SIDED, n_ranks=n_ranks, domain_ranks=n_ranks),
        combines_in_network=sums,
    )
    return exchanges.port_bytes(step, tokens=tokens)


@settings(max_examples=40)
@given(n_ranks=st.integers(2, 9), seed=st.integers(0, 2**16), n_tokens=st.integers(1, 20))
def test_law_02_switches_that_sum_divide_what_arrives_by_the_copies_of_a_token(
    n_ranks, seed, n_tokens
):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, n_tokens + 1, n_ranks)
    # how many tokens of a rank go to each other
    copies = 1.0 * rng.integers(0, tokens[:, None] + 1, (n_ranks, n_ranks))
    np.fill_diagonal(copies, 0.0)
    plain, summed = (port_bytes(copies, tokens, sums=sums) for sums in (False, True))
    assert plain[0].sum() == pytest.approx(plain[1].sum(), rel=1e-12)
    assert summed[0].tolist() == plain[0].tolist()
    # the declared factor: the copies of a token over one, where it has more than one
    out = copies.sum(axis=1)
    factor = np.maximum(out / tokens, 1.0)
    back = plain[1] - DISPATCH_BYTES * copies.sum(axis=0)
    arrived = summed[1] - DISPATCH_BYTES * copies.sum(axis=0)
    assert arrived * factor == pytest.approx(back, rel=1e-9, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    n_nodes=st.integers(2, 4),
    n_rails=st.sampled_from([2, 4, 8]),
    seed=st.integers(0, 2**16),
)
def test_law_02_exchanges_between_nodes_go_up_and_down_as_often_as_rails_differ(
    n_nodes, n_rails, seed
):
    whole = load_machine("hgx_h200")
    machine = replace(whole, scale_out=replace(whole.scale_out, n_rails=n_rails))
    n_ranks = 8 * n_nodes
    net = Interconnect(simpy.Environment(initial_time=0), machine=machine, n_gpus=n_ranks)
    node = np.arange(n_ranks) // 8
    mask = 1.0 * (node[:, None] != node)
    links = GroupLinks(net, gpus=np.arange(n_ranks), far_mask=mask)
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 1.5, (2, n_ranks))
    # pairs of known sums: senders and receivers of different weights
    pairs = mask * weight[0][:, None] * weight[1]
    moved = links.uplink_bytes(pairs.sum(axis=1), in_bytes=pairs.sum(axis=0))
    rail = np.arange(n_ranks) % n_rails
    crossing = pairs * (rail[:, None] != rail)
    expected = [crossing[rail == one].sum() for one in range(n_rails)]
    expected += [crossing[:, rail == one].sum() for one in range(n_rails)]
    assert moved == pytest.approx(expected, rel=1e-6)
