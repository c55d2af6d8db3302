"""Give a placement to a serving engine, or take one from it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, TraceError
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.config import load_model
from rackmoe.routing.exporters.sglang import read_map, write_counts, write_map
from rackmoe.routing.exporters.tensorrt_llm import read_balancer, write_balancer
from rackmoe.routing.placement import Placement
from rackmoe.routing.traces import CountTrace

__all__ = ["EXPORT_FORMATS", "export_counts", "export_placement", "read_exported"]

EXPORT_FORMATS = ("sglang", "tensorrt_llm")
"""Engines that take a placement: JSON for SGLang, YAML for TensorRT-LLM."""

_YAML = {".yaml", ".yml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """The layers of the model that an engine numbers.

    Attributes
    ----------
    moe_layer_ids : tuple of int
        Number of each MoE layer.
    n_layers : int
        Decoder layers.
    """

    moe_layer_ids: tuple[int, ...]
    n_layers: int


def export_placement(
    placement: Placement,
    *,
    path: Path | str,
    format: str,  # noqa: A002 - the word that users know
    model: ModelArchitecture | Path | str | None = None,
    moe_layer_ids: tuple[int, ...] | None = None,
    layer_updates_per_iter: int = 0,
) -> None:
    """Write a placement in the file that an engine reads.

    Parameters
    ----------
    placement : Placement
        What to write.
    path : path
        The file.
    format : {"sglang", "tensorrt_llm"}
        The engine.
    model : ModelArchitecture, path or str, optional
        The model, which says where its dense layers are.
    moe_layer_ids : tuple of int, optional
        Number of each MoE layer, where no model is given; without both, the layers
        of the placement are those of the model.
    layer_updates_per_iter : int
        For TensorRT-LLM: layers placed anew per iteration; 0 keeps the placement.

    Raises
    ------
    ConfigError
        If the format is unknown or the placement is for another model.
    """
    layers = _layers(model, moe_layer_ids=moe_layer_ids, n_rows=placement.n_layers)
    if format == "sglang":
        write_map(
            placement,
            path=Path(path),
            moe_layer_ids=layers.moe_layer_ids,
            n_layers=layers.n_layers,
        )
    elif format == "tensorrt_llm":
        write_balancer(
            placement,
            path=Path(path),
            moe_layer_ids=layers.moe_layer_ids,
            layer_updates_per_iter=layer_updates_per_iter,
        )
    else:
        raise ConfigError(
            f"format: {format!r}; expected one of {', '.join(EXPORT_FORMATS)}; choose the engine"
        )


def export_counts(
    trace: CountTrace,
    *,
    path: Path | str,
    model: ModelArchitecture | Path | str | None = None,
    is_summed: bool = False,
) -> None:
    """Write counts as SGLang's ``logical_count``, for its own balancing.

    Parameters
    ----------
    trace : CountTrace
        What to write.
    path : path
        The JSON file.
    model : ModelArchitecture, path or str, optional
        The model, which says how many layers there are; without it the last MoE
        layer is the last.
    is_summed : bool
        Whether to add up the steps.

    Raises
    ------
    ConfigError
        If the trace is of another model.
    """
    ids = trace.header.moe_layer_ids
    layers = _layers(model, moe_layer_ids=ids, n_rows=trace.counts.shape[1])
    write_counts(trace, path=Path(path), n_layers=layers.n_layers, is_summed=is_summed)


def read_exported(
    path: Path | str,
    *,
    n_experts: int,
    n_ranks: int,
    ranks_per_node: int | None = None,
    model: ModelArchitecture | Path | str | None = None,
    moe_layer_ids: tuple[int, ...] | None = None,
) -> Placement:
    """Return a placement from the file of an engine.

    Parameters
    ----------
    path : path
        SGLang's JSON or TensorRT-LLM's YAML, by its ending.
    n_experts, n_ranks : int
        Logical experts of a layer; ranks of the group.
    ranks_per_node : int, optional
        Ranks in one scale-up domain; all of them if not given.
    model : ModelArchitecture, path or str, optional
        The model, which says where its dense layers are.
    moe_layer_ids : tuple of int, optional
        Number of each MoE layer, where no model is given; without both, all layers
        of the file are MoE layers.

    Returns
    -------
    Placement
        The placement of the MoE layers.

    Raises
    ------
    TraceError
        If the file is damaged or lacks layers.
    ConfigError
        If the placement does not fit the experts or ranks.
    """
    source = Path(path)
    wanted = moe_layer_ids
    if model is not None:
        built = model if isinstance(model, ModelArchitecture) else load_model(model)
        wanted = built.moe_layers
    if source.suffix.lower() in _YAML:
        slots = _of_layers(*read_balancer(source), wanted=wanted, place=source.name)
    else:
        slots = read_map(source, moe_layer_ids=wanted)
    try:
        return Placement.from_slots(
            slots, n_experts=n_experts, n_ranks=n_ranks, ranks_per_node=ranks_per_node
        )
    except ConfigError as error:
        raise ConfigError(*(f"{source.name}: {one}" for one in error.problems)) from error


def _of_layers(
    layer_ids: tuple[int, ...],
    slots: NDArray[np.int64],
    *,
    wanted: tuple[int, ...] | None,
    place: str,
) -> NDArray[np.int64]:
    if wanted is None or wanted == layer_ids:
        return slots
    missing = sorted(set(wanted) - set(layer_ids))
    if missing:
        raise TraceError(
            f"{place}: layers {str(missing)[:40]} are missing; expected the {len(wanted)} MoE "
            "layers of the model; name the model that it was made for"
        )
    return slots[[layer_ids.index(layer) for layer in wanted]]


def _layers(
    model: ModelArchitecture | Path | str | None,
    *,
    moe_layer_ids: tuple[int, ...] | None,
    n_rows: int,
) -> _Layers:
    """Return the layers of the model; refuse tables of another."""
    if model is not None:
        built = model if isinstance(model, ModelArchitecture) else load_model(model)
        ids, n_layers = built.moe_layers, built.n_layers
    else:
        ids = tuple(range(n_rows)) if moe_layer_ids is None else moe_layer_ids
        n_layers = max(ids, default=-1) + 1
    if len(ids) != n_rows or len(set(ids)) != n_rows or min(ids, default=0) < 0:
        raise ConfigError(
            f"export: {n_rows} layers of experts for {len(ids)} MoE layers of the model; "
            "expected the same; name the model that it was made for"
        )
    return _Layers(moe_layer_ids=ids, n_layers=n_layers)
