"""A replica and its ports: what steps take from transfers, and transfers from steps."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import simpy

from rackmoe.engine.clock import to_ps
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.replica_ports import ReplicaPorts
from rackmoe.hardware.profile import load_machine
from rackmoe.records import Records

PEAK_BYTES_PER_S = 1e9


class Slowed:
    """A replica on GPUs 2 and 3 that notes at which capacities it runs."""

    index, first_gpu = 0, 2
    lasting = None

    def __init__(self):
        self.slowdowns = []

    def slow_down(self, slowdown):
        self.slowdowns.append(slowdown)


def interconnect():
    """One node whose ports have 1 GB/s and 18 links."""
    whole = load_machine("hgx_h200")
    up = replace(
        whole.scale_up,
        gpu_bandwidth_bytes_per_s=PEAK_BYTES_PER_S,
        link_bandwidth_bytes_per_s=PEAK_BYTES_PER_S / whole.scale_up.links_per_gpu,
        copy_frac=0.5,
    )
    machine = replace(whole, scale_up=up)
    return Interconnect(simpy.Environment(initial_time=0), machine=machine, n_gpus=8)


def ports_of(*, spans_domains=False, is_shared=True):
    """Ports of ranks as in one domain, or as if each rank were in a domain of its own."""
    net = interconnect()
    own = ReplicaPorts(
        net,
        replica=Slowed(),
        n_gpus=2,
        far_mask=1.0 - np.eye(2) if spans_domains else None,
        is_shared=is_shared,
    )
    return own, net


def step(n_bytes, *, duration_s=1.0):
    """A step in which every rank sends and receives the same over each kind of port."""
    port_bytes = None if n_bytes is None else np.full((4, 2), float(n_bytes))
    return SimpleNamespace(
        totals=SimpleNamespace(port_bytes=port_bytes),
        duration_s=duration_s,
        exchange_s=np.array([0.2, 0.3]),
    )


def utilization(own, net):
    return [net.ports.gpus[gpu].port.utilization for gpu in own.gpus]


def test_a_step_keeps_its_mean_rate_from_the_transfers():
    own, net = ports_of()
    own.started(step(2.5e8))
    assert utilization(own, net) == [pytest.approx((0.25, 0.25))] * 2
    assert net.ports.gpus[0].port.utilization == (0.0, 0.0)
    own.idle()
    assert utilization(own, net) == [(0.0, 0.0)] * 2


def test_a_step_that_fills_a_port_leaves_a_hundredth():
    own, net = ports_of()
    own.started(step(5e9))
    assert utilization(own, net) == [pytest.approx((0.99, 0.99))] * 2


@pytest.mark.parametrize(("is_shared", "n_bytes"), [(False, 2.5e8), (True, None)])
def test_nothing_is_kept_where_no_transfer_comes_or_nothing_is_sent(is_shared, n_bytes):
    own, net = ports_of(is_shared=is_shared)
    own.started(step(n_bytes))
    assert utilization(own, net) == [(0.0, 0.0)] * 2


def written(net):
    net.env.run(until=to_ps(2.0))
    records = Records()
    net.write(records.links)
    return records.to_frame("links")


def test_equal_steps_in_a_row_are_counted_together():
    own, net = ports_of()
    own.ended(step(1e8), start_ps=0, end_ps=to_ps(2.0), n_steps=4)
    own.ended(step(None), start_ps=0, end_ps=to_ps(2.0), n_steps=4)
    frame = written(net)
    assert frame["port"].tolist() == [2, 3]
    assert frame["sent_bytes"].tolist() == frame["received_bytes"].tolist() == [4e8, 4e8]
    assert frame["busy_s"].tolist() == pytest.approx([0.8, 1.2])
    assert frame["mean_utilization_frac"].tolist() == pytest.approx([0.2, 0.2])


def test_a_replica_over_several_domains_uses_its_nics_too():
    own, net = ports_of(spans_domains=True)
    own.ended(step(1e8), start_ps=0, end_ps=to_ps(2.0), n_steps=1)
    frame = written(net)
    assert frame["tier"].tolist() == ["scale_up"] * 2 + ["scale_out"] * 2 + ["leaf"] * 2
    # two NICs on rails of their own: what one sends goes up at its leaf and down at the other
    assert frame["sent_bytes"].tolist() == pytest.approx([1e8] * 6)
    assert frame["received_bytes"].tolist() == pytest.approx([1e8] * 6)
    # a port and a leaf work as long as their bytes take, a NIC as long as the exchanges
    leaf_s = 1e8 / (32 * 50e9)
    assert frame["busy_s"].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.3, leaf_s, leaf_s])


def test_a_lost_switch_chip_slows_all_ranks_until_it_is_repaired():
    own, net = ports_of()
    nominal = net.ports.gpus[2].port.capacity_bytes_per_s[0]
    net.ports.chips[0].fail()
    own.refresh()
    own.refresh()
    (slow,) = own.replica.slowdowns
    expected = nominal / net.ports.gpus[2].port.capacity_bytes_per_s[0]
    # four chips, with four or five of the eighteen links each
    assert expected in (pytest.approx(18 / 14), pytest.approx(18 / 13))
    assert slow.egress[0].tolist() == slow.ingress[0].tolist() == pytest.approx([expected] * 2)
    net.ports.chips[0].repair()
    own.refresh()
    assert own.replica.slowdowns[1:] == [None]
    assert own.n_changes == 2


def test_a_rank_without_a_port_is_cut_off_and_not_slowed_down():
    own, net = ports_of()
    assert not own.is_cut_off
    net.ports.scale(net.links.scale_up[:, 2], live_frac=0.0)
    own.refresh()
    assert own.is_cut_off
    assert own.replica.slowdowns == []


def test_transfers_over_its_ports_slow_the_replica_while_they_last():
    own, net = ports_of()
    # an eighth of a second at half of 1 GB/s
    net.fabric.transfer(net.links.scale_up_path(2, destination=7), n_bytes=6.25e7)
    net.env.run(until=to_ps(0.01))
    (slow,) = own.replica.slowdowns
    assert slow.egress[0, 0] > 1.5
    assert slow.egress[0, 1] == slow.ingress[0, 0] == 1.0
    net.env.run(until=to_ps(0.2))
    assert own.replica.slowdowns[-1] is None


def test_transfers_elsewhere_leave_the_replica_alone():
    own, net = ports_of()
    net.fabric.transfer(net.links.scale_up_path(0, destination=7), n_bytes=1e9)
    net.env.run(until=to_ps(0.1))
    assert own.replica.slowdowns == []


def test_ports_that_are_shared_in_the_middle_of_a_step_keep_its_rate():
    own, net = ports_of(is_shared=False)
    own.started(step(2.5e8))
    own.share()
    assert utilization(own, net) == [pytest.approx((0.25, 0.25))] * 2
    net.fabric.transfer(net.links.scale_up_path(2, destination=7), n_bytes=6.25e7)
    net.env.run(until=to_ps(0.01))
    assert len(own.replica.slowdowns) == 1
