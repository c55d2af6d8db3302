"""Which links bytes cross between racks and units, from the graph of the machine."""

from dataclasses import replace

import numpy as np
import pytest
from two_level_cases import by_rail, direct, make_two_level, packet_makespan_s

from rackmoe.engine.links import MachineLinks
from rackmoe.hardware.profile import load_machine
from rackmoe.hardware.topology import NodeKind, build_topology, nodes_of_kind
from rackmoe.network.fluid import link_bound_s, one_fill_finish_s

WORST = 0.05


@pytest.fixture(scope="module", params=[2, 4, 8])
def racks(request):
    return MachineLinks.of_machine(load_machine("gb200_nvl72"), n_gpus=72 * request.param)


@pytest.fixture(scope="module")
def hgx():
    return load_machine("hgx_h200")


@pytest.fixture(scope="module")
def units(hgx):
    """Four units of 32 nodes of 8 GPUs."""
    return MachineLinks.of_machine(hgx, n_gpus=4 * 32 * 8)


def pairs_between(links, *, n_pairs=200, seed=0):
    """Random pairs of GPUs of different scale-up domains."""
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, links.n_gpus, (8 * n_pairs, 2))
    apart = links.gpu_domain[pairs[:, 0]] != links.gpu_domain[pairs[:, 1]]
    return pairs[apart][:n_pairs].tolist()


def kinds(links, path):
    return [links.names[link].split(".")[1] for link in path]


def test_rails_of_a_rack_are_gpu_index_modulo_4(racks):
    assert np.array_equal(racks.nic_rail, np.arange(racks.n_gpus) % 4)
    # a leaf serves one rail of one rack
    for leaf in range(racks.leaf.shape[1]):
        served = np.flatnonzero(racks.nic_leaf == leaf)
        assert np.unique(racks.nic_rail[served]).size == 1
        assert np.unique(racks.gpu_domain[served]).size == 1


def test_bytes_between_racks_change_rail_over_nvlink_before_they_leave(racks):
    for source, destination in pairs_between(racks):
        path = racks.forwarded_path(source, destination=destination)
        nics = [link for link in path if "nic" in racks.names[link].split(".")[1]]
        rails = [int(racks.names[link].split(".")[0].removeprefix("nic")) % 4 for link in nics]
        assert rails == [destination % 4] * 2
        expected = ["nic", "leaf", "leaf", "nic"]
        if source % 4 != destination % 4:
            expected = ["scale_up", "scale_up", *expected]
            relay = int(racks.names[path[1]].split(".")[0].removeprefix("gpu"))
            assert racks.gpu_node[relay] == racks.gpu_node[source]
        assert kinds(racks, path) == expected


def test_direct_writes_use_the_own_nics_of_both_ends(racks):
    for source, destination in pairs_between(racks):
        path = racks.scale_out_path(source, destination=destination)
        assert racks.names[path[0]] == f"nic{source}.nic.out"
        assert racks.names[path[-1]] == f"nic{destination}.nic.in"
        assert kinds(racks, path) == ["nic", "leaf", "leaf", "nic"]


def test_only_another_rail_or_another_unit_takes_the_spines(units):
    unit = units.gpu_node // 32
    for source, destination in pairs_between(units):
        is_near = unit[source] == unit[destination]
        path = units.scale_out_path(source, destination=destination)
        same_rail = source % 8 == destination % 8
        assert ("leaf" in kinds(units, path)) == (not (is_near and same_rail))
        forwarded = units.forwarded_path(source, destination=destination)
        assert ("leaf" in kinds(units, forwarded)) == (not is_near)


@pytest.mark.parametrize(("name", "n_gpus"), [("gb200_nvl72", 72 * 8), ("hgx_h200", 1024)])
def test_uplinks_of_a_leaf_spread_evenly_over_all_spines(name, n_gpus):
    graph = build_topology(load_machine(name), n_gpus=n_gpus)
    for leaf in nodes_of_kind(graph, kind=NodeKind.LEAF):
        counts = [
            data["n_links"]
            for _, other, data in graph.edges(leaf, data=True)
            if graph.nodes[other]["kind"] is NodeKind.SPINE
        ]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("n_uplinks", [1, 2])
def test_oversubscribed_spines_slow_direct_writes_and_spare_forwarded_ones(hgx, n_uplinks):
    # 4 nodes: a leaf has 4 NICs, and 7 of 8 remote copies of each go to another rail
    tight = replace(hgx, scale_out=replace(hgx.scale_out, leaf_uplinks=n_uplinks))
    for way, factor in ((direct, 4 / n_uplinks * 7 / 8), (by_rail, 1.0)):
        free, slowed = (
            make_two_level(machine, n_gpus=32, zipf=0.0, way=way) for machine in (hgx, tight)
        )
        closed_s = link_bound_s(**slowed.flows)
        assert closed_s / link_bound_s(**free.flows) == pytest.approx(factor, rel=0.1)
        assert one_fill_finish_s(**slowed.flows).max() == pytest.approx(closed_s, rel=1e-9)
        assert packet_makespan_s(slowed) == pytest.approx(closed_s, rel=WORST)
