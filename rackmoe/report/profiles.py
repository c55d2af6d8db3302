"""What a profile says, value by value, and what a machine or a model adds up to."""

from typing import Any

import pandas as pd

from rackmoe.hardware.cuts import n_edge_disjoint_paths, scale_up_graph
from rackmoe.hardware.documents import MachineDocument
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.profile import build_machine, machine_totals
from rackmoe.hardware.topology import NodeKind, nodes_of_kind
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.parameters import model_totals
from rackmoe.report.numbers import show_quantity
from rackmoe.report.plain import to_plain
from rackmoe.report.topology import cuts_frame, machine_graph, parts_frame, paths_frame
from rackmoe.schema.documents import Document, Sourced

__all__ = [
    "links_frame",
    "machine_data",
    "model_data",
    "sourced_frame",
    "sourced_values",
    "topology_data",
]


def sourced_values(document: Document, *, path: str = "") -> dict[str, dict[str, Any]]:
    """Return every value of a profile that has a source.

    Parameters
    ----------
    document : Document
        A hardware or backend profile.
    path : str, optional
        Where the document is, for the keys.

    Returns
    -------
    dict of str to dict
        By dotted path with the unit in its name: value, kind and source.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in type(document).model_fields:
        value = getattr(document, name)
        children = value.items() if isinstance(value, dict) else [("", value)]
        for key, child in children:
            here = ".".join(part for part in (path, name, str(key)) if part)
            if isinstance(child, Sourced):
                found[here] = {
                    "value": to_plain(child.value),
                    "kind": to_plain(child.kind),
                    "source": child.source,
                }
            elif isinstance(child, Document):
                found |= sourced_values(child, path=here)
    return found


def sourced_frame(document: Document) -> pd.DataFrame:
    """Return every value of a profile that has a source, for people.

    Parameters
    ----------
    document : Document
        A hardware or backend profile.

    Returns
    -------
    DataFrame
        Columns ``value of``, ``value`` with its unit, ``kind`` (assumed values stand out
        in capitals) and ``source``.
    """
    rows = [
        (
            path,
            show_quantity(_name_with_unit(path), value=one["value"]),
            str(one["kind"]).upper() if one["kind"] == "assumed" else one["kind"],
            one["source"],
        )
        for path, one in sourced_values(document).items()
    ]
    return pd.DataFrame(rows, columns=["value of", "value", "kind", "source"])


def machine_data(document: MachineDocument, *, n_domains: int = 1) -> dict[str, Any]:
    """Return a machine as plain data.

    Parameters
    ----------
    document : MachineDocument
        From `load_profile`.
    n_domains : int, optional
        Scale-up domains: racks of an NVL72, nodes of an HGX machine.

    Returns
    -------
    dict
        Names, ``totals`` (see `machine_totals`), ``values`` (see `sourced_values`), the
        paths of ``assumed`` values, and ``sources``.
    """
    values = sourced_values(document)
    return {
        "kind": "machine",
        "name": document.name,
        "title": document.title,
        "status": document.status,
        "n_domains": n_domains,
        "totals": to_plain(machine_totals(build_machine(document), n_domains=n_domains)),
        "assumed": [path for path, one in values.items() if one["kind"] == "assumed"],
        "values": values,
        "sources": to_plain(document.sources),
    }


def model_data(arch: ModelArchitecture) -> dict[str, Any]:
    """Return a model as plain data.

    Parameters
    ----------
    arch : ModelArchitecture
        From `load_model`.

    Returns
    -------
    dict
        Names, ``totals`` (see `model_totals`) and ``architecture``.
    """
    return {
        "kind": "model",
        "name": arch.name,
        "title": arch.published.title,
        "totals": to_plain(model_totals(arch)),
        "architecture": to_plain(arch),
    }


def topology_data(machine: Machine, *, n_domains: int = 1) -> dict[str, Any]:
    """Return the graph of a machine as plain data.

    Parameters
    ----------
    machine : Machine
        The machine.
    n_domains : int, optional
        Scale-up domains.

    Returns
    -------
    dict
        ``nodes`` and ``links`` of the graph with their attributes, the number of
        ``edge_disjoint_paths`` over scale-up links between the first two GPUs, ``links_by_kind``,
        and the tables of `rackmoe.report.topology`.
    """
    graph = machine_graph(machine, n_domains=n_domains)
    first, second, *_ = nodes_of_kind(graph, kind=NodeKind.GPU)
    frames = {
        "parts": parts_frame(graph),
        "paths": paths_frame(graph, machine=machine),
        "cuts": cuts_frame(graph, machine=machine),
    }
    return {
        "edge_disjoint_paths": n_edge_disjoint_paths(
            scale_up_graph(graph), source=first, target=second
        ),
        "links_by_kind": to_plain(links_frame(machine, n_domains=n_domains)),
        **{name: to_plain(frame) for name, frame in frames.items()},
        "nodes": [{"name": name, **to_plain(data)} for name, data in graph.nodes(data=True)],
        "links": [
            {"ends": [one, other], **to_plain(data)} for one, other, data in graph.edges(data=True)
        ],
    }


def links_frame(machine: Machine, *, n_domains: int = 1) -> pd.DataFrame:
    """Return how many links of each kind join what, and how much they carry.

    Parameters
    ----------
    machine : Machine
        The machine.
    n_domains : int, optional
        Scale-up domains.

    Returns
    -------
    DataFrame
        A row for each kind of link and pair of ends; capacities are for one direction.
    """
    graph = machine_graph(machine, n_domains=n_domains)
    rows = [
        {
            "kind": str(data["kind"]),
            "ends": "-".join(sorted(str(graph.nodes[end]["kind"]) for end in ends)),
            "n_links": data["n_links"],
            "bandwidth_bytes_per_s_per_direction": data["capacity_bytes_per_s"],
        }
        for *ends, data in graph.edges(data=True)
    ]
    grouped = pd.DataFrame(rows).groupby(["kind", "ends"], sort=False, as_index=False)
    return grouped[["n_links", "bandwidth_bytes_per_s_per_direction"]].sum()


def _name_with_unit(path: str) -> str:
    """Return the part of a path that says the unit: ``peak_flop_per_s`` of ``gpu....fp8``."""
    parts = path.split(".")
    with_unit = [part for part in parts if show_quantity(part, value=1.0) != "1"]
    return with_unit[-1] if with_unit else parts[-1]
