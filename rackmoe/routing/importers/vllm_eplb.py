"""Read the expert loads that vLLM's load balancer writes, one JSON line per step."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import json_lines
from rackmoe.routing.importers.drafts import CountDraft
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.importers.physical import check_map, logical_counts
from rackmoe.routing.importers.values import field_of, integer_array, is_count

__all__ = ["read"]

_META = "eplb_load_meta"
_STATS = "eplb_load_stats"
_VERSION = 1


def read(
    path: Path,
    *,
    facts: ModelFacts,
    hints: ImportHints,  # noqa: ARG001 - readers share one signature
) -> CountDraft:
    """Return the counts in a statistics file.

    Parameters
    ----------
    path : pathlib.Path
        The JSON lines that ``eplb_config.write_stats_path`` named.
    facts : ModelFacts
        The model, as far as it is known.
    hints : ImportHints
        Not needed here.

    Returns
    -------
    CountDraft
        Logical counts of each recorded step.

    Raises
    ------
    TraceError
        If there is no meta line or no step, or a step does not fit its map.
    """
    meta: dict[str, Any] | None = None
    steps: list[NDArray[np.int64]] = []
    notes = ["vLLM EPLB statistics: physical experts mapped by the map of each step"]
    n_experts, n_others = facts.n_experts, 0
    for place, record in json_lines(path):
        if record is None:
            notes.append("left out the torn last line")
            continue
        kind = field_of(record, name="record_type", place=place)
        if kind == _META:
            meta = _check_meta(record, place=place)
        elif kind == _STATS and meta is not None:
            counts, n_experts = _step(record, meta=meta, n_experts=n_experts, place=place)
            steps.append(counts)
        elif kind == _STATS:
            raise TraceError(f"{place}: a step before {_META}; expected it first; keep all lines")
        else:
            n_others += 1
    if n_others:
        notes.append(f"left out {n_others} lines of other kinds")
    if meta is None or not steps:
        raise TraceError(
            f"{path.name}: {len(steps)} steps; expected {_META} and at least one {_STATS}; "
            "record some steps"
        )
    name = meta.get("model")
    return CountDraft(
        counts=np.stack(steps),
        phase="any",
        facts=ModelFacts(name=name if isinstance(name, str) else None, n_experts=n_experts),
        notes=tuple(notes),
    )


def _check_meta(record: dict[str, Any], *, place: str) -> dict[str, Any]:
    if record.get("version") != _VERSION or not is_count(record.get("num_layers")):
        raise TraceError(
            f"{place}: version {str(record.get('version'))[:20]}; expected version {_VERSION} "
            "with num_layers; check the version of vLLM"
        )
    return record


def _step(
    record: dict[str, Any], *, meta: dict[str, Any], n_experts: int | None, place: str
) -> tuple[NDArray[np.int64], int]:
    load = integer_array(
        field_of(record, name="expert_load", place=place), place=f"{place}: expert_load", n_axes=2
    )
    p2l = integer_array(
        field_of(record, name="p2l_map", place=place), place=f"{place}: p2l_map", n_axes=2
    )
    if load.shape[0] != meta["num_layers"]:
        raise TraceError(
            f"{place}: expert_load: {load.shape[0]} layers; expected the {meta['num_layers']} of "
            f"{_META}; keep the recordings of one model in a file"
        )
    redundant = meta.get("num_redundant_experts")
    if n_experts is None and isinstance(redundant, int) and is_count(redundant):
        n_experts = max(1, p2l.shape[1] - redundant)
    n_experts = check_map(p2l, n_experts=n_experts, place=f"{place}: p2l_map")
    counts = logical_counts(load, physical_to_logical=p2l, n_experts=n_experts, place=place)
    return counts, n_experts
