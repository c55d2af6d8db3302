"""What joins the GPUs of a machine, as tables: parts, links, paths and cuts."""

from collections.abc import Iterable
from itertools import pairwise

import networkx as nx
import pandas as pd

from rackmoe.errors import TopologyError
from rackmoe.hardware.cuts import (
    half_split,
    min_cut_bytes_per_s_per_direction,
    n_edge_disjoint_paths,
    path_latency_s,
    scale_up_graph,
)
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.topology import (
    LinkKind,
    NodeKind,
    build_topology,
    node_name,
    nodes_of_kind,
)

__all__ = ["cuts_frame", "machine_graph", "parts_frame", "paths_frame"]

_HOST = frozenset({NodeKind.CPU, NodeKind.MEMORY})
_SCALE_OUT = frozenset({NodeKind.NIC, NodeKind.LEAF, NodeKind.SPINE})


def machine_graph(machine: Machine, *, n_domains: int = 1) -> nx.Graph:
    """Return the graph of whole scale-up domains of a machine.

    Parameters
    ----------
    machine : Machine
        The machine.
    n_domains : int, optional
        Racks of an NVL72, nodes of an HGX machine.
    """
    return build_topology(machine, n_gpus=n_domains * machine.scale_up.domain_gpus)


def parts_frame(graph: nx.Graph) -> pd.DataFrame:
    """Return how many parts of each kind a machine has, and what one of them can carry.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.

    Returns
    -------
    DataFrame
        A row for each kind of part: number, links of one part of each kind
        (``18 scale_up``), their bandwidth in one direction, and its own latency.
    """
    rows = []
    for kind in NodeKind:
        names = nodes_of_kind(graph, kind=kind)
        if not names:
            continue
        links: dict[str, int] = {}
        total = 0.0
        for _, _, data in graph.edges(names[0], data=True):
            links[str(data["kind"])] = links.get(str(data["kind"]), 0) + data["n_links"]
            total += data["capacity_bytes_per_s"]
        rows.append(
            {
                "part": str(kind),
                "n_parts": len(names),
                "links_of_one": ", ".join(f"{n} {name}" for name, n in links.items()),
                "bandwidth_of_one_bytes_per_s_per_direction": total,
                "latency_s": graph.nodes[names[0]]["latency_s"],
            }
        )
    return pd.DataFrame(rows)


def paths_frame(graph: nx.Graph, *, machine: Machine) -> pd.DataFrame:
    """Return the ways between two GPUs, and between a GPU and its host.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.
    machine : Machine
        What it was built from.

    Returns
    -------
    DataFrame
        A row for each way that the graph has: an example of its nodes, the number of
        equal ways side by side, their bandwidth in one direction and the latency.
    """
    up, out = machine.scale_up, machine.scale_out
    gpus = nodes_of_kind(graph, kind=NodeKind.GPU)
    leaves = nodes_of_kind(graph, kind=NodeKind.LEAF)
    ways = [("scale-up, by any switch chip", gpus[1], {NodeKind.GPU, NodeKind.NVSWITCH})]
    on_rail = (up.domain_gpus // out.n_rails) * out.n_rails
    remote = node_name(NodeKind.GPU, index=on_rail)
    off_rail = node_name(NodeKind.GPU, index=on_rail + 1)
    if remote in graph and on_rail == up.domain_gpus and len(leaves) > 1:
        ways.append(("scale-out, same rail", remote, {NodeKind.GPU, *_SCALE_OUT}))
        ways.append(("scale-out, other rail", off_rail, {NodeKind.GPU, *_SCALE_OUT}))
    elif len(leaves) > 1:
        ways.append(("scale-out, other rail", gpus[1], {NodeKind.GPU, *_SCALE_OUT}))
    ways.append(("host memory", node_name(NodeKind.MEMORY, index=0), {NodeKind.GPU, *_HOST}))
    rows = []
    for name, target, kinds in ways:
        part = graph.subgraph(_of_kinds(graph, kinds, ends=(gpus[0], target)))
        path = nx.shortest_path(part, gpus[0], target)
        bandwidth = min(part.edges[edge]["capacity_bytes_per_s"] for edge in pairwise(path))
        n_ways = 1
        if kinds == {NodeKind.GPU, NodeKind.NVSWITCH}:
            n_ways = n_edge_disjoint_paths(part, source=gpus[0], target=target)
            bandwidth = min_cut_bytes_per_s_per_direction(part, lower=[gpus[0]], upper=[target])
        rows.append(
            {
                "way": name,
                "example": " - ".join(path),
                "links_side_by_side": n_ways,
                "bandwidth_bytes_per_s_per_direction": bandwidth,
                "latency_s": path_latency_s(graph, path=path),
            }
        )
    return pd.DataFrame(rows)


def _of_kinds(graph: nx.Graph, kinds: Iterable[NodeKind], *, ends: tuple[str, str]) -> list[str]:
    """Return the nodes of some kinds; of the GPUs only the two ends, which forward nothing."""
    wanted = frozenset(kinds)
    return [
        name
        for name, kind in graph.nodes(data="kind")
        if name in ends or (kind in wanted and kind is not NodeKind.GPU)
    ]


def cuts_frame(graph: nx.Graph, *, machine: Machine) -> pd.DataFrame:
    """Return what the halves of a machine can send to each other.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.
    machine : Machine
        What it was built from.

    Returns
    -------
    DataFrame
        A row for each cut, in one direction, and its share of what the ports of the
        smaller half carry: 1 is non-blocking.

    Raises
    ------
    TopologyError
        If the graph has a single GPU.
    """
    lower, upper = half_split(graph)
    if not lower:
        raise TopologyError(f"{machine.name}: 1 GPU; expected two for a cut; show more of it")
    up, out = machine.scale_up, machine.scale_out
    rows = []
    first = [gpu for gpu in (*lower, *upper) if graph.nodes[gpu]["domain"] == 0]
    half = len(first) // 2
    cut = min_cut_bytes_per_s_per_direction(
        scale_up_graph(graph), lower=first[:half], upper=first[half:]
    )
    ports = half * up.gpu_bandwidth_bytes_per_s
    rows.append(("scale-up, halves of a domain", half, cut, cut / ports))
    wires = graph.edge_subgraph(
        (a, b)
        for a, b, kind in graph.edges(data="kind")
        if kind in {LinkKind.NIC, LinkKind.RAIL, LinkKind.UPLINK}
    )
    cut = min_cut_bytes_per_s_per_direction(wires, lower=lower, upper=upper)
    n_gpus = min(len(lower), len(upper))
    nics = n_gpus * out.nic_bandwidth_bytes_per_s * out.nics_per_gpu
    rows.append(("scale-out, halves of the machine", n_gpus, cut, cut / nics))
    columns = ["cut", "n_gpus", "min_cut_bytes_per_s_per_direction", "of_ports_frac"]
    return pd.DataFrame(rows, columns=columns)
