"""Whether the graph of a machine has the nodes and edges of the sheet."""

from collections import Counter

import networkx as nx
import pytest

from rackmoe.errors import TopologyError
from rackmoe.hardware.profile import load_machine
from rackmoe.hardware.topology import LinkKind, NodeKind, build_topology, node_name, nodes_of_kind

GB = 1e9


@pytest.fixture(scope="module")
def rack():
    return build_topology(load_machine("gb200_nvl72"), n_gpus=72)


@pytest.fixture(scope="module")
def h200_unit():
    return build_topology(load_machine("hgx_h200"), n_gpus=256)


def kinds(graph):
    return Counter(str(kind) for _, kind in graph.nodes(data="kind"))


def edge_kinds(graph):
    return Counter(str(kind) for *_, kind in graph.edges(data="kind"))


def test_a_rack_has_72_gpus_36_cpus_18_chips_and_four_rails(rack):
    assert kinds(rack) == {
        "gpu": 72,
        "nvswitch": 18,
        "cpu": 36,
        "memory": 36,
        "nic": 72,
        "leaf": 4,
        "spine": 9,
    }
    assert edge_kinds(rack) == {
        "scale_up": 1296,
        "host": 72,
        "memory": 36,
        "nic": 72,
        "rail": 72,
        "uplink": 36,
    }


def test_each_gpu_reaches_every_chip_of_the_rack_once(rack):
    chips = set(nodes_of_kind(rack, kind=NodeKind.NVSWITCH))
    assert len(chips) == 18
    for gpu in nodes_of_kind(rack, kind=NodeKind.GPU):
        assert chips <= set(rack[gpu])
    assert all(rack.degree(chip) == 72 for chip in chips)


def test_a_chip_carries_3600_gb_per_s_each_way_and_a_tray_holds_two(rack):
    carried = sum(data["capacity_bytes_per_s"] for data in rack["nvswitch7"].values())
    assert carried == pytest.approx(3600 * GB, rel=1e-12)
    trays = Counter(
        rack.nodes[chip]["tray"] for chip in nodes_of_kind(rack, kind=NodeKind.NVSWITCH)
    )
    assert trays == dict.fromkeys(range(9), 2)


def test_gpus_of_one_tray_have_no_direct_link(rack):
    assert not rack.has_edge("gpu0", "gpu1")
    assert nx.shortest_path_length(rack, "gpu0", "gpu71") == 2


def test_two_gpus_share_a_grace_and_its_memory(rack):
    assert rack.edges["gpu5", "cpu2"]["capacity_bytes_per_s"] == pytest.approx(225 * GB, rel=1e-12)
    assert rack.has_edge("gpu4", "cpu2")
    assert rack.edges["cpu2", "memory2"]["kind"] == LinkKind.MEMORY


def test_rails_of_a_rack_are_the_gpu_index_modulo_four(rack):
    for nic in nodes_of_kind(rack, kind=NodeKind.NIC):
        index = rack.nodes[nic]["index"]
        assert rack.nodes[nic]["rail"] == index % 4
        leaf = next(name for name in rack[nic] if name.startswith("leaf"))
        assert rack.nodes[leaf]["rail"] == index % 4


def test_hgx_links_follow_5_4_4_5(h200_unit):
    links = [h200_unit.edges["gpu0", f"nvswitch{chip}"]["n_links"] for chip in range(4)]
    assert links == [5, 4, 4, 5]
    # the second node has chips of its own
    assert h200_unit.edges["gpu8", "nvswitch4"]["n_links"] == 5
    assert not h200_unit.has_edge("gpu8", "nvswitch0")


def test_a_unit_of_32_nodes_has_8_leaves_4_spines_and_512_scale_out_links(h200_unit):
    found = kinds(h200_unit)
    assert (found["leaf"], found["spine"], found["nic"]) == (8, 4, 256)
    uplinks = [
        data["n_links"]
        for *_, data in h200_unit.edges(data=True)
        if data["kind"] == LinkKind.UPLINK
    ]
    assert uplinks == [8] * 32
    assert sum(uplinks) + edge_kinds(h200_unit)["rail"] == 512
    for leaf in nodes_of_kind(h200_unit, kind=NodeKind.LEAF):
        assert sum(name.startswith("nic") for name in h200_unit[leaf]) == 32


@pytest.mark.parametrize(("units", "leaves", "spines"), [(2, 16, 8), (3, 24, 12), (4, 32, 16)])
def test_more_units_follow_the_reference_counts_with_full_spines(units, leaves, spines):
    graph = build_topology(load_machine("hgx_h200"), n_gpus=units * 256)
    found = kinds(graph)
    assert (found["leaf"], found["spine"]) == (leaves, spines)
    for spine in nodes_of_kind(graph, kind=NodeKind.SPINE):
        assert sum(data["n_links"] for data in graph[spine].values()) == 64
    for leaf in nodes_of_kind(graph, kind=NodeKind.LEAF):
        uplinks = sum(
            data["n_links"] for data in graph[leaf].values() if data["kind"] == LinkKind.UPLINK
        )
        assert uplinks == 32


def test_eight_racks_have_144_nics_on_each_of_four_rails():
    graph = build_topology(load_machine("gb200_nvl72"), n_gpus=576)
    rails = Counter(graph.nodes[nic]["rail"] for nic in nodes_of_kind(graph, kind=NodeKind.NIC))
    assert rails == {0: 144, 1: 144, 2: 144, 3: 144}
    found = kinds(graph)
    assert (found["nvswitch"], found["leaf"], found["spine"]) == (144, 32, 9)
    # no scale-up link crosses racks
    for a, b, kind in graph.edges(data="kind"):
        if kind == LinkKind.SCALE_UP:
            assert graph.nodes[a]["domain"] == graph.nodes[b]["domain"]


def test_an_h800_has_64_links():
    graph = build_topology(load_machine("hgx_h800"), n_gpus=8)
    links = [
        data["n_links"] for *_, data in graph.edges(data=True) if data["kind"] == LinkKind.SCALE_UP
    ]
    assert links == [2] * 32


def test_a_partial_rack_keeps_its_switch_chips():
    graph = build_topology(load_machine("gb200_nvl72"), n_gpus=8)
    assert kinds(graph)["nvswitch"] == 18


def test_nodes_are_listed_by_index_not_by_text(rack):
    assert nodes_of_kind(rack, kind=NodeKind.GPU)[:3] == ["gpu0", "gpu1", "gpu2"]
    assert (
        nodes_of_kind(rack, kind=NodeKind.GPU)[10] == node_name(NodeKind.GPU, index=10) == "gpu10"
    )


@pytest.mark.parametrize("n_gpus", [0, 3, 70])
def test_a_broken_node_is_refused(n_gpus):
    with pytest.raises(TopologyError, match="expected whole nodes of 4 GPUs; nearest valid"):
        build_topology(load_machine("gb200_nvl72"), n_gpus=n_gpus)


def test_more_racks_than_the_design_reaches_are_refused():
    with pytest.raises(TopologyError, match="648 GPUs; the scale-out design reaches 576"):
        build_topology(load_machine("gb200_nvl72"), n_gpus=9 * 72)
