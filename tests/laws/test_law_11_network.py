"""LAW-11 on the network: all rates x k and fixed times / k make every time / k."""

from dataclasses import replace

import numpy as np
import pytest
from exchange_cases import make_exchange
from hypothesis import given, settings
from hypothesis import strategies as st
from two_level_cases import by_rail, direct, make_two_level, packet_makespan_s

from rackmoe.hardware.profile import load_machine
from rackmoe.network.exchange_tiers import ExchangeTier, exchange_ends_s
from rackmoe.network.fluid import link_bound_s, one_fill_finish_s


@settings(max_examples=30)
@given(
    n_ranks=st.integers(4, 20),
    zipf=st.floats(0.0, 1.2),
    spread=st.floats(0.0, 1.0),
    failure=st.sampled_from(["none", "link", "chip", "tray"]),
    tier=st.sampled_from([ExchangeTier.PLAN, ExchangeTier.FLOW, ExchangeTier.PACKET]),
    k=st.sampled_from([0.5, 2.0, 10.0]),
)
def test_an_exchange_on_ports_k_times_faster_ends_k_times_sooner(
    n_ranks, zipf, spread, failure, tier, k
):
    exchange = make_exchange(n_ranks, zipf=zipf, spread=spread, failure=failure)
    faster = replace(
        exchange,
        egress_bytes_per_s=k * exchange.egress_bytes_per_s,
        ingress_bytes_per_s=k * exchange.ingress_bytes_per_s,
        start_s=exchange.start_s / k,
    )
    ends_s, sooner_s = (exchange_ends_s(one, tier=tier) for one in (exchange, faster))
    assert k * sooner_s == pytest.approx(ends_s, rel=1e-9)


@settings(max_examples=6, deadline=None)
@given(
    n_gpus=st.sampled_from([16, 32]),
    zipf=st.floats(0.0, 0.8),
    way=st.sampled_from([direct, by_rail]),
    k=st.sampled_from([0.5, 4.0]),
)
def test_links_of_two_levels_k_times_faster_end_k_times_sooner(n_gpus, zipf, way, k):
    machine = load_machine("hgx_h200")
    exchange = make_two_level(machine, n_gpus=n_gpus, zipf=zipf, way=way, tokens_per_rank=32)
    faster = replace(exchange, capacity_bytes_per_s=k * exchange.capacity_bytes_per_s)
    assert k * link_bound_s(**faster.flows) == pytest.approx(link_bound_s(**exchange.flows))
    ends_s = one_fill_finish_s(**exchange.flows)
    assert k * one_fill_finish_s(**faster.flows) == pytest.approx(ends_s, rel=1e-9)
    assert k * packet_makespan_s(faster) == pytest.approx(packet_makespan_s(exchange), rel=1e-9)


@settings(max_examples=6, deadline=None)
@given(n_gpus=st.sampled_from([16, 32]), zipf=st.floats(0.0, 0.8), seed=st.integers(0, 9))
def test_law_02_links_of_two_levels_carry_bytes_times_hops(n_gpus, zipf, seed):
    machine = load_machine("hgx_h200")
    for way in (direct, by_rail):
        exchange = make_two_level(
            machine, n_gpus=n_gpus, zipf=zipf, way=way, tokens_per_rank=32, seed=seed
        )
        flows = exchange.flows
        carried = np.bincount(
            flows["links"].link,
            weights=np.repeat(flows["size_bytes"], np.diff(flows["links"].flow_start)),
            minlength=exchange.capacity_bytes_per_s.size,
        )
        hops = np.array([len(path) for path in exchange.paths])
        assert carried.sum() == pytest.approx((flows["size_bytes"] * hops).sum())
        nic, leaf, up = exchange.links.nic, exchange.links.leaf, exchange.links.scale_up
        for out, into in (nic, leaf, up):
            assert carried[out].sum() == pytest.approx(carried[into].sum())
