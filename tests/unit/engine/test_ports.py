"""Ports that fail, slow down and are asked."""

import numpy as np
import pytest
import simpy

from rackmoe.engine.clock import to_ps, to_s
from rackmoe.engine.fabric import Fabric
from rackmoe.engine.links import MachineLinks
from rackmoe.engine.ports import Ports
from rackmoe.errors import TopologyError
from rackmoe.hardware.profile import load_machine
from rackmoe.network.arbitration import Arbitration


@pytest.fixture(scope="module")
def links():
    return MachineLinks.of_machine(load_machine("gb200_nvl72"), n_gpus=72)


@pytest.fixture
def ports(links):
    env = simpy.Environment()
    fabric = Fabric(env, links.capacity_bytes_per_s, names=links.names)
    return Ports(fabric, links=links, arbitration=Arbitration.CLASSES)


def test_a_failed_chip_takes_one_link_of_each_gpu(ports, links):
    nominal = links.capacity_bytes_per_s[links.scale_up[0, 0]]
    ports.chips[3].fail()
    for gpu in (ports.gpus[0], ports.gpus[71]):
        assert gpu.port.capacity_bytes_per_s == pytest.approx((nominal * 17 / 18,) * 2)
        assert gpu.port.n_live_links == 17
    assert ports.chips[3].capacity_bytes_per_s == 0.0
    ports.chips[3].repair()
    assert ports.gpus[0].port.capacity_bytes_per_s == pytest.approx((nominal, nominal))


def test_a_failed_tray_leaves_sixteen_of_eighteen_links(ports):
    # 900 GB/s less 2 of 18 planes is 800 GB/s
    nominal = ports.gpus[5].port.capacity_bytes_per_s[0]
    ports.chips[0].fail()
    ports.chips[1].fail()
    assert ports.gpus[5].port.capacity_bytes_per_s[0] / nominal == pytest.approx(800 / 900)


def test_a_failed_link_slows_its_gpu_alone(ports):
    ports.gpus[7].port.fail_link(2)
    assert ports.gpus[7].port.n_live_links == 17
    assert ports.gpus[8].port.n_live_links == 18
    with pytest.raises(TopologyError, match="gpu7: no working link to switch chip 2"):
        ports.gpus[7].port.fail_link(2)


def test_a_failed_nic_halves_nothing_else(ports, links):
    before = ports.fabric.capacity_bytes_per_s
    ports.gpus[4].nics[0].scale(0.0)
    changed = np.flatnonzero(ports.fabric.capacity_bytes_per_s != before)
    assert changed.tolist() == links.nic[:, 4].tolist()
    assert ports.gpus[4].nics[0].capacity_bytes_per_s == (0.0, 0.0)
    assert ports.gpus[4].nics[0].utilization == (0.0, 0.0)


def test_utilization_shows_transfers_and_collectives(ports, links):
    env, capacity = ports.fabric.env, links.capacity_bytes_per_s[links.scale_up[0, 0]]
    ports.fabric.reserve(links.scale_up[0, :1], bytes_per_s=np.array([0.25 * capacity]))
    ports.fabric.transfer(links.scale_up_path(0, destination=1), n_bytes=10.0 * capacity)
    env.run(until=1)
    assert ports.gpus[0].port.utilization == pytest.approx((1.0, 0.0))
    assert ports.gpus[1].port.utilization == pytest.approx((0.0, 0.75))
    # striped over 18 chips: one port of 72 is full
    assert ports.chips[0].utilization == pytest.approx(1.0 / 72.0)


def test_foreign_traffic_slows_the_collectives_of_its_ports(ports, links):
    heard = []
    ports.fabric.on_change(links.scale_up[0].tolist(), callback=lambda: heard.append(1))
    ports.fabric.transfer(links.scale_up_path(0, destination=1), n_bytes=1e12)
    ports.fabric.env.run(until=1)
    out = ports.collective_slowdown(links.scale_up[0], n_peers=71)
    into = ports.collective_slowdown(links.scale_up[1], n_peers=71)
    assert heard == [1]
    assert out[:2].tolist() == [2.0, 1.0]
    assert into[:2].tolist() == [1.0, 2.0]


def test_a_dead_port_has_to_leave_its_group(ports, links):
    for chip in ports.chips:
        chip.fail()
    slow = ports.collective_slowdown(links.scale_up[0], n_peers=71)
    assert np.isinf(slow).all()


def test_a_transfer_under_way_feels_a_failed_tray(ports, links):
    env = ports.fabric.env
    capacity = float(links.capacity_bytes_per_s[links.scale_up[0, 0]])
    ends = []
    transfer = ports.fabric.transfer(links.scale_up_path(0, destination=1), n_bytes=2.0 * capacity)
    transfer.callbacks.append(lambda _: ends.append(to_s(env.now)))

    def fail():
        yield env.timeout(to_ps(1.0))
        ports.chips[0].fail()
        ports.chips[1].fail()

    env.process(fail())
    env.run()
    assert ends == pytest.approx([1.0 + 18 / 16])


def test_a_fabric_of_other_links_is_refused(links):
    fabric = Fabric(simpy.Environment(), np.ones(1), names=["one"])
    with pytest.raises(TopologyError, match="build the fabric from MachineLinks"):
        Ports(fabric, links=links)
