"""Which link joins what: the graph of a machine."""

from collections.abc import Sequence
from enum import StrEnum

import networkx as nx

from rackmoe.errors import TopologyError
from rackmoe.hardware.machine import Machine

__all__ = ["LinkKind", "NodeKind", "build_topology", "node_name", "nodes_of_kind"]


class NodeKind(StrEnum):
    """What a node of the graph is."""

    GPU = "gpu"
    NVSWITCH = "nvswitch"
    CPU = "cpu"
    MEMORY = "memory"
    NIC = "nic"
    LEAF = "leaf"
    SPINE = "spine"


class LinkKind(StrEnum):
    """What an edge of the graph is."""

    SCALE_UP = "scale_up"
    HOST = "host"
    MEMORY = "memory"
    NIC = "nic"
    RAIL = "rail"
    UPLINK = "uplink"


def node_name(kind: NodeKind, *, index: int) -> str:
    """Return the name of a node, for example ``gpu17``.

    Parameters
    ----------
    kind : NodeKind
        What the node is.
    index : int
        Number of the node among its kind, over the whole machine.

    Returns
    -------
    str
        Key of the node in the graph.
    """
    return f"{kind}{index}"


def build_topology(machine: Machine, *, n_gpus: int) -> nx.Graph:
    """Build the graph of the first `n_gpus` GPUs of a machine.

    Scale-up switch chips are complete for each domain that has a GPU. Leaves
    are built where a NIC reaches them, spines for every unit begun.

    Parameters
    ----------
    machine : Machine
        What to build.
    n_gpus : int
        GPUs, in whole nodes.

    Returns
    -------
    networkx.Graph
        Every edge is full duplex. Its attributes are `kind`, `n_links` (parallel
        links), `capacity_bytes_per_s` (all of them, one direction) and `latency_s`
        (one way). Nodes carry `kind`, `index`, `latency_s` (0 but for switches) and
        where they sit.

    Raises
    ------
    TopologyError
        If `n_gpus` is not a number of whole nodes, or more than the
        scale-out design of the profile reaches.
    """
    _check_size(machine, n_gpus)
    graph = nx.Graph(machine=machine.name, n_gpus=n_gpus)
    for gpu in range(n_gpus):
        graph.add_node(
            node_name(NodeKind.GPU, index=gpu),
            kind=NodeKind.GPU,
            index=gpu,
            latency_s=0.0,
            node=gpu // machine.host.gpus_per_node,
            domain=gpu // machine.scale_up.domain_gpus,
        )
    _add_scale_up(graph, machine, n_gpus)
    _add_hosts(graph, machine, n_gpus)
    leaves = _add_rails(graph, machine, n_gpus)
    _add_spines(graph, machine, leaves)
    return graph


def _check_size(machine: Machine, n_gpus: int) -> None:
    """Refuse a number of GPUs that the profile cannot wire."""
    per_node = machine.host.gpus_per_node
    largest = machine.scale_out.max_units * machine.scale_out.unit_nodes * per_node
    if n_gpus <= 0 or n_gpus % per_node:
        lower = max(n_gpus // per_node, 1) * per_node
        raise TopologyError(
            f"{machine.name}: {n_gpus} GPUs; expected whole nodes of {per_node} GPUs; "
            f"nearest valid: {lower}, {lower + per_node}"
        )
    if n_gpus > largest:
        raise TopologyError(
            f"{machine.name}: {n_gpus} GPUs; the scale-out design reaches {largest}; "
            "use fewer, or raise scale_out.max_units in a profile of your own"
        )


def _add_edge(
    graph: nx.Graph,
    ends: tuple[str, str],
    *,
    kind: LinkKind,
    link_bandwidth_bytes_per_s: float,
    links: int = 1,
    latency_s: float = 0.0,
) -> None:
    """Join two nodes by parallel full-duplex links."""
    graph.add_edge(
        *ends,
        kind=kind,
        n_links=links,
        capacity_bytes_per_s=links * link_bandwidth_bytes_per_s,
        latency_s=latency_s,
    )


def _add_scale_up(graph: nx.Graph, machine: Machine, n_gpus: int) -> None:
    """Join each GPU to all switch chips of its domain."""
    scale_up = machine.scale_up
    n_domains = -(-n_gpus // scale_up.domain_gpus)
    for index in range(n_domains * scale_up.n_switch_chips):
        domain, chip = divmod(index, scale_up.n_switch_chips)
        graph.add_node(
            node_name(NodeKind.NVSWITCH, index=index),
            kind=NodeKind.NVSWITCH,
            index=index,
            latency_s=scale_up.switch_latency_s,
            domain=domain,
            plane=chip,
            tray=index // scale_up.chips_per_tray,
        )
    for gpu in range(n_gpus):
        first_chip = gpu // scale_up.domain_gpus * scale_up.n_switch_chips
        for chip, links in enumerate(scale_up.links_to_chips):
            _add_edge(
                graph,
                (
                    node_name(NodeKind.GPU, index=gpu),
                    node_name(NodeKind.NVSWITCH, index=first_chip + chip),
                ),
                kind=LinkKind.SCALE_UP,
                link_bandwidth_bytes_per_s=scale_up.link_bandwidth_bytes_per_s,
                links=links,
                latency_s=scale_up.link_latency_s,
            )


def _add_hosts(graph: nx.Graph, machine: Machine, n_gpus: int) -> None:
    """Join each GPU to its CPU, and each CPU to its memory."""
    host = machine.host
    for index in range(-(-n_gpus // host.gpus_per_cpu)):
        node = index * host.gpus_per_cpu // host.gpus_per_node
        cpu, memory = node_name(NodeKind.CPU, index=index), node_name(NodeKind.MEMORY, index=index)
        graph.add_node(cpu, kind=NodeKind.CPU, index=index, latency_s=0.0, node=node)
        graph.add_node(memory, kind=NodeKind.MEMORY, index=index, latency_s=0.0, node=node)
        _add_edge(
            graph,
            (cpu, memory),
            kind=LinkKind.MEMORY,
            link_bandwidth_bytes_per_s=host.memory_bandwidth_bytes_per_s,
        )
    for gpu in range(n_gpus):
        _add_edge(
            graph,
            (
                node_name(NodeKind.GPU, index=gpu),
                node_name(NodeKind.CPU, index=gpu // host.gpus_per_cpu),
            ),
            kind=LinkKind.HOST,
            link_bandwidth_bytes_per_s=host.link_bandwidth_bytes_per_s,
            latency_s=host.link_latency_s,
        )


def _add_rails(graph: nx.Graph, machine: Machine, n_gpus: int) -> list[int]:
    """Add the NICs and their leaves; return the leaf numbers in order."""
    scale_out = machine.scale_out
    leaves: set[int] = set()
    for index in range(n_gpus * scale_out.nics_per_gpu):
        gpu = index // scale_out.nics_per_gpu
        node = gpu // machine.host.gpus_per_node
        rail = index % scale_out.n_rails
        unit, node_of_unit = divmod(node, scale_out.unit_nodes)
        block = node_of_unit * scale_out.unit_leaves_per_rail // scale_out.unit_nodes
        leaf = (unit * scale_out.n_rails + rail) * scale_out.unit_leaves_per_rail + block
        nic, leaf_name = node_name(NodeKind.NIC, index=index), node_name(NodeKind.LEAF, index=leaf)
        graph.add_node(nic, kind=NodeKind.NIC, index=index, latency_s=0.0, node=node, rail=rail)
        if leaf not in leaves:
            leaves.add(leaf)
            graph.add_node(
                leaf_name,
                kind=NodeKind.LEAF,
                index=leaf,
                latency_s=scale_out.switch_latency_s,
                unit=unit,
                rail=rail,
            )
        bandwidth = scale_out.nic_bandwidth_bytes_per_s
        _add_edge(
            graph,
            (node_name(NodeKind.GPU, index=gpu), nic),
            kind=LinkKind.NIC,
            link_bandwidth_bytes_per_s=bandwidth,
        )
        _add_edge(
            graph,
            (nic, leaf_name),
            kind=LinkKind.RAIL,
            link_bandwidth_bytes_per_s=bandwidth,
            latency_s=scale_out.endpoint_latency_s,
        )
    return sorted(leaves)


def _add_spines(graph: nx.Graph, machine: Machine, leaves: Sequence[int]) -> None:
    """Deal the uplinks of all leaves round robin over the spines of all units."""
    scale_out = machine.scale_out
    leaves_per_unit = scale_out.n_rails * scale_out.unit_leaves_per_rail
    n_units = leaves[-1] // leaves_per_unit + 1
    n_spines = n_units * scale_out.unit_spines
    for spine in range(n_spines):
        graph.add_node(
            node_name(NodeKind.SPINE, index=spine),
            kind=NodeKind.SPINE,
            index=spine,
            latency_s=scale_out.switch_latency_s,
            unit=spine // scale_out.unit_spines,
        )
    for leaf in leaves:
        counts = [0] * n_spines
        for uplink in range(leaf * scale_out.leaf_uplinks, (leaf + 1) * scale_out.leaf_uplinks):
            counts[uplink % n_spines] += 1
        for spine, links in enumerate(counts):
            if links:
                _add_edge(
                    graph,
                    (node_name(NodeKind.LEAF, index=leaf), node_name(NodeKind.SPINE, index=spine)),
                    kind=LinkKind.UPLINK,
                    link_bandwidth_bytes_per_s=scale_out.nic_bandwidth_bytes_per_s,
                    links=links,
                )


def nodes_of_kind(graph: nx.Graph, *, kind: NodeKind) -> list[str]:
    """Return the names of all nodes of a kind, by index.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.
    kind : NodeKind
        What to list.

    Returns
    -------
    list of str
        Names of the nodes.
    """
    found = [
        (data["index"], name) for name, data in graph.nodes(data=True) if data["kind"] == kind
    ]
    return [name for _, name in sorted(found)]
