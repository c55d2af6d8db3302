"""What faults leave of a machine."""

import pytest
import simpy

from rackmoe.engine.faults import Faults, damage_of
from rackmoe.engine.interconnect import Interconnect
from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.scenario.simulation import Fault
from rackmoe.streams import Streams

MACHINE = load_machine("gb200_nvl72")


def net():
    return Interconnect(simpy.Environment(initial_time=0), machine=MACHINE, n_gpus=72)


def damage(*kinds, where=0, **values):
    faults = [Fault(kind=kind, at_s=0.0, where=where, **values) for kind in kinds]
    return damage_of(faults, net=net(), machine=MACHINE)


def test_a_switch_tray_leaves_sixteen_of_eighteen_links_to_every_gpu():
    left = damage("switch_tray").scale_up_frac
    port = MACHINE.scale_up.gpu_bandwidth_bytes_per_s
    assert (left * port).tolist() == pytest.approx([800e9] * 72)


def test_a_link_costs_one_gpu_an_eighteenth():
    left = damage("link", where=5).scale_up_frac
    assert left[5] == pytest.approx(17 / 18)
    assert left.sum() == pytest.approx(71 + 17 / 18)


def test_two_links_of_a_gpu_add_up():
    assert damage("link", "link").scale_up_frac[0] == pytest.approx(16 / 18)


def test_a_compute_tray_is_four_gpus():
    assert damage("compute_tray", where=1).is_dead.nonzero()[0].tolist() == [4, 5, 6, 7]


def test_a_nic_halves_nothing_else():
    left = damage("nic", where=3)
    assert left.nic_frac.sum() == 71.0
    assert left.nic_frac[3] == 0.0
    assert left.scale_up_frac.min() == 1.0


def test_a_slow_link_keeps_its_factor():
    assert damage("slow_link", factor=0.25).scale_up_frac[0] == pytest.approx(0.25)
    left = damage("slow_link", factor=0.25, fabric="scale_out")
    assert left.nic_frac[0] == pytest.approx(0.25)


def test_a_leaf_takes_its_nics_down():
    left = damage("leaf")
    assert left.leaf_frac[0] == 0.0
    assert (left.nic_frac == 0.0).sum() == 18


def test_a_place_that_is_not_there_is_refused():
    faults = Faults(
        net(), machine=MACHINE, rack=None, ports=(), shipments=None, streams=Streams(0)
    )
    with pytest.raises(ConfigError, match=r"faults\.0\.where: 72; expected a gpu"):
        faults.start([Fault(kind="gpu", at_s=1.0, where=72)])


def test_a_spine_takes_its_share_of_the_uplinks_and_no_nic():
    left = damage("spine", where=2)
    # 18 uplinks of each leaf over nine spines
    assert left.leaf_frac.tolist() == pytest.approx([16 / 18] * 4)
    assert left.nic_frac.min() == 1.0
    assert damage("spine", "leaf").leaf_frac[0] == 0.0
