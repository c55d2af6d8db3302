"""KV caches on their way, with round bandwidths."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import simpy
from strategies import Case, Shape, build

from rackmoe.engine.clock import to_s
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.kv_links import KvLinks, build_kv_links
from rackmoe.engine.shipments import Shipments
from rackmoe.hardware.profile import load_machine
from rackmoe.model.cache import kv_bytes_per_token
from rackmoe.records import Records


@dataclass
class Place:
    first_gpu: int
    tp: int = 1
    cp: int = 1
    stages: object = None


def machine():
    whole = load_machine("hgx_h200")
    up = replace(
        whole.scale_up,
        gpu_bandwidth_bytes_per_s=1e9,
        link_bandwidth_bytes_per_s=1e9 / whole.scale_up.links_per_gpu,
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
    net = Interconnect(env, machine=machine(), n_gpus=8)
    return kv_over(net, is_scale_up=is_scale_up)


def kv_over(net, *, is_scale_up):
    shipments = Shipments(net, machine=machine())
    return KvLinks(shipments, is_scale_up=is_scale_up, setup_s=0.5, token_bytes=1e6)


def frame_of(links):
    records = Records()
    links._shipments.net.write(records.links)
    return records.to_frame("links")


def arrival_s(env, event):
    env.run(until=event)
    return to_s(env.now)


def test_a_cache_takes_setup_latency_and_its_bytes_over_the_nics():
    env = simpy.Environment(initial_time=0)
    event = links_of(env).send(Place(0), target=Place(2), groups=(0, 1), n_tokens=100)
    # 0.5 s + two endpoints, two leaves and a spine + 100 MB at half of two NICs of 100 MB/s
    assert arrival_s(env, event) == pytest.approx(0.5 + 2 * 1 + 3 * 3 + 1.0)


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
    assert to_s(env.now) == pytest.approx(11.5 + 2.0)


def test_each_nic_carries_its_share():
    env = simpy.Environment(initial_time=0)
    links = links_of(env)
    env.run(until=links.send(Place(0, tp=2), target=Place(2), groups=(0, 1), n_tokens=100))
    frame = frame_of(links)
    # the NICs are on four rails, so that all bytes cross spines
    leaves = frame[frame["tier"] == "leaf"]
    assert leaves["port"].tolist() == [0, 1, 6, 7]
    assert leaves["sent_bytes"].sum() == pytest.approx(1e8)
    assert (leaves["replica"] == -1).all()
    frame = frame[frame["tier"] == "scale_out"]
    assert frame["port"].tolist() == [0, 1, 6, 7]
    assert frame["sent_bytes"].tolist() == pytest.approx([5e7, 5e7, 0, 0])
    assert frame["received_bytes"].tolist() == pytest.approx([0, 0, 5e7, 5e7])
    assert frame["kv_bytes"].tolist() == pytest.approx([5e7] * 4)
    assert frame["busy_s"].tolist() == pytest.approx([1.0] * 4)
    assert frame["capacity_bytes_per_s"].tolist() == pytest.approx([1e8] * 4)
    # 12.5 s in all, and half of the peak while it moves
    assert frame["mean_utilization_frac"].tolist() == pytest.approx([0.5 / 12.5] * 4)
    assert frame["p99_utilization_frac"].tolist() == pytest.approx([0.5] * 4)


def test_each_gpu_of_a_group_fetches_its_own_share():
    env = simpy.Environment(initial_time=0)
    links = links_of(env, is_scale_up=True)
    env.run(until=links.send(Place(0, tp=2), target=Place(4, tp=2), groups=(0, 0), n_tokens=100))
    assert to_s(env.now) == pytest.approx(0.5 + 4 + 0.2)
    frame = frame_of(links)
    assert frame["port"].tolist() == [0, 1, 4, 5]
    assert frame["sent_bytes"].tolist() == pytest.approx([1e8, 1e8, 0, 0])


def test_a_cache_to_another_domain_takes_the_nics():
    env = simpy.Environment(initial_time=0)
    net = Interconnect(env, machine=machine(), n_gpus=16)
    links = kv_over(net, is_scale_up=True)
    env.run(until=links.send(Place(1), target=Place(12), groups=(0, 0), n_tokens=100))
    assert set(frame_of(links)["tier"]) == {"scale_out", "leaf"}


def test_a_cache_on_its_way_can_be_given_up():
    env = simpy.Environment(initial_time=0)
    links = links_of(env)
    event = links.send(Place(0), target=Place(2), groups=(0, 0), n_tokens=100)
    env.run(until=int(12e12))
    links.cancel(event)
    links.cancel(event)
    env.run()
    assert not event.triggered
    frame = frame_of(links)
    assert frame["sent_bytes"][frame["tier"] == "scale_out"].sum() == pytest.approx(5e7)


def test_what_is_left_moves_to_the_nic_that_serves():
    env = simpy.Environment(initial_time=0)
    links = links_of(env)
    event = links.send(Place(0), target=Place(2), groups=(0, 0), n_tokens=100)
    env.run(until=int(12e12))
    # half is there; NIC 1 of GPU 0 fails, and NIC 2 of GPU 1 takes over
    ports = links._shipments.net.ports
    ports.scale(ports.links.nic[:, 1], live_frac=0.0)
    ports.find_serving_nics()
    assert ports.serving_nic[:4].tolist() == [0, 2, 2, 3]
    links._shipments.reroute()
    assert arrival_s(env, event) == pytest.approx(12.5)
    frame = frame_of(links).set_index(["tier", "port"])["sent_bytes"]
    assert frame["scale_out", 1] == pytest.approx(2.5e7)
    assert frame["scale_out", 2] == pytest.approx(2.5e7)
    assert frame["scale_up", 0] == pytest.approx(2.5e7)


def test_a_cache_that_stays_on_its_gpu_only_waits_for_the_handshake():
    env = simpy.Environment(initial_time=0)
    event = links_of(env).send(Place(1), target=Place(1), groups=(0, 0), n_tokens=100)
    assert arrival_s(env, event) == pytest.approx(0.5)


def test_aggregated_pools_need_no_links(small_files):
    scenario = build(Case(), small_files)
    net = Interconnect(simpy.Environment(), machine=scenario.machine, n_gpus=4)
    shipments = Shipments(net, machine=scenario.machine)
    assert build_kv_links(scenario, shipments=shipments) is None


def test_the_target_decides_the_share_of_a_cache(small_files):
    scenario = build(Case(model="grouped", pools=(Shape(), Shape(tp=2))), small_files)
    env = simpy.Environment(initial_time=0)
    net = Interconnect(env, machine=scenario.machine, n_gpus=3)
    links = build_kv_links(scenario, shipments=Shipments(net, machine=scenario.machine))
    env.run(until=links.send(Place(0), target=Place(1), groups=(0, 0), n_tokens=10))
    per_token = kv_bytes_per_token(scenario.arch, kv_dtype=scenario.kv_dtype, tp=2)
    frame = frame_of(links)
    nics = frame[frame["tier"] == "scale_out"]
    assert nics["sent_bytes"].sum() == pytest.approx(10 * per_token)
    assert nics["port"].tolist() == [0, 1]


def test_stages_and_parts_of_a_prompt_send_their_shares_at_once():
    env, shipped = simpy.Environment(initial_time=0), []

    class Noted:
        def ship(self, loads_bytes, **_choices):
            shipped.append(loads_bytes)
            return env.event()

    links = KvLinks(Noted(), is_scale_up=True, setup_s=0.0, token_bytes=8.0)
    pipe = SimpleNamespace(first_gpus=(8, 9))
    links.send(Place(0, tp=1, cp=4), target=Place(8, stages=pipe), groups=(0, 0), n_tokens=100)
    # half of the tokens are in each stage, whose layers are its own
    assert shipped == [{(0, 8): 200.0, (1, 8): 200.0, (2, 9): 200.0, (3, 9): 200.0}]
    links.send(Place(0, tp=2, cp=2), target=Place(8, tp=2), groups=(1, 0), n_tokens=100)
    assert shipped[1] == {(4, 8): 400.0, (5, 9): 400.0, (6, 8): 400.0, (7, 9): 400.0}
