"""LAW-06: no link carries more than its capacity, at any instant and on any topology."""

from functools import cache

import numpy as np
import pytest
import simpy
from exchange_cases import make_exchange
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import build, cases

from rackmoe.engine.clock import to_ps
from rackmoe.engine.fabric import Fabric
from rackmoe.engine.links import MachineLinks
from rackmoe.hardware.profile import load_machine
from rackmoe.network.arbitration import Arbitration, TrafficClass
from rackmoe.network.exchange_tiers import ExchangeTier, exchange_ends_s
from rackmoe.network.sharing import FlowLinks, max_min_rates_bytes_per_s
from rackmoe.simulation import simulate

ROUNDING = 1 + 1e-9
MACHINES = (("hgx_h200", 16), ("hgx_h200", 64), ("gb200_nvl72", 144))


@cache
def links_of(name, n_gpus):
    return MachineLinks.of_machine(load_machine(name), n_gpus=n_gpus)


@st.composite
def traffic(draw):
    """Links of a machine, and transfers between random GPUs of it."""
    links = links_of(*draw(st.sampled_from(MACHINES)))
    gpus = st.integers(0, links.n_gpus - 1)
    pairs = draw(st.lists(st.tuples(gpus, gpus), min_size=1, max_size=12))
    ways = draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
    paths = []
    for (source, destination), is_forwarded in zip(pairs, ways, strict=True):
        if source == destination:
            paths.append(links.host_path(source, is_to_host=is_forwarded))
        elif links.gpu_domain[source] == links.gpu_domain[destination] or not is_forwarded:
            paths.append(links.gpu_path(source, destination=destination))
        else:
            paths.append(links.forwarded_path(source, destination=destination))
    return links, paths


@settings(max_examples=30)
@given(
    case=traffic(),
    arbitration=st.sampled_from(Arbitration),
    failed_frac=st.floats(0.0, 1.0),
    seed=st.integers(0, 99),
)
def test_rates_stay_below_capacities_that_change(case, arbitration, failed_frac, seed):
    links, paths = case
    rng = np.random.default_rng(seed)
    env = simpy.Environment(initial_time=0)
    fabric = Fabric(env, links.capacity_bytes_per_s, names=links.names, arbitration=arbitration)
    everything = np.arange(fabric.n_links)

    def check():
        most = np.maximum(fabric.capacity_bytes_per_s - fabric.reserved_on(everything), 0.0)
        assert (fabric.rates_on(everything) <= most * ROUNDING).all()

    def send(path, start_s, kind):
        yield env.timeout(to_ps(start_s))
        fabric.transfer(path, n_bytes=float(rng.uniform(1e6, 1e9)), traffic_class=kind)
        yield env.timeout(1)
        check()

    def disturb():
        link = paths[0][0]
        yield env.timeout(to_ps(2e-3))
        whole = float(links.capacity_bytes_per_s[link])
        fabric.set_capacity(link, capacity_bytes_per_s=failed_frac * whole)
        yield env.timeout(1)
        check()
        fabric.reserve(np.array([link]), bytes_per_s=np.array([0.5 * whole]))
        yield env.timeout(1)
        check()

    kinds = (TrafficClass.KV, TrafficClass.EXPERT)
    for index, path in enumerate(paths):
        env.process(send(path, rng.uniform(0.0, 5e-3), kinds[index % 2]))
    env.process(disturb())
    env.run(until=to_ps(1.0))
    counters = fabric.counters()
    most_bytes = links.capacity_bytes_per_s * counters.busy_s
    assert (counters.moved_bytes.sum(axis=0) <= most_bytes * ROUNDING + 1.0).all()


@settings(max_examples=30)
@given(case=traffic(), seed=st.integers(0, 99))
def test_fair_rates_fill_a_link_of_every_flow_and_overfill_none(case, seed):
    links, paths = case
    weight = np.random.default_rng(seed).uniform(0.5, 2.0, len(paths))
    flows = FlowLinks.of_paths(paths, n_links=len(links.names))
    capacity = links.capacity_bytes_per_s
    rate = max_min_rates_bytes_per_s(flows, capacity_bytes_per_s=capacity, weight=weight)
    used = np.bincount(
        flows.link, weights=np.repeat(rate, np.diff(flows.flow_start)), minlength=capacity.size
    )
    assert (used <= capacity * ROUNDING).all()
    is_full = used >= capacity * (1 - 1e-9)
    assert all(is_full[list(path)].any() for path in paths)


@settings(max_examples=25)
@given(
    n_ranks=st.integers(4, 16),
    zipf=st.floats(0.0, 1.2),
    spread=st.floats(0.0, 1.0),
    failure=st.sampled_from(["none", "link", "tray"]),
    tier=st.sampled_from([ExchangeTier.PLAN, ExchangeTier.FLOW, ExchangeTier.PACKET]),
)
def test_no_port_of_an_exchange_is_done_before_its_bytes_fit(n_ranks, zipf, spread, failure, tier):
    exchange = make_exchange(n_ranks, zipf=zipf, spread=spread, failure=failure)
    ends_s = exchange_ends_s(exchange, tier=tier)
    least_s = exchange.payload_bytes.sum(axis=0) / exchange.ingress_bytes_per_s
    assert (ends_s >= exchange.start_s.min() + least_s - 1e-15).all()
    sent_s = exchange.payload_bytes.sum(axis=1) / exchange.egress_bytes_per_s
    assert ends_s.max() >= (exchange.start_s + sent_s).max() * (1 - 1e-9)


@settings(max_examples=8, deadline=None)
@given(case=cases())
def test_no_port_of_a_run_is_used_beyond_its_capacity(small_files, case):
    links = simulate(build(case, small_files)).to_frame("links")
    assert (links["mean_utilization_frac"] <= ROUNDING).all()
    assert (links["mean_utilization_frac"] >= 0.0).all()
    assert links["busy_s"].to_numpy() == pytest.approx(links["busy_s"].clip(lower=0.0).to_numpy())
