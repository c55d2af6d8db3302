"""Paths through the links of a machine."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.engine.links import MachineLinks
from rackmoe.errors import TopologyError
from rackmoe.hardware.profile import load_machine


@pytest.fixture(scope="module")
def hgx():
    return MachineLinks.of_machine(load_machine("hgx_h200"), n_gpus=64)


@pytest.fixture(scope="module")
def racks():
    return MachineLinks.of_machine(load_machine("gb200_nvl72"), n_gpus=144)


def named(links, path):
    return [links.names[link] for link in path]


def test_scale_up_takes_one_port_at_each_end(hgx):
    path = hgx.scale_up_path(1, destination=6)
    assert named(hgx, path) == ["gpu1.scale_up.out", "gpu6.scale_up.in"]


def test_ports_join_all_links_of_a_gpu(racks):
    machine = load_machine("gb200_nvl72")
    expected = machine.scale_up.gpu_bandwidth_bytes_per_s * machine.scale_up.copy_frac
    ports = racks.capacity_bytes_per_s[racks.scale_up]
    assert ports == pytest.approx(np.full((2, 144), expected), rel=1e-12)
    assert racks.n_links_to_chip.sum(axis=1).tolist() == [18] * 144


def test_same_rail_of_a_block_stays_on_one_leaf(hgx):
    path = hgx.scale_out_path(3, destination=8 + 3)
    assert named(hgx, path) == ["nic3.nic.out", "nic11.nic.in"]


def test_another_rail_crosses_the_spines(hgx):
    path = hgx.scale_out_path(3, destination=8 + 5)
    assert named(hgx, path) == ["nic3.nic.out", "leaf3.leaf.out", "leaf5.leaf.in", "nic13.nic.in"]


def test_forwarding_moves_to_the_right_rail_over_scale_up(hgx):
    path = hgx.forwarded_path(3, destination=8 + 5)
    assert named(hgx, path) == [
        "gpu3.scale_up.out",
        "gpu5.scale_up.in",
        "nic5.nic.out",
        "nic13.nic.in",
    ]
    direct = hgx.scale_out_path(5, destination=13)
    assert hgx.forwarded_path(5, destination=13) == direct


def test_gpus_of_one_domain_use_scale_up_and_others_their_nics(racks):
    assert len(racks.gpu_path(0, destination=71)) == 2
    assert named(racks, racks.gpu_path(0, destination=72))[0] == "nic0.nic.out"


def test_paths_are_short_and_known_to_the_fabric(racks):
    rng = np.random.default_rng(0)
    for _ in range(200):
        source, destination = rng.permutation(144)[:2].tolist()
        for path in (
            racks.gpu_path(source, destination=destination),
            racks.forwarded_path(source, destination=destination),
        ):
            assert 1 <= len(set(path)) == len(path) <= 8
            assert max(path) < len(racks.names)


def test_host_links_have_two_directions(hgx):
    assert named(hgx, hgx.host_path(2, is_to_host=True)) == ["gpu2.host.out"]
    assert named(hgx, hgx.host_path(2, is_to_host=False)) == ["gpu2.host.in"]


def test_uplinks_of_a_leaf_are_joined(hgx):
    out = load_machine("hgx_h200").scale_out
    expected = out.leaf_uplinks * out.nic_bandwidth_bytes_per_s * out.copy_frac
    assert hgx.capacity_bytes_per_s[hgx.leaf[0, 0]] == pytest.approx(expected)


def test_every_link_has_one_name_and_a_capacity(racks):
    assert len(set(racks.names)) == len(racks.names) == racks.capacity_bytes_per_s.size
    assert (racks.capacity_bytes_per_s > 0.0).all()


def test_several_nics_of_a_gpu_have_paths_of_their_own():
    machine = load_machine("hgx_h200")
    out = replace(machine.scale_out, nics_per_gpu=2, n_rails=16)
    links = MachineLinks.of_machine(replace(machine, scale_out=out), n_gpus=16)
    paths = [links.scale_out_path(0, destination=8, nic=k) for k in range(2)]
    assert not set(paths[0]) & set(paths[1])
    with pytest.raises(TopologyError, match="NIC 2 of a GPU; expected 0 to 1"):
        links.scale_out_path(0, destination=8, nic=2)


@pytest.mark.parametrize(("source", "destination"), [(3, 3), (0, 64), (-1, 2)])
def test_paths_between_impossible_gpus_are_refused(hgx, source, destination):
    with pytest.raises(TopologyError, match="expected two different GPUs below 64"):
        hgx.gpu_path(source, destination=destination)


def test_scale_up_does_not_leave_its_domain(hgx):
    with pytest.raises(TopologyError, match="use the scale-out path"):
        hgx.scale_up_path(0, destination=8)


def test_uplinks_are_dealt_over_the_spines(hgx):
    machine = load_machine("hgx_h200")
    assert hgx.n_links_to_spine.shape == (8, machine.scale_out.unit_spines)
    assert hgx.n_links_to_spine.sum(axis=1).tolist() == [machine.scale_out.leaf_uplinks] * 8
