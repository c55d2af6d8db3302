"""Bytes beside the exchanges: which way they go, and how long they take."""

from dataclasses import replace

import pytest
import simpy

from rackmoe.engine.clock import to_s
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.shipments import HOST, Shipments
from rackmoe.errors import TopologyError
from rackmoe.hardware.profile import load_machine
from rackmoe.network.arbitration import TrafficClass
from rackmoe.records import Records


def machine():
    """HGX nodes with round numbers, and two NICs for each GPU."""
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
        copy_frac=0.5,
        endpoint_latency_s=1.0,
        switch_latency_s=3.0,
    )
    host = replace(whole.host, link_bandwidth_bytes_per_s=2e8, copy_frac=0.5, link_latency_s=4.0)
    return replace(whole, scale_up=up, scale_out=out, host=host)


def shipments_of(n_gpus=16):
    env = simpy.Environment(initial_time=0)
    return Shipments(Interconnect(env, machine=machine(), n_gpus=n_gpus), machine=machine())


def took_s(shipments, loads_bytes, **values):
    event = shipments.ship(loads_bytes, **{"traffic_class": TrafficClass.EXPERT, **values})
    env = shipments.net.env
    env.run(until=event)
    return to_s(env.now)


def column(shipments, name):
    records = Records()
    shipments.net.write(records.links)
    frame = records.to_frame("links")
    return frame.groupby("tier")[name].sum().to_dict()


def test_experts_move_over_the_scale_up_fabric_of_a_domain():
    shipments = shipments_of()
    # two links and a switch chip, then 1 GB at half of 1 GB/s
    assert took_s(shipments, {(0, 3): 1e9}) == pytest.approx(4.0 + 2.0)
    assert column(shipments, "expert_bytes") == {"scale_up": pytest.approx(2e9)}


def test_experts_that_leave_a_gpu_together_share_its_port():
    assert took_s(shipments_of(), {(0, 3): 1e9, (0, 4): 1e9}) == pytest.approx(4.0 + 4.0)


def test_weights_come_from_the_host_over_its_own_link():
    shipments = shipments_of()
    loads = {(HOST, gpu): 1e8 for gpu in range(4)}
    assert took_s(shipments, loads, traffic_class=TrafficClass.WEIGHTS) == pytest.approx(5.0)
    assert column(shipments, "other_bytes") == {"host": pytest.approx(4e8)}
    assert column(shipments, "received_bytes") == {"host": pytest.approx(4e8)}


def test_a_swapped_cache_goes_to_the_host():
    shipments = shipments_of()
    loads = {(2, HOST): 1e8}
    assert took_s(shipments, loads, traffic_class=TrafficClass.KV) == pytest.approx(5.0)
    assert column(shipments, "sent_bytes") == {"host": pytest.approx(1e8)}


@pytest.mark.parametrize(("target", "n_switches"), [(8, 1), (9, 3)])
def test_bytes_between_domains_take_the_nics_and_spines_between_rails(target, n_switches):
    shipments = shipments_of()
    # 100 MB at half of 100 MB/s
    expected_s = 2 * 1.0 + n_switches * 3.0 + 2.0
    assert took_s(shipments, {(0, target): 1e8}) == pytest.approx(expected_s)
    assert ("leaf" in column(shipments, "sent_bytes")) == (n_switches > 1)


def test_bytes_can_be_kept_off_the_scale_up_fabric():
    shipments = shipments_of()
    assert took_s(shipments, {(0, 1): 1e8}, is_scale_up=False) == pytest.approx(2 + 9 + 2)
    assert "scale_up" not in column(shipments, "sent_bytes")


def test_nothing_to_move_is_done_at_once():
    assert took_s(shipments_of(), {}) == 0.0
    assert took_s(shipments_of(), {(3, 3): 1e9}) == 0.0


def test_ports_of_exchanges_are_shared_from_the_first_shipment_that_crosses_them():
    shipments, calls = shipments_of(), []
    shipments.on_exchange_ports.append(lambda: calls.append("shared"))
    took_s(shipments, {(HOST, 0): 1.0})
    took_s(shipments, {(0, 1): 1.0}, traffic_class=TrafficClass.KV)
    assert calls == []
    took_s(shipments, {(0, 1): 1.0})
    took_s(shipments, {(0, 1): 1.0})
    assert calls == ["shared"]


def test_flows_are_those_of_what_is_under_way():
    shipments = shipments_of()
    shipments.ship({(0, 3): 1e9, (HOST, 3): 1e9}, traffic_class=TrafficClass.EXPERT)
    assert shipments.flows() == []
    shipments.net.env.run(until=int(4.5e12))
    links = shipments.net.links
    expected = {links.scale_up_path(0, destination=3), links.host_path(3, is_to_host=False)}
    assert set(shipments.flows()) == {(TrafficClass.EXPERT, path) for path in expected}


@pytest.mark.parametrize("pair", [(HOST, HOST), (0, 16), (-2, 0)])
def test_ends_that_are_not_there_are_refused(pair):
    with pytest.raises(TopologyError, match=rf"shipment: {pair[0]} to {pair[1]}; expected"):
        shipments_of().ship({pair: 1.0}, traffic_class=TrafficClass.EXPERT)
