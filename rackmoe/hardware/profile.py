"""How a hardware profile becomes a machine, and what the machine adds up to."""

from collections.abc import Mapping
from typing import Any

from rackmoe.errors import ConfigError
from rackmoe.hardware.cuts import (
    half_split,
    link_sum_bytes_per_s_both_directions,
    min_cut_bytes_per_s_per_direction,
    n_links,
    scale_up_graph,
)
from rackmoe.hardware.documents import (
    FacilityDocument,
    GpuActivityDocument,
    GpuDocument,
    HostDocument,
    MachineDocument,
    PowerPartsDocument,
    PricesDocument,
    ReliabilityDocument,
    ScaleOutDocument,
    ScaleUpDocument,
)
from rackmoe.hardware.machine import (
    Facility,
    Gpu,
    GpuActivity,
    Host,
    Machine,
    PowerParts,
    Prices,
    Reliability,
    ScaleOut,
    ScaleUp,
)
from rackmoe.hardware.topology import LinkKind, NodeKind, build_topology, nodes_of_kind
from rackmoe.schema.documents import Document, Sourced, document_schema, validate_tree
from rackmoe.schema.overrides import apply_overrides
from rackmoe.schema.shipped import shipped_names, shipped_path
from rackmoe.schema.text import read_text
from rackmoe.schema.yaml import compose_yaml

__all__ = [
    "PROFILE_FOLDER",
    "assumed_leaves",
    "build_machine",
    "load_machine",
    "load_profile",
    "machine_totals",
    "profile_names",
]

PROFILE_FOLDER = "hardware_profiles"

_NOT_IN_MACHINE = {"schema_id", "sources"}
_DATACLASSES: Mapping[type[Document], type[Any]] = {
    FacilityDocument: Facility,
    GpuActivityDocument: GpuActivity,
    GpuDocument: Gpu,
    HostDocument: Host,
    MachineDocument: Machine,
    PowerPartsDocument: PowerParts,
    PricesDocument: Prices,
    ReliabilityDocument: Reliability,
    ScaleOutDocument: ScaleOut,
    ScaleUpDocument: ScaleUp,
}


def profile_names() -> tuple[str, ...]:
    """Return the names of the shipped hardware profiles, sorted."""
    return shipped_names(PROFILE_FOLDER)


def load_profile(
    name_or_path: str,
    *,
    overrides: Mapping[str, object] | None = None,
    place: str = "override",
) -> MachineDocument:
    """Read a hardware profile with the source of each value.

    Parameters
    ----------
    name_or_path : str
        Name of a shipped profile, or path of a YAML file.
    overrides : mapping of str to object, optional
        Values by dotted path, for example ``{"gpu.hbm_bandwidth": "4 TB/s"}``; each
        becomes an assumed one.
    place : str
        Where the overrides come from, for messages.

    Returns
    -------
    MachineDocument
        The validated document.

    Raises
    ------
    ConfigError
        With every problem of the file, or if its name is not the file stem.
    """
    path = shipped_path(PROFILE_FOLDER, name=name_or_path)
    tree, problems = compose_yaml(read_text(path), place=str(path))
    if overrides:
        tree = apply_overrides(
            tree, overrides=overrides, schema=document_schema(MachineDocument), place=place
        )
    document = validate_tree(tree, model=MachineDocument, earlier=problems)
    if document.name != path.stem:
        raise ConfigError(
            f"{path}: name: '{document.name}'; expected the stem of the file, '{path.stem}'; "
            "rename one of the two"
        )
    return document


def load_machine(
    name_or_path: str,
    *,
    overrides: Mapping[str, object] | None = None,
    place: str = "override",
) -> Machine:
    """Read a hardware profile into plain numbers.

    Parameters
    ----------
    name_or_path : str
        Name of a shipped profile, or path of a YAML file.
    overrides : mapping of str to object, optional
        Values by dotted path.
    place : str
        Where the overrides come from, for messages.

    Returns
    -------
    Machine
        What the laws take.

    Raises
    ------
    ConfigError
        As `load_profile`.
    """
    return build_machine(load_profile(name_or_path, overrides=overrides, place=place))


def build_machine(document: MachineDocument) -> Machine:
    """Return the numbers of a profile without their kinds and sources.

    Parameters
    ----------
    document : MachineDocument
        From `load_profile`.

    Returns
    -------
    Machine
        What the laws take.
    """
    machine: Machine = _plain(document)
    return machine


def assumed_leaves(document: Document, *, path: str = "") -> dict[str, str]:
    """Return the values of a profile that nobody measured or published.

    Parameters
    ----------
    document : Document
        From `load_profile`.
    path : str
        Where the document is, for the keys.

    Returns
    -------
    dict of str to str
        Name of the source by dotted path.
    """
    found: dict[str, str] = {}
    for name, field in type(document).model_fields.items():
        value, here = getattr(document, name), f"{path}{field.alias or name}"
        children = value.items() if isinstance(value, dict) else [("", value)]
        for key, child in children:
            child_path = f"{here}.{key}" if key else here
            if isinstance(child, Sourced):
                if child.kind == "assumed":
                    found[child_path] = child.source
            elif isinstance(child, Document):
                found |= assumed_leaves(child, path=f"{child_path}.")
    return found


def machine_totals(machine: Machine, *, n_domains: int = 1) -> dict[str, Any]:
    """Add a machine up, from its graph.

    Parameters
    ----------
    machine : Machine
        From `load_machine`.
    n_domains : int
        Scale-up domains: racks of an NVL72, nodes of an HGX machine.

    Returns
    -------
    dict
        ``gpus``, ``switch_chips``, ``gpu_switch_links``,
        ``nvlink_bytes_per_s_both_directions`` (a sum over ports),
        ``min_cut_bytes_per_s_per_direction`` (half of the GPUs against the rest: inside
        one domain over its switches, else between domains), ``hbm_bytes``,
        ``dense_flop_per_s`` by data type, and ``max_power_w`` (nameplate).
    """
    gpu = machine.gpu
    n_gpus = n_domains * machine.scale_up.domain_gpus
    graph = build_topology(machine, n_gpus=n_gpus)
    cut_graph = scale_up_graph(graph) if n_domains == 1 else graph
    lower, upper = half_split(graph)
    return {
        "gpus": n_gpus,
        "switch_chips": len(nodes_of_kind(graph, kind=NodeKind.NVSWITCH)),
        "gpu_switch_links": n_links(graph, kind=LinkKind.SCALE_UP),
        "nvlink_bytes_per_s_both_directions": link_sum_bytes_per_s_both_directions(
            graph, kind=LinkKind.SCALE_UP
        ),
        "min_cut_bytes_per_s_per_direction": min_cut_bytes_per_s_per_direction(
            cut_graph, lower=lower, upper=upper
        ),
        "hbm_bytes": n_gpus * gpu.hbm_bytes,
        "dense_flop_per_s": {key: n_gpus * peak for key, peak in gpu.peak_flop_per_s.items()},
        "max_power_w": n_domains * machine.power.nameplate_power_w,
    }


def _plain(value: object) -> Any:  # noqa: ANN401  # one of ten dataclasses, a dict or a value
    """Return what a document, a leaf or a mapping of leaves says, in plain numbers."""
    if isinstance(value, Sourced):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Document):
        fields = type(value).model_fields.keys() - _NOT_IN_MACHINE
        return _DATACLASSES[type(value)](**{name: _plain(getattr(value, name)) for name in fields})
    return value
