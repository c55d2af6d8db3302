"""What the ports of a run carried, as the link table says it."""

from dataclasses import replace

import numpy as np
import pytest
import simpy

from rackmoe.engine.clock import to_ps
from rackmoe.engine.interconnect import Interconnect, hot_links
from rackmoe.hardware.profile import load_machine
from rackmoe.network.arbitration import TrafficClass
from rackmoe.records import Records, Tier

PEAK_BYTES_PER_S = 1e9


def interconnect():
    """Eight GPUs with ports of 1 GB/s, of which transfers reach half."""
    whole = load_machine("hgx_h200")
    up = replace(
        whole.scale_up,
        gpu_bandwidth_bytes_per_s=PEAK_BYTES_PER_S,
        link_bandwidth_bytes_per_s=PEAK_BYTES_PER_S / whole.scale_up.links_per_gpu,
        copy_frac=0.5,
    )
    env = simpy.Environment(initial_time=0)
    return Interconnect(env, machine=replace(whole, scale_up=up), n_gpus=5)


def table_of(net):
    records = Records()
    net.write(records.links)
    return records.to_frame("links")


def count(net, links, *, n_bytes, busy_s, end_s=1.0):
    ones = np.ones(len(links))
    net.count_collectives(
        np.array(links),
        n_bytes=n_bytes * ones,
        busy_s=busy_s * ones,
        start_ps=0,
        end_ps=to_ps(end_s),
    )


def test_whole_nodes_are_built_and_peaks_are_those_of_the_datasheet():
    net = interconnect()
    up = net.links.scale_up
    assert up.shape == (2, 8)
    assert net.peak_bytes_per_s[up].reshape(-1) == pytest.approx([PEAK_BYTES_PER_S] * 16)
    assert net.links.capacity_bytes_per_s[up[0, 0]] == pytest.approx(PEAK_BYTES_PER_S / 2)


def test_exchanges_are_written_for_the_rank_that_has_the_port():
    net = interconnect()
    net.own(range(2, 4), replica=7)
    count(net, net.links.scale_up[:, 3].tolist(), n_bytes=2.5e8, busy_s=0.5)
    net.env.run(until=to_ps(1.0))
    (row,) = table_of(net).itertuples()
    assert (row.replica, row.rank, row.tier, row.port) == (7, 1, "scale_up", 3)
    assert (row.sent_bytes, row.received_bytes, row.collective_bytes) == (2.5e8, 2.5e8, 5e8)
    assert (row.kv_bytes, row.expert_bytes, row.other_bytes) == (0.0, 0.0, 0.0)
    assert row.mean_utilization_frac == pytest.approx(0.25)
    assert row.p99_utilization_frac == pytest.approx(0.25)
    assert row.busy_s == 0.5
    assert (row.collective_busy_s, row.kv_busy_s, row.other_busy_s) == (0.5, 0.0, 0.0)


def test_a_port_is_not_busy_for_longer_than_the_run():
    net = interconnect()
    count(net, [int(net.links.scale_up[0, 0])], n_bytes=1e8, busy_s=3.0)
    net.env.run(until=to_ps(1.0))
    (row,) = table_of(net).itertuples()
    assert (row.replica, row.rank) == (-1, -1)
    assert row.busy_s == 1.0


def test_busy_time_is_written_for_each_class_of_traffic():
    net = interconnect()
    path = net.links.scale_up_path(0, destination=1)
    rate = PEAK_BYTES_PER_S / 2
    net.fabric.transfer(path, n_bytes=0.25 * rate, traffic_class=TrafficClass.EXPERT)
    net.env.run(until=to_ps(0.5))
    net.fabric.transfer(path, n_bytes=0.125 * rate, traffic_class=TrafficClass.WEIGHTS)
    net.env.run(until=to_ps(1.0))
    out, into = table_of(net).itertuples()
    for row in (out, into):
        assert row.busy_s == pytest.approx(0.375)
        assert (row.kv_busy_s, row.collective_busy_s) == (0.0, 0.0)
        assert (row.expert_busy_s, row.other_busy_s) == pytest.approx((0.25, 0.125))


def test_a_nic_belongs_to_its_gpu_and_a_leaf_to_none():
    net = interconnect()
    net.own(range(8), replica=0)
    count(net, [int(net.links.nic[0, 5]), int(net.links.leaf[0, 2])], n_bytes=1e6, busy_s=0.1)
    net.env.run(until=to_ps(1.0))
    nic, leaf = table_of(net).itertuples()
    assert (nic.tier, nic.replica, nic.rank) == ("scale_out", 0, 5 // net.links.nics_per_gpu)
    assert (leaf.tier, leaf.replica, leaf.rank, leaf.port) == ("leaf", -1, -1, 2)


def test_samples_close_together_are_left_out_unless_forced():
    net = interconnect()
    net.fabric.transfer(net.links.scale_up_path(0, destination=1), n_bytes=PEAK_BYTES_PER_S)
    now_ps = net.load.width_ps // 5
    net.env.run(until=now_ps)
    net.sample()
    assert not net.load.rates_bytes_per_s(now_ps).any()
    net.sample(is_forced=True)
    rates = net.load.rates_bytes_per_s(now_ps)[0, net.links.scale_up[0]]
    assert rates == pytest.approx([PEAK_BYTES_PER_S / 2] + [0.0] * 7)


def test_the_hottest_ports_come_first_and_are_ten_at_most():
    table = Records().links
    for port in range(12):
        table.append_row(
            (0, port, Tier.SCALE_UP, port, *(0.0,) * 7, port / 100, port / 50, *(0.0,) * 5)
        )
    hottest = hot_links(table)
    assert [one.name for one in hottest] == [f"scale_up {port}" for port in range(11, 1, -1)]
    assert hottest[0].mean_utilization_frac == 0.11
    assert hottest[0].p99_utilization_frac == 0.22


def test_replicas_that_share_a_link_keep_the_sum_of_their_rates():
    net = interconnect()
    links = net.links.leaf[:, 0]
    net.reserve(links, bytes_per_s=np.array([3.0, 1.0]), replica=0)
    net.reserve(links, bytes_per_s=np.array([2.0, 2.0]), replica=1)
    assert net.fabric.reserved_on(links).tolist() == [5.0, 3.0]
    assert net.kept_for_others(links, replica=0).tolist() == [2.0, 2.0]
    net.reserve(links, bytes_per_s=np.zeros(2), replica=1)
    assert net.fabric.reserved_on(links).tolist() == [3.0, 1.0]
