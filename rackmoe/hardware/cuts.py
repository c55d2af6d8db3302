"""What the graph of a machine can carry: cuts, paths and sums of its links."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import networkx as nx

from rackmoe.errors import TopologyError
from rackmoe.hardware.topology import LinkKind, NodeKind, nodes_of_kind

__all__ = [
    "half_split",
    "link_sum_bytes_per_s_both_directions",
    "min_cut_bytes_per_s_per_direction",
    "n_edge_disjoint_paths",
    "n_links",
    "path_latency_s",
    "scale_up_graph",
]


def scale_up_graph(graph: nx.Graph) -> nx.Graph:
    """Return the graph of GPUs and scale-up switch chips alone.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.

    Returns
    -------
    networkx.Graph
        A view; hosts and scale-out are left out.
    """
    return graph.edge_subgraph(
        (a, b) for a, b, kind in graph.edges(data="kind") if kind == LinkKind.SCALE_UP
    )


def n_links(graph: nx.Graph, *, kind: LinkKind) -> int:
    """Return the number of physical links of a kind, parallel ones counted.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.
    kind : LinkKind
        What to count.

    Returns
    -------
    int
        Full-duplex links.
    """
    return int(sum(data["n_links"] for *_, data in graph.edges(data=True) if data["kind"] == kind))


def link_sum_bytes_per_s_both_directions(graph: nx.Graph, *, kind: LinkKind) -> float:
    """Return the bandwidth of all links of a kind, both directions added.

    The figure of a datasheet ("130 TB/s" of an NVL72): a sum over ports, which
    is no bisection.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.
    kind : LinkKind
        What to add up.

    Returns
    -------
    float
        Sum over links and directions. [B/s]
    """
    one_direction = sum(
        data["capacity_bytes_per_s"] for *_, data in graph.edges(data=True) if data["kind"] == kind
    )
    return 2 * float(one_direction)


def n_edge_disjoint_paths(graph: nx.Graph, *, source: str, target: str) -> int:
    """Return how many paths between two nodes share no link.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology` or `scale_up_graph`; parallel links count apart.
    source, target : str
        Names of two nodes.

    Returns
    -------
    int
        Link-disjoint paths, by Menger's theorem the maximum flow with one unit per link.
    """
    return int(nx.maximum_flow_value(graph, source, target, capacity="n_links"))


def half_split(graph: nx.Graph) -> tuple[list[str], list[str]]:
    """Return the GPUs of the lower and of the upper half of the machine.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.

    Returns
    -------
    tuple of two lists of str
        GPUs by index; of several domains, whole domains, the lower half
        having the smaller number of them.
    """
    gpus = nodes_of_kind(graph, kind=NodeKind.GPU)
    domains = sorted({graph.nodes[gpu]["domain"] for gpu in gpus})
    if len(domains) == 1:
        return gpus[: len(gpus) // 2], gpus[len(gpus) // 2 :]
    first_upper = domains[len(domains) // 2]
    lower = [gpu for gpu in gpus if graph.nodes[gpu]["domain"] < first_upper]
    return lower, gpus[len(lower) :]


def min_cut_bytes_per_s_per_direction(
    graph: nx.Graph, *, lower: Iterable[str], upper: Iterable[str]
) -> float:
    """Return what one set of GPUs can send to another at most.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology` or `scale_up_graph`.
    lower, upper : iterable of str
        The two sets of GPUs.

    Returns
    -------
    float
        Minimum cut over all links between the sets, one direction. [B/s]

    Raises
    ------
    TopologyError
        If a set is empty or both hold the same GPU.

    Notes
    -----
    Maximum flow from a source joined to all of `lower` to a sink joined to all
    of `upper`, equal to the minimum cut [1]_.

    References
    ----------
    .. [1] L. R. Ford and D. R. Fulkerson, "Maximal flow through a network,"
       Canadian Journal of Mathematics, vol. 8, pp. 399-404, 1956.
    """
    lower, upper = list(lower), list(upper)
    if not lower or not upper or set(lower) & set(upper):
        raise TopologyError(
            f"cut of {len(lower)} against {len(upper)} GPUs; expected two disjoint sets of GPUs; "
            "give at least one GPU on each side and none on both"
        )
    network = nx.Graph()
    network.add_edges_from(graph.edges(data=True))
    # edges without a capacity count as infinite
    network.add_edges_from(("source", gpu) for gpu in lower)
    network.add_edges_from(("sink", gpu) for gpu in upper)
    return float(nx.maximum_flow_value(network, "source", "sink", capacity="capacity_bytes_per_s"))


def path_latency_s(graph: nx.Graph, *, path: Sequence[str]) -> float:
    """Return the one-way latency of a path of nodes.

    Parameters
    ----------
    graph : networkx.Graph
        From `build_topology`.
    path : sequence of str
        Names of adjacent nodes, both ends included.

    Returns
    -------
    float
        Sum over its edges and over the switches between its ends. [s]
    """
    edges = sum(graph.edges[a, b]["latency_s"] for a, b in pairwise(path))
    switches = sum(graph.nodes[name]["latency_s"] for name in path[1:-1])
    return float(edges + switches)
