"""What the graphs can carry, against the sheets."""

import networkx as nx
import numpy as np
import pytest

from rackmoe.errors import TopologyError
from rackmoe.hardware.cuts import (
    half_split,
    link_sum_bytes_per_s_both_directions,
    min_cut_bytes_per_s_per_direction,
    n_edge_disjoint_paths,
    n_links,
    path_latency_s,
    scale_up_graph,
)
from rackmoe.hardware.profile import load_machine
from rackmoe.hardware.topology import LinkKind, NodeKind, build_topology, nodes_of_kind

GB, TB = 1e9, 1e12


@pytest.fixture(scope="module")
def rack():
    return build_topology(load_machine("gb200_nvl72"), n_gpus=72)


@pytest.fixture(scope="module")
def h200_unit():
    return build_topology(load_machine("hgx_h200"), n_gpus=256)


def gpus_of_nodes(nodes, *, per_node):
    return [f"gpu{node * per_node + local}" for node in nodes for local in range(per_node)]


def test_a_rack_has_1296_links_of_129_6_tb_per_s_in_all(rack):
    assert n_links(rack, kind=LinkKind.SCALE_UP) == 1296
    both = link_sum_bytes_per_s_both_directions(rack, kind=LinkKind.SCALE_UP)
    assert both == pytest.approx(129.6 * TB, rel=1e-12)


def test_an_hgx_h200_has_144_links_of_7_2_tb_per_s_in_all():
    graph = build_topology(load_machine("hgx_h200"), n_gpus=8)
    assert n_links(graph, kind=LinkKind.SCALE_UP) == 144
    both = link_sum_bytes_per_s_both_directions(graph, kind=LinkKind.SCALE_UP)
    assert both == pytest.approx(7.2 * TB, rel=1e-12)


@pytest.mark.parametrize("other", [1, 2, 3, 35, 71])
def test_two_gpus_of_a_rack_have_18_disjoint_paths(rack, other):
    assert n_edge_disjoint_paths(scale_up_graph(rack), source="gpu0", target=f"gpu{other}") == 18


def test_parallel_links_count_as_paths_of_their_own():
    graph = build_topology(load_machine("hgx_h200"), n_gpus=8)
    assert n_edge_disjoint_paths(scale_up_graph(graph), source="gpu0", target="gpu7") == 18


def test_any_half_of_a_rack_sends_32_4_tb_per_s_to_the_other(rack):
    rng = np.random.default_rng(1)
    splits = [half_split(rack)]
    for _ in range(3):
        order = [f"gpu{gpu}" for gpu in rng.permutation(72)]
        splits.append((order[:36], order[36:]))
    for lower, upper in splits:
        cut = min_cut_bytes_per_s_per_direction(scale_up_graph(rack), lower=lower, upper=upper)
        assert cut == pytest.approx(32.4 * TB, rel=1e-9)


def test_without_one_switch_tray_a_gpu_keeps_800_gb_per_s(rack):
    left = nx.Graph(scale_up_graph(rack))
    left.remove_nodes_from([name for name, tray in rack.nodes(data="tray") if tray == 4])
    others = [gpu for gpu in nodes_of_kind(rack, kind=NodeKind.GPU) if gpu != "gpu0"]
    assert min_cut_bytes_per_s_per_direction(left, lower=["gpu0"], upper=others) == pytest.approx(
        800 * GB, rel=1e-9
    )


def test_a_unit_of_32_nodes_is_non_blocking_for_any_half_of_its_nodes(h200_unit):
    rng = np.random.default_rng(2)
    expected = 16 * 8 * 50 * GB  # every NIC of one half at its port rate
    for order in [np.arange(32), *(rng.permutation(32) for _ in range(4))]:
        lower = gpus_of_nodes(order[:16], per_node=8)
        upper = gpus_of_nodes(order[16:], per_node=8)
        cut = min_cut_bytes_per_s_per_direction(h200_unit, lower=lower, upper=upper)
        assert cut == pytest.approx(expected, rel=1e-9)


def test_a_unit_stays_non_blocking_across_rails_without_nvlink(h200_unit):
    fabric = h200_unit.edge_subgraph(
        (a, b)
        for a, b, kind in h200_unit.edges(data="kind")
        if kind in {LinkKind.NIC, LinkKind.RAIL, LinkKind.UPLINK}
    )
    lower = [f"gpu{gpu}" for gpu in range(256) if gpu % 8 < 4]
    upper = [f"gpu{gpu}" for gpu in range(256) if gpu % 8 >= 4]
    cut = min_cut_bytes_per_s_per_direction(fabric, lower=lower, upper=upper)
    assert cut == pytest.approx(128 * 50 * GB, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "n_gpus", "nics", "port"),
    [
        ("hgx_h200", 3 * 256, 256, 50),
        ("hgx_h200", 4 * 256, 512, 50),
        ("gb200_nvl72", 8 * 72, 288, 50),
        ("gb300_nvl72", 8 * 72, 288, 100),
    ],
)
def test_full_fabrics_carry_every_nic_of_the_smaller_half(name, n_gpus, nics, port):
    graph = build_topology(load_machine(name), n_gpus=n_gpus)
    if n_gpus == 3 * 256:
        lower = gpus_of_nodes(range(32), per_node=8)
        upper = gpus_of_nodes(range(32, 96), per_node=8)
    else:
        lower, upper = half_split(graph)
    cut = min_cut_bytes_per_s_per_direction(graph, lower=lower, upper=upper)
    assert cut == pytest.approx(nics * port * GB, rel=1e-9)


def test_halves_of_several_domains_are_whole_domains():
    graph = build_topology(load_machine("hgx_h200"), n_gpus=24)
    lower, upper = half_split(graph)
    assert (len(lower), len(upper)) == (8, 16)
    assert lower[-1] == "gpu7"


def test_latency_of_a_path_adds_links_and_switches(rack, h200_unit):
    assert path_latency_s(rack, path=["gpu0", "nvswitch3", "gpu9"]) == pytest.approx(
        860e-9, rel=1e-9
    )
    same_rail = ["gpu0", "nic0", "leaf0", "nic8", "gpu8"]
    assert path_latency_s(h200_unit, path=same_rail) == pytest.approx(2.8e-6, rel=1e-9)
    cross_rail = ["gpu0", "nic0", "leaf0", "spine2", "leaf1", "nic9", "gpu9"]
    assert path_latency_s(h200_unit, path=cross_rail) == pytest.approx(3.7e-6, rel=1e-9)


def test_rdma_latency_of_a_rack_is_the_measured_one():
    graph = build_topology(load_machine("gb200_nvl72"), n_gpus=144)
    in_rack = nx.shortest_path(graph, "nic0", "nic4")
    across = nx.shortest_path(graph, "nic0", "nic72")
    assert path_latency_s(graph, path=in_rack) == pytest.approx(1.85e-6, rel=1e-9)
    assert path_latency_s(graph, path=across) == pytest.approx(3.20e-6, rel=1e-9)


@pytest.mark.parametrize(("lower", "upper"), [([], ["gpu0"]), (["gpu0"], ["gpu0", "gpu1"])])
def test_a_cut_needs_two_disjoint_sets(rack, lower, upper):
    with pytest.raises(TopologyError, match="expected two disjoint sets of GPUs"):
        min_cut_bytes_per_s_per_direction(rack, lower=lower, upper=upper)
