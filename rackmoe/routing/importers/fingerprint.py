"""Read the examples of GPT-OSS-MoE-ExpertFingerprinting: JSON with the experts of each token."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import files_in, read_json
from rackmoe.routing.importers.drafts import TokenDraft, join_requests
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.importers.values import field_of, integer_array

__all__ = ["read"]

_TOKEN = re.compile(r"token_([0-9]{1,9})")
_LAYER = re.compile(r"layer_([0-9]{1,6})")


def read(
    path: Path,
    *,
    facts: ModelFacts,  # noqa: ARG001 - readers share one signature
    hints: ImportHints,  # noqa: ARG001 - likewise
) -> TokenDraft:
    """Return the generated tokens of some examples.

    Parameters
    ----------
    path : pathlib.Path
        JSON with an example or a list of them, or a folder of such files.
    facts : ModelFacts
        Not needed here.
    hints : ImportHints
        Not needed here.

    Returns
    -------
    TokenDraft
        One request for each example; experts by descending weight.

    Raises
    ------
    TraceError
        If an example is not of this layout, or they differ in layers.
    """
    parts: list[NDArray[np.int64]] = []
    layers: tuple[int, ...] | None = None
    n_empty = 0
    for file in files_in(path, suffix="_examples.json" if path.is_dir() else ".json"):
        value = read_json(file)
        for number, example in enumerate(value if isinstance(value, list) else [value]):
            place = f"{file.name}: example {number}"
            tokens = _tokens(field_of(example, name="router_data", place=place), place=place)
            if not tokens:
                n_empty += 1
                continue
            layers = layers or tuple(sorted(tokens[0]))
            if any(tuple(sorted(token)) != layers for token in tokens):
                raise TraceError(
                    f"{place}: tokens with different layers; expected the {len(layers)} layers of "
                    "the first; import one model at a time"
                )
            rows = [[token[layer] for layer in layers] for token in tokens]
            parts.append(integer_array(rows, place=place, n_axes=3))
    notes = ["fingerprint examples: generated tokens only, experts by descending weight"]
    if n_empty:
        notes.append(f"left out {n_empty} examples without tokens")
    return join_requests(
        parts,
        n_prompt_rows=None,
        phase="decode",
        place=path.name,
        layer_ids=layers,
        notes=notes,
    )


def _tokens(router_data: object, *, place: str) -> list[dict[int, list[int]]]:
    """Return the experts of each layer, token by token in the order of positions."""
    if not isinstance(router_data, list):
        raise TraceError(
            f"{place}: router_data is no list; expected one record for each token; "
            "take the files named *_examples.json"
        )
    by_position: dict[int, dict[int, list[int]]] = {}
    for record in router_data:
        for key, layers in record.items() if isinstance(record, dict) else [("", None)]:
            position = _TOKEN.fullmatch(key)
            if position is None or not isinstance(layers, dict) or int(position[1]) in by_position:
                raise TraceError(
                    f"{place}: router_data: {key[:20]!r}; expected 'token_<position>', each once; "
                    "take the files named *_examples.json"
                )
            by_position[int(position[1])] = {
                _layer(name, place=place): field_of(one, name="selected_experts", place=place)
                for name, one in layers.items()
            }
    return [layers for _, layers in sorted(by_position.items())]


def _layer(name: str, *, place: str) -> int:
    match = _LAYER.fullmatch(name)
    if match is None:
        raise TraceError(
            f"{place}: router_data: {name[:20]!r}; expected 'layer_<number>'; "
            "take the files named *_examples.json"
        )
    return int(match[1])
