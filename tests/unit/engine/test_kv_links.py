"""KV caches on their way, with round bandwidths."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import simpy
from strategies import Case, Shape, build

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.clock import to_seconds
from rackmoe.engine.kv_links import KvLinks, build_kv_links
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.hardware.profile import load_machine
from rackmoe.model.cache import kv_bytes_per_token
from rackmoe.records import Records
from rackmoe.streams import Streams


@dataclass
class Place:
    first_gpu: int
    tp: int = 1


def machine():
    whole = load_machine("hgx_h200")
    up = replace(
        whole.scale_up,
        gpu_bandwidth_bytes_per_s=1e9,
        copy_frac=0.5,
        link_latency_s=1.0,
        switch_latency_s=2.0,
    )
    out = replace(
        whole.scale_out,
        nic_bandwidth_bytes_per_s=1e8,
        nics_per_gpu=2,
        copy_frac=0.5,
        endpoint_latency_s=1.0,
        switch_latency_s=3.0,
    )
    return replace(whole, scale_up=up, scale_out=out)


def links_of(env, *, is_scale_up=False):
    return KvLinks(
        env,
        machine=machine(),
        n_gpus=4,
        is_scale_up=is_scale_up,
        setup_s=0.5,
        token_bytes=1e6,
    )


def arrival_s(env, event):
    env.run(until=event)
    return to_seconds(env.now)


def test_a_cache_takes_setup_latency_and_its_bytes_over_the_nics():
    env = simpy.Environment(initial_time=0)
    event = links_of(env).send(Place(0), target=Place(2), groups=(0, 1), n_tokens=100)
    # 0.5 s + two endpoints and a switch + 100 MB at half of two NICs of 100 MB/s
    assert arrival_s(env, event) == pytest.approx(0.5 + 2 * 1 + 3 + 1.0)


def test_scale_up_copies_run_at_their_own_rate():
    env = simpy.Environment(initial_time=0)
    event = links_of(env, is_scale_up=True).send(
        Place(0), target=Place(2), groups=(0, 0), n_tokens=100
    )
    # two links and a switch chip, then 100 MB at half of 1 GB/s
    assert arrival_s(env, event) == pytest.approx(0.5 + 1 + 2 + 1 + 0.2)


def test_two_caches_to_one_gpu_share_its_port():
    env = simpy.Environment(initial_time=0)
    links = links_of(env)
    events = [
        links.send(Place(source), target=Place(2), groups=(0, 0), n_tokens=100)
        for source in (0, 1)
    ]
    env.run(until=simpy.AllOf(env, events))
    assert to_seconds(env.now) == pytest.approx(5.5 + 2.0)


def test_groups_of_several_gpus_use_their_first():
    env = simpy.Environment(initial_time=0)
    links = links_of(env)
    env.run(until=links.send(Place(0, tp=2), target=Place(2, tp=1), groups=(0, 1), n_tokens=100))
    records = Records()
    links.write(records.links)
    frame = records.to_frame("links")
    assert frame["rank"].tolist() == [0, 3]
    assert frame["sent_bytes"].tolist() == pytest.approx([1e8, 0])
    assert frame["received_bytes"].tolist() == pytest.approx([0, 1e8])
    assert frame["busy_s"].tolist() == pytest.approx([1.0, 1.0])
    assert frame["capacity_bytes_per_s"].tolist() == [1e8, 1e8]
    assert set(frame["tier"]) == {"scale_out"}


def test_a_cache_that_stays_on_its_gpu_only_waits_for_the_handshake():
    env = simpy.Environment(initial_time=0)
    event = links_of(env).send(Place(1), target=Place(1), groups=(0, 0), n_tokens=100)
    assert arrival_s(env, event) == pytest.approx(5.5)


def test_aggregated_pools_need_no_links(small_files):
    scenario = build(Case(), small_files)
    assert build_kv_links(simpy.Environment(), scenario=scenario, plans=[]) is None


def test_the_target_decides_the_share_of_a_cache(small_files):
    case = Case(model="grouped", pools=(Shape(), Shape(tp=2)))
    scenario = build(case, small_files)
    routing = RoutingInputs(scenario, streams=Streams(0))
    plans = [plan_pool(scenario, name=name, routing=routing) for name in ("prefill", "decode")]
    env = simpy.Environment(initial_time=0)
    links = build_kv_links(env, scenario=scenario, plans=plans)
    env.run(until=links.send(Place(0), target=Place(1), groups=(0, 0), n_tokens=10))
    records = Records()
    links.write(records.links)
    per_token = kv_bytes_per_token(scenario.arch, kv_dtype=scenario.kv_dtype, tp=2)
    sent = records.to_frame("links")["sent_bytes"].to_numpy()
    assert np.flatnonzero(sent).tolist() == [0]
    assert sent.sum() == pytest.approx(10 * per_token)
