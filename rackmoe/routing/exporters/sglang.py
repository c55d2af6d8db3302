"""Write and read the JSON that SGLang takes as `--init-expert-location`."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import read_json
from rackmoe.routing.importers.values import field_of, integer_array
from rackmoe.routing.placement import Placement
from rackmoe.routing.traces import CountTrace

__all__ = ["read_map", "write_counts", "write_map"]

_MAP = "physical_to_logical_map"
_COUNTS = "logical_count"


def write_map(
    placement: Placement, *, path: Path, moe_layer_ids: tuple[int, ...], n_layers: int
) -> None:
    """Write ``physical_to_logical_map``, a row for every decoder layer.

    Dense layers, which hold no experts, get the order in which SGLang starts.

    Parameters
    ----------
    placement : Placement
        What to write.
    path : pathlib.Path
        The file.
    moe_layer_ids : tuple of int
        Number of each MoE layer within the model.
    n_layers : int
        Decoder layers of the model.
    """
    rows = np.tile(np.arange(placement.n_physical) % placement.n_experts, (n_layers, 1))
    rows[list(moe_layer_ids)] = placement.slots
    _write(path, key=_MAP, rows=rows)


def read_map(path: Path, *, moe_layer_ids: tuple[int, ...] | None = None) -> NDArray[np.int64]:
    """Return the ``physical_to_logical_map`` of the MoE layers.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    moe_layer_ids : tuple of int, optional
        Number of each MoE layer within the model; all rows if not given.

    Returns
    -------
    ndarray of shape (L, P), int64
        Logical expert in each slot.

    Raises
    ------
    TraceError
        If the file is no such map, or lacks a layer.
    """
    place = f"{path.name}: {_MAP}"
    rows = integer_array(
        field_of(read_json(path), name=_MAP, place=path.name), place=place, n_axes=2
    )
    if moe_layer_ids is None or len(moe_layer_ids) == rows.shape[0]:
        return rows
    if max(moe_layer_ids) >= rows.shape[0]:
        raise TraceError(
            f"{place}: {rows.shape[0]} layers; expected {len(moe_layer_ids)} MoE layers or all "
            f"{max(moe_layer_ids) + 1}; name the model that it was made for"
        )
    return rows[list(moe_layer_ids)]


def write_counts(trace: CountTrace, *, path: Path, n_layers: int, is_summed: bool = False) -> None:
    """Write ``logical_count``, from which SGLang computes a placement itself.

    Parameters
    ----------
    trace : CountTrace
        What to write.
    path : pathlib.Path
        The file.
    n_layers : int
        Decoder layers of the model; dense ones become rows of zeros.
    is_summed : bool
        Whether to add up the steps: one table instead of one for each step.
    """
    n_steps, _, n_experts = trace.counts.shape
    rows = np.zeros((n_steps, n_layers, n_experts), np.int64)
    rows[:, list(trace.header.moe_layer_ids)] = trace.counts
    _write(path, key=_COUNTS, rows=rows.sum(axis=0) if is_summed else rows)


def _write(path: Path, *, key: str, rows: NDArray[np.integer]) -> None:
    text = json.dumps({key: rows.tolist()}, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")
