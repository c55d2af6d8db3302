"""What a machine is wired like, as a drawing: switch chips, trays, NICs, rails, leaves, spines."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from rackmoe.hardware.cuts import n_links
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.topology import LinkKind, NodeKind, nodes_of_kind
from rackmoe.report.theme import Drawing, figure_style, machine_color
from rackmoe.report.topology import machine_graph

__all__ = ["draw_topology"]

_GB, _TB = 1e9, 1e12
# heights of the tiers, from the scale-up switches at the bottom to the spines at the top
_CHIP, _CPU, _GPU, _NIC, _LEAF, _SPINE = 0.0, 2.15, 2.75, 3.35, 5.4, 7.0
_TIERS = {
    NodeKind.NVSWITCH: _CHIP,
    NodeKind.CPU: _CPU,
    NodeKind.GPU: _GPU,
    NodeKind.NIC: _NIC,
    NodeKind.LEAF: _LEAF,
    NodeKind.SPINE: _SPINE,
}
_RAILS = ("#d1495b", "#2f6690", "#edae49", "#7b4ea3", "#00798c", "#8c6d31", "#c75a9a", "#4d4d4d")
_GRAY, _PALE, _DARK = "#8a8a8a", "#eeeeee", "#444444"
_NODE_GAP, _DOMAIN_GAP, _CHIP_GAP = 0.7, 1.4, 1.2
# half the height of a box of parts, beyond their middles
_EDGE = 0.35
# beyond this many GPUs their squares are too small to tell apart
_MOST_GPUS_DRAWN = 320
_WIDEST_INCH = 18.0
_MOST_LABELS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Map:
    """Where each node of a graph is drawn, and in which color its rail."""

    graph: nx.Graph
    x: dict[str, float]
    color: str
    is_detailed: bool

    def of_kind(self, kind: NodeKind) -> list[str]:
        """Return the nodes of a kind."""
        return nodes_of_kind(self.graph, kind=kind)

    def rail_color(self, name: str) -> str:
        """Return the color of the rail of a NIC or leaf."""
        return _RAILS[self.graph.nodes[name]["rail"] % len(_RAILS)]

    def height(self, name: str) -> float:
        """Return where lines end at a part: at its middle, or above the box that it is in."""
        kind = self.graph.nodes[name]["kind"]
        return _TIERS[kind] + (_EDGE if kind is NodeKind.NIC else 0.0)

    @property
    def nodes(self) -> dict[int, list[str]]:
        """The GPUs of each node: a compute tray, or an HGX server."""
        groups: dict[int, list[str]] = {}
        for gpu in self.of_kind(NodeKind.GPU):
            groups.setdefault(self.graph.nodes[gpu]["node"], []).append(gpu)
        return groups


def draw_topology(machine: Machine, *, n_domains: int = 1) -> Figure:
    """Draw the parts of a machine and what joins them.

    Of the links between GPUs and switch chips only those of the first GPU stand out;
    the others are bundled by compute tray and switch tray.

    Parameters
    ----------
    machine : Machine
        The machine.
    n_domains : int, optional
        Scale-up domains: racks of an NVL72, nodes of an HGX machine.

    Returns
    -------
    Figure
        Spines on top, then leaves, NICs, GPUs with their CPUs, and scale-up switches.
    """
    graph = machine_graph(machine, n_domains=n_domains)
    places = _places(graph, machine=machine)
    width = max(places.x.values()) + 1.0
    with figure_style():
        inches = min(max(8.0, 3.0 + 0.16 * width), _WIDEST_INCH)
        figure = Drawing(figsize=(inches, 6.6), layout="constrained")
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_ylim(-0.7, _SPINE + 0.7)
        axes.set_xlim(-1.0, width)
        for draw in (_draw_uplinks, _draw_rails, _draw_scale_up, _draw_boxes, _draw_parts):
            draw(axes, places)
        _draw_captions(axes, places, machine=machine)
        n_gpus = len(places.of_kind(NodeKind.GPU))
        domain = "rack" if machine.scale_up.domain_gpus > machine.host.gpus_per_node else "server"
        several = f"{n_domains} {domain}{'s' if n_domains > 1 else ''}"
        figure.suptitle(f"{machine.title}: {n_gpus} GPUs in {several}", x=0.01, ha="left")
        figure.supxlabel(
            "as wired in the profile, no simulation; bandwidth in one direction;"
            " links of the first GPU in color, those of the others bundled in gray",
            x=0.01,
            ha="left",
            fontsize=7.5,
            color="#555555",
        )
    return figure


def _places(graph: nx.Graph, *, machine: Machine) -> _Map:
    """Return where nodes stand: GPUs in a row, what they share above or below their middle."""
    x: dict[str, float] = {}
    at = 0.0
    last = (0, 0)
    for gpu in nodes_of_kind(graph, kind=NodeKind.GPU):
        data = graph.nodes[gpu]
        here = (data["domain"], data["node"])
        at += _DOMAIN_GAP if here[0] != last[0] else _NODE_GAP if here[1] != last[1] else 0.0
        last = here
        x[gpu] = at
        at += 1.0
    for nic in nodes_of_kind(graph, kind=NodeKind.NIC):
        (gpu,) = _neighbors(graph, nic, NodeKind.GPU)
        n_nics = machine.scale_out.nics_per_gpu
        x[nic] = x[gpu] + (graph.nodes[nic]["index"] % n_nics - (n_nics - 1) / 2) / n_nics
    for cpu in nodes_of_kind(graph, kind=NodeKind.CPU):
        served = [x[gpu] for gpu in _neighbors(graph, cpu, NodeKind.GPU)]
        x[cpu] = sum(served) / len(served)
    gpus = nodes_of_kind(graph, kind=NodeKind.GPU)
    chips = nodes_of_kind(graph, kind=NodeKind.NVSWITCH)
    for domain in sorted({graph.nodes[gpu]["domain"] for gpu in gpus}):
        above = [x[gpu] for gpu in gpus if graph.nodes[gpu]["domain"] == domain]
        below = [chip for chip in chips if graph.nodes[chip]["domain"] == domain]
        trays = sorted({str(graph.nodes[chip]["tray"]) for chip in below}, key=int)
        middles = _spread(trays, first=min(above), last=max(above))
        per_tray = machine.scale_up.chips_per_tray
        for place, chip in enumerate(below):
            data = graph.nodes[chip]
            offset = place % per_tray - (per_tray - 1) / 2
            x[chip] = middles[str(data["tray"])] + _CHIP_GAP * offset
    end = max(x.values())
    by_rail = sorted(
        nodes_of_kind(graph, kind=NodeKind.LEAF), key=lambda leaf: graph.nodes[leaf]["index"]
    )
    x |= _spread(by_rail, first=0.0, last=end)
    x |= _spread(nodes_of_kind(graph, kind=NodeKind.SPINE), first=0.0, last=end)
    is_detailed = len(nodes_of_kind(graph, kind=NodeKind.GPU)) <= _MOST_GPUS_DRAWN
    return _Map(graph=graph, x=x, color=machine_color(machine.name), is_detailed=is_detailed)


def _neighbors(graph: nx.Graph, name: str, kind: NodeKind) -> list[str]:
    return [str(other) for other in graph[name] if graph.nodes[other]["kind"] == kind]


def _spread(names: list[str], *, first: float, last: float) -> dict[str, float]:
    """Return places in the middle of equal parts of a range."""
    part = (last - first + 1.0) / max(len(names), 1)
    return {name: first - 0.5 + part * (i + 0.5) for i, name in enumerate(names)}


def _lines(
    axes: Axes,
    places: _Map,
    edges: Iterable[tuple[str, str]],
    *,
    color: Callable[[str], str],
    width: float,
    alpha: float = 1.0,
) -> None:
    """Draw edges; the color follows from the lower end."""
    found = list(edges)
    segments = [[(places.x[end], places.height(end)) for end in ends] for ends in found]
    colors = [color(ends[0]) for ends in found]
    axes.add_collection(
        LineCollection(segments, colors=colors, linewidths=width, alpha=alpha, zorder=1)
    )


def _draw_uplinks(axes: Axes, places: _Map) -> None:
    graph = places.graph
    edges = [
        (leaf, spine)
        for leaf in places.of_kind(NodeKind.LEAF)
        for spine in _neighbors(graph, leaf, NodeKind.SPINE)
    ]
    _lines(axes, places, edges, color=places.rail_color, width=0.6, alpha=0.5)


def _draw_rails(axes: Axes, places: _Map) -> None:
    graph = places.graph
    edges = [
        (nic, leaf)
        for nic in places.of_kind(NodeKind.NIC)
        for leaf in _neighbors(graph, nic, NodeKind.LEAF)
    ]
    _lines(axes, places, edges, color=places.rail_color, width=0.7, alpha=0.6)


def _draw_scale_up(axes: Axes, places: _Map) -> None:
    """Draw one gray line from each node to each switch tray, and all links of one GPU."""
    graph = places.graph
    bundles, first_links = [], []
    trays: dict[int, list[str]] = {}
    for chip in places.of_kind(NodeKind.NVSWITCH):
        trays.setdefault(graph.nodes[chip]["tray"], []).append(chip)
    for gpus in places.nodes.values():
        middle = sum(places.x[gpu] for gpu in gpus) / len(gpus)
        domain = graph.nodes[gpus[0]]["domain"]
        for chips in trays.values():
            if graph.nodes[chips[0]]["domain"] == domain:
                end = sum(places.x[chip] for chip in chips) / len(chips)
                bundles.append([(middle, _CPU - _EDGE), (end, _CHIP + 0.22)])
        first = gpus[0]
        if graph.nodes[first]["index"] == 0:
            first_links = [
                [(places.x[first], _CPU - _EDGE), (places.x[chip], _CHIP + 0.22)]
                for chip in _neighbors(graph, first, NodeKind.NVSWITCH)
            ]
    axes.add_collection(
        LineCollection(bundles, colors=_GRAY, linewidths=0.5, alpha=0.45, zorder=1)
    )
    axes.add_collection(
        LineCollection(first_links, colors=places.color, linewidths=1.0, alpha=0.9, zorder=2)
    )


def _draw_boxes(axes: Axes, places: _Map) -> None:
    """Draw compute trays or servers, and switch trays, as boxes around their parts."""
    graph = places.graph
    n_labels = len(places.nodes)
    for number, gpus in places.nodes.items():
        first, last = places.x[gpus[0]], places.x[gpus[-1]]
        _box(axes, (first - 0.55, _CPU - _EDGE), (last - first + 1.1, _NIC - _CPU + 2 * _EDGE))
        if 1 < n_labels <= _MOST_LABELS:
            axes.text(
                *((first + last) / 2, _CPU - 0.5, str(number)),
                ha="center",
                va="top",
                fontsize=7,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
                zorder=5,
            )
    trays: dict[int, list[float]] = {}
    for chip in places.of_kind(NodeKind.NVSWITCH):
        trays.setdefault(graph.nodes[chip]["tray"], []).append(places.x[chip])
    for at in trays.values():
        if len(at) == 1:
            continue
        half = (max(at) - min(at)) / 2 + 0.7
        _box(axes, (sum(at) / len(at) - half, _CHIP - 0.38), (2 * half, 0.76))


def _box(axes: Axes, corner: tuple[float, float], size: tuple[float, float]) -> None:
    axes.add_patch(
        FancyBboxPatch(
            corner,
            *size,
            boxstyle="round,pad=0,rounding_size=0.18",
            facecolor=_PALE,
            edgecolor=_GRAY,
            linewidth=0.7,
            zorder=3,
        )
    )


def _draw_parts(axes: Axes, places: _Map) -> None:
    """Draw the parts as squares, those of a rail in its color."""
    kinds = [NodeKind.NVSWITCH, NodeKind.LEAF, NodeKind.SPINE]
    if places.is_detailed:
        kinds += [NodeKind.GPU, NodeKind.NIC, NodeKind.CPU]
    for kind in kinds:
        names = places.of_kind(kind)
        wide = 0.8
        if kind in {NodeKind.LEAF, NodeKind.SPINE}:
            room = (max(places.x.values()) + 1.0) / len(names)
            wide = min(0.8 * room, 3.0)
        for name in names:
            color = places.color if kind is NodeKind.GPU else _DARK
            if kind in {NodeKind.NIC, NodeKind.LEAF}:
                color = places.rail_color(name)
            if kind is NodeKind.CPU:
                color = _GRAY
            tall = 0.36 if kind is not NodeKind.NVSWITCH else 0.44
            axes.add_patch(
                Rectangle(
                    (places.x[name] - wide / 2, _TIERS[kind] - tall / 2),
                    wide,
                    tall,
                    facecolor=color,
                    zorder=4,
                )
            )


def _draw_captions(axes: Axes, places: _Map, *, machine: Machine) -> None:
    """Say on the left what each tier and each bundle of links is."""
    graph = places.graph
    up, out, host = machine.scale_up, machine.scale_out, machine.host
    n_chips = len(places.of_kind(NodeKind.NVSWITCH))
    n_leaves, n_spines = len(places.of_kind(NodeKind.LEAF)), len(places.of_kind(NodeKind.SPINE))
    n_up, n_uplinks = n_links(graph, kind=LinkKind.SCALE_UP), n_links(graph, kind=LinkKind.UPLINK)
    wire = out.nic_bandwidth_bytes_per_s / _GB
    sum_up = n_up * up.link_bandwidth_bytes_per_s / _TB
    per_gpu = up.gpu_bandwidth_bytes_per_s / _GB
    trays = f"\nin {n_chips // up.chips_per_tray} trays" if up.chips_per_tray > 1 else ""
    node = "tray" if up.domain_gpus > host.gpus_per_node else "server"
    captions = (
        (_SPINE, f"{n_spines} spines"),
        ((_SPINE + _LEAF) / 2, f"{n_uplinks} uplinks\n{wire:g} GB/s each"),
        (_LEAF, f"{n_leaves} leaves\n{out.n_rails} rails by color"),
        ((_LEAF + _NIC) / 2, f"{len(places.of_kind(NodeKind.NIC))} cables\n{wire:g} GB/s each"),
        (_NIC, "NICs"),
        (_GPU, f"GPUs, {host.gpus_per_node} a {node}"),
        (_CPU, f"CPUs, {host.link_bandwidth_bytes_per_s / _GB:g} GB/s\nto each GPU"),
        (
            (_CPU - 0.3 + _CHIP) / 2,
            f"{n_up:,} scale-up links\n{sum_up:g} TB/s, {per_gpu:g} GB/s a GPU",
        ),
        (_CHIP, f"{n_chips} switch chips{trays}"),
    )
    for height, text in captions:
        axes.annotate(
            text,
            (0.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
