"""Parts, ways and cuts of a machine as tables."""

import pytest

from rackmoe.errors import TopologyError
from rackmoe.hardware.profile import load_machine
from rackmoe.hardware.topology import build_topology
from rackmoe.report.topology import cuts_frame, machine_graph, parts_frame, paths_frame

BANDWIDTH = "bandwidth_bytes_per_s_per_direction"


@pytest.fixture(scope="module")
def nvl72():
    return load_machine("gb200_nvl72")


@pytest.fixture(scope="module")
def hgx():
    return load_machine("hgx_h200")


def test_parts_of_a_rack_are_counted_with_the_links_of_one(nvl72):
    parts = parts_frame(machine_graph(nvl72)).set_index("part")
    assert parts["n_parts"].to_dict() == {
        "gpu": 72,
        "nvswitch": 18,
        "cpu": 36,
        "memory": 36,
        "nic": 72,
        "leaf": 4,
        "spine": 9,
    }
    assert parts.loc["gpu", "links_of_one"] == "18 scale_up, 1 host, 1 nic"
    assert parts.loc["nvswitch", "bandwidth_of_one_bytes_per_s_per_direction"] == 72 * 50e9


def test_two_gpus_of_a_rack_have_18_ways_of_900_gb_per_s(nvl72):
    ways = paths_frame(machine_graph(nvl72), machine=nvl72).set_index("way")
    first = ways.loc["scale-up, by any switch chip"]
    assert first["links_side_by_side"] == 18
    assert first[BANDWIDTH] == 900e9
    assert first["example"] == "gpu0 - nvswitch0 - gpu1"
    assert "scale-out, same rail" not in ways.index


def test_same_rail_stays_below_the_spines_within_a_block(hgx):
    ways = paths_frame(machine_graph(hgx, n_domains=2), machine=hgx).set_index("way")
    same, other = ways.loc["scale-out, same rail"], ways.loc["scale-out, other rail"]
    assert same["example"] == "gpu0 - nic0 - leaf0 - nic8 - gpu8"
    assert other["example"] == "gpu0 - nic0 - leaf0 - spine0 - leaf1 - nic9 - gpu9"
    assert same[BANDWIDTH] == other[BANDWIDTH] == 50e9
    # two endpoints and one leaf, against two leaves and a spine
    out = hgx.scale_out
    assert same["latency_s"] == pytest.approx(2 * out.endpoint_latency_s + out.switch_latency_s)
    assert other["latency_s"] - same["latency_s"] == pytest.approx(2 * out.switch_latency_s)


def test_cuts_are_those_of_ports_and_nics(nvl72):
    cuts = cuts_frame(machine_graph(nvl72, n_domains=2), machine=nvl72)
    assert cuts["min_cut_bytes_per_s_per_direction"].tolist() == [36 * 900e9, 72 * 50e9]
    assert cuts["of_ports_frac"].tolist() == [1.0, 1.0]


def test_graph_of_one_gpu_has_no_cut(nvl72):
    graph = build_topology(nvl72, n_gpus=4).copy()
    graph.remove_nodes_from(["gpu1", "gpu2", "gpu3"])
    with pytest.raises(TopologyError, match="1 GPU; expected two for a cut"):
        cuts_frame(graph, machine=nvl72)
