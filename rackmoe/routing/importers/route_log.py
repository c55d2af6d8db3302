"""Read route logs in JSON lines: a line per token and layer, or per batch and layer."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import json_lines
from rackmoe.routing.importers.drafts import TokenDraft, join_requests
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.importers.values import field_of, integer_array, is_count

__all__ = ["read"]

_DUMMY = ("dummy", "profile", "warmup")  # how engines name the requests of their own test runs


@dataclass(slots=True)
class _Log:
    """What the lines said: experts by request, token and layer."""

    requests: dict[str, dict[int, dict[int, list[int]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    meta: dict[str, Any] = field(default_factory=dict)
    n_dummies: int = 0
    is_torn: bool = False


def read(
    path: Path,
    *,
    facts: ModelFacts,
    hints: ImportHints,  # noqa: ARG001 - readers share one signature
) -> TokenDraft:
    """Return the tokens of a log.

    Parameters
    ----------
    path : pathlib.Path
        JSON lines: ``{req_id, token_idx, layer, topk_ids}`` after an optional
        ``meta`` line, or ``{layer, batch_id, topk_experts, origin_rows}``.
    facts : ModelFacts
        The model, as far as it is known.
    hints : ImportHints
        Not needed here.

    Returns
    -------
    TokenDraft
        Tokens that were logged in all layers, by request and position.

    Raises
    ------
    TraceError
        If a line is neither, a token was logged twice, or none in all layers.
    """
    log = _Log()
    for place, record in json_lines(path):
        if record is None:
            log.is_torn = True
        elif isinstance(record, dict) and "topk_experts" in record:
            _add_batch(log, record=record, place=place)
        elif isinstance(record, dict) and ("meta" in record or record.get("type") == "meta"):
            log.meta = record["meta"] if isinstance(record.get("meta"), dict) else record
        else:
            _add_token(log, record=record, place=place)
    return _draft(log, facts=facts, place=path.name)


def _add_token(log: _Log, *, record: object, place: str) -> None:
    ids = field_of(record, name="topk_ids", place=place)
    request = field_of(record, name="req_id", place=place)
    token, layer = (field_of(record, name=name, place=place) for name in ("token_idx", "layer"))
    if not _is_real(request) or token == -1:
        log.n_dummies += 1
        return
    _put(log, key=(str(request), token, layer), ids=ids, place=place)


def _add_batch(log: _Log, *, record: dict[str, Any], place: str) -> None:
    rows = field_of(record, name="topk_experts", place=place)
    layer = field_of(record, name="layer", place=place)
    batch = field_of(record, name="batch_id", place=place)
    order = record.get("origin_rows")
    if not isinstance(rows, list) or (order is not None and not isinstance(order, list)):
        raise TraceError(f"{place}: topk_experts is no list; expected rows; export it again")
    tokens = list(range(len(rows))) if order is None else order
    if len(tokens) != len(rows):
        raise TraceError(
            f"{place}: {len(tokens)} origin_rows for {len(rows)} rows; expected one for each; "
            "export it again"
        )
    for token, ids in zip(tokens, rows, strict=True):
        _put(log, key=(str(batch), token, layer), ids=ids, place=place)


def _put(log: _Log, *, key: tuple[str, Any, Any], ids: object, place: str) -> None:
    request, token, layer = key
    if not is_count(token) or not is_count(layer) or not isinstance(ids, list) or not ids:
        raise TraceError(
            f"{place}: token {str(token)[:20]}, layer {str(layer)[:20]}; expected whole numbers "
            "and a list of experts; export it again"
        )
    layers = log.requests[request][token]
    if layer in layers:
        raise TraceError(
            f"{place}: request {request[:20]!r}, token {token}, layer {layer} twice; expected it "
            "once; profiling tokens share ids with real ones: log after warm-up"
        )
    layers[layer] = ids


def _is_real(request: object) -> bool:
    return request is not None and not str(request).lower().startswith(_DUMMY)


def _draft(log: _Log, *, facts: ModelFacts, place: str) -> TokenDraft:
    tokens = [one for request in log.requests.values() for one in request.values()]
    layers = tuple(sorted({layer for token in tokens for layer in token}))
    parts, n_partial = [], 0
    for request in log.requests.values():
        rows = [
            [token[layer] for layer in layers]
            for _, token in sorted(request.items())
            if len(token) == len(layers)
        ]
        n_partial += len(request) - len(rows)
        if rows:
            parts.append(integer_array(rows, place=place, n_axes=3))
    notes = ["route log in JSON lines, logical ids"]
    if facts.moe_layer_ids is None:
        notes.append(f"recorded layers: {len(layers)}")
    if n_partial:
        notes.append(f"left out {n_partial} tokens that were not logged in all layers")
    if log.n_dummies:
        notes.append(f"left out {log.n_dummies} lines of profiling tokens")
    if log.is_torn:
        notes.append("left out the torn last line")
    said: dict[str, Any] = {
        name: log.meta.get(key)
        for name, key in (("n_experts", "num_experts"), ("top_k", "top_k"))
        if is_count(log.meta.get(key))
    }
    name = log.meta.get("model")
    return join_requests(
        [part.astype(np.int64) for part in parts],
        n_prompt_rows=None,
        phase="any",
        place=place,
        layer_ids=layers,
        facts=ModelFacts(name=name if isinstance(name, str) else None, **said),
        notes=notes,
    )
