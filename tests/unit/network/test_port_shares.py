"""Shares of ports beside transfers that meet, against every flow on the clock."""

import numpy as np
import pytest
import simpy
from exchange_cases import make_exchange

from rackmoe.engine.fabric import Fabric
from rackmoe.network.arbitration import Arbitration, TrafficClass
from rackmoe.network.exchange_tiers import ExchangeTier, PairExchange, exchange_ends_s
from rackmoe.network.port_shares import (
    lone_shares_bytes_per_s,
    meeting_links,
    solved_shares_bytes_per_s,
)

KV = TrafficClass.KV
WORST = 0.05


def solved(n_ports, flows, *, arbitration, n_peers=3, capacity=None):
    return solved_shares_bytes_per_s(
        np.arange(n_ports),
        capacity_bytes_per_s=np.full(9, 12.0) if capacity is None else np.array(capacity, float),
        flows=[(KV, path) for path in flows],
        arbitration=arbitration,
        n_peers=n_peers,
    ).tolist()


@pytest.mark.parametrize(
    ("arbitration", "expected"),
    [
        (Arbitration.PRIORITY, [12.0, 12.0]),
        (Arbitration.CLASSES, [6.0, 12.0]),
        (Arbitration.PER_FLOW, [9.0, 12.0]),
    ],
)
def test_one_transfer_takes_the_share_of_the_rule(arbitration, expected):
    assert solved(2, [(0, 5)], arbitration=arbitration) == pytest.approx(expected)


def test_transfers_that_meet_leave_their_sources_more():
    # each gets half of link 5, and of the class's half of its source only that
    flows = [(0, 5), (1, 5)]
    shares = solved(2, flows, arbitration=Arbitration.CLASSES, capacity=[12] * 5 + [6] + [12] * 3)
    assert shares == pytest.approx([9.0, 9.0])


def test_dead_ports_carry_nothing_and_stop_their_transfers():
    shares = solved(2, [(0, 5)], arbitration=Arbitration.CLASSES, capacity=[12] * 5 + [0] * 4)
    assert shares == pytest.approx([12.0, 12.0])
    assert solved(1, [], arbitration=Arbitration.CLASSES, capacity=[0] * 9) == [0.0]


def test_lone_ports_keep_what_bound_transfers_do_not_take():
    shares = lone_shares_bytes_per_s(
        np.array([12.0, 12.0]),
        used_bytes_per_s=np.array([12.0, 5.0]),
        rates_bytes_per_s=np.array([4.0, 2.0]),
        n_flows=np.array([1, 1]),
        arbitration=Arbitration.CLASSES,
        n_peers=3,
    )
    assert shares.tolist() == [6.0, 10.0]


@pytest.mark.parametrize(
    ("flows", "expected"),
    [
        ([], ()),
        ([(0, 5)], ()),
        ([(0, 5), (0, 5)], ()),
        ([(0, 5), (1, 6)], ()),
        ([(0, 5), (1, 5)], (5,)),
        ([(7, 8), (6, 8)], ()),
        ([(0, 5), (0, 6)], (0,)),
        ([(0, 5), (7, 5)], (5,)),
    ],
)
def test_only_meetings_that_touch_the_ports_matter(flows, expected):
    assert meeting_links(np.array([0, 1]), flows=[(KV, path) for path in flows]) == expected


def skewed(n_ranks):
    """Ranks 1 and 2, which also send caches, send most."""
    exchange = make_exchange(n_ranks, seed=4)
    payload = exchange.payload_bytes.copy()
    payload[1:3, 1:] *= 2.0
    return payload, exchange


def on_ports(payload, exchange, capacity):
    n_ranks = len(payload)
    return PairExchange(
        payload_bytes=payload,
        egress_bytes_per_s=capacity[:n_ranks],
        ingress_bytes_per_s=capacity[n_ranks:],
        start_s=exchange.start_s,
        copy_bytes=exchange.copy_bytes,
    )


def events_s(payload, exchange, kv_pairs, arbitration):
    """Every pair and every cache as a transfer on the clock."""
    n_ranks, env = len(payload), simpy.Environment()
    fabric = Fabric(
        env,
        np.concatenate((exchange.egress_bytes_per_s, exchange.ingress_bytes_per_s)),
        names=[str(k) for k in range(2 * n_ranks)],
        arbitration=arbitration,
    )
    for source, destination in kv_pairs:
        fabric.transfer((source, n_ranks + destination), n_bytes=1e15)
    sends = [
        fabric.transfer(
            (s, n_ranks + d),
            n_bytes=payload[s, d],
            weight=payload[s, d],
            traffic_class=TrafficClass.COLLECTIVE,
        )
        for s, d in np.argwhere(payload).tolist()
    ]
    env.run(env.all_of(sends))
    return float(env.now) * 1e-12


@pytest.mark.parametrize("tier", [ExchangeTier.PLAN, ExchangeTier.FLOW, ExchangeTier.PACKET])
@pytest.mark.parametrize("kv_pairs", [[(1, 0), (2, 0)], [(1, 0), (2, 0), (3, 0)], [(1, 0)]])
@pytest.mark.parametrize("n_ranks", [8, 16])
def test_solved_shares_agree_with_events_where_caches_meet(n_ranks, kv_pairs, tier):
    payload, exchange = skewed(n_ranks)
    event_s = events_s(payload, exchange, kv_pairs, Arbitration.CLASSES)
    capacity = solved_shares_bytes_per_s(
        np.arange(2 * n_ranks),
        capacity_bytes_per_s=np.concatenate(
            (exchange.egress_bytes_per_s, exchange.ingress_bytes_per_s)
        ),
        flows=[(KV, (s, n_ranks + d)) for s, d in kv_pairs],
        arbitration=Arbitration.CLASSES,
        n_peers=n_ranks - 1,
    )
    found_s = exchange_ends_s(on_ports(payload, exchange, capacity), tier=tier).max()
    assert found_s == pytest.approx(event_s, rel=WORST)
