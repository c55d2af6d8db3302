"""Read MBLT files: binary route logs of llama.cpp with the mbolt patch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.drafts import TokenDraft, join_requests
from rackmoe.routing.importers.facts import ImportHints, ModelFacts

__all__ = ["MBLT_MAGIC", "read"]

MBLT_MAGIC = b"MBLT"

_VERSION = 1
_HEADER_WORDS = 3  # magic, version, experts
_RECORD_WORDS = 3  # layer, experts per token, tokens; ids follow, token by token
_WORD_BYTES = 4
_MAX_LAYERS = 4096

_Pass = list[tuple[int, NDArray[np.int32]]]


def read(
    path: Path,
    *,
    facts: ModelFacts,  # noqa: ARG001 - readers share one signature
    hints: ImportHints,  # noqa: ARG001 - likewise
) -> TokenDraft:
    """Return the tokens of a log, decode and prompt where the log holds all layers.

    A pass of several tokens begins a request, passes of one token continue it. In a
    prefill pass llama.cpp routes only the tokens with outputs in the last layer, so
    that the others lack it and are left out.

    Parameters
    ----------
    path : pathlib.Path
        The log.
    facts : ModelFacts
        Not needed here.
    hints : ImportHints
        Not needed here.

    Returns
    -------
    TokenDraft
        Requests in the order of the log.

    Raises
    ------
    TraceError
        If the log is damaged or holds no token with all layers.
    """
    words, n_experts, notes = _open(path)
    passes, n_torn = _passes(words, place=path.name)
    layers = tuple(sorted({layer for one in passes for layer, _ in one}))
    requests: list[list[NDArray[np.int32]]] = []
    prompts: list[int] = []
    n_partial = n_incomplete = 0
    for one in passes:
        if tuple(layer for layer, _ in one) != layers:
            n_incomplete += 1
            continue
        n_tokens = [ids.shape[0] for _, ids in one]
        is_prompt = max(n_tokens) > 1
        if is_prompt or not requests:
            requests.append([])
            prompts.append(0)
        if min(n_tokens) < max(n_tokens):
            n_partial += max(n_tokens)
            continue
        requests[-1].append(np.stack([ids for _, ids in one], axis=1))
        prompts[-1] += n_tokens[0] if is_prompt else 0
    notes += _told(n_partial=n_partial, n_incomplete=n_incomplete, n_torn=n_torn)
    held = [(np.concatenate(rows), n) for rows, n in zip(requests, prompts, strict=True) if rows]
    return join_requests(
        [rows for rows, _ in held],
        n_prompt_rows=[n for _, n in held],
        phase="both" if any(n for _, n in held) else "decode",
        place=path.name,
        layer_ids=layers,
        facts=ModelFacts(n_experts=n_experts),
        notes=notes,
    )


def _open(path: Path) -> tuple[NDArray[np.int32], int, list[str]]:
    try:
        n_words = path.stat().st_size // _WORD_BYTES
        words = np.memmap(path, "<i4", "r", shape=(n_words,)) if n_words else np.empty(0, "<i4")
    except OSError as error:
        raise TraceError(
            f"{path.name}: cannot be read ({error.strerror}); expected a route log; check the path"
        ) from error
    head = words[:_HEADER_WORDS]
    if head.size < _HEADER_WORDS or head[0] != int.from_bytes(MBLT_MAGIC, "little"):
        raise TraceError(
            f"{path.name}: begins with {head[:1].tobytes()!r}; expected {MBLT_MAGIC!r} and two "
            "numbers; give a log of the mbolt patch"
        )
    version, n_experts = int(head[1]), int(head[2])
    if version != _VERSION or n_experts < 1:
        raise TraceError(
            f"{path.name}: version {version}, {n_experts} experts; expected version {_VERSION} "
            "and at least one expert; log again with a known version"
        )
    return words, n_experts, ["MBLT route log, logical ids"]


def _records(words: NDArray[np.int32], *, place: str) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield layer and ids of each record; stop at a torn one, with layer -1."""
    at = _HEADER_WORDS
    while at < words.size:
        if at + _RECORD_WORDS > words.size:
            yield -1, words[:0]
            return
        layer, top_k, n_tokens = (int(word) for word in words[at : at + _RECORD_WORDS])
        if not 0 <= layer < _MAX_LAYERS or top_k < 1 or n_tokens < 1:
            raise TraceError(
                f"{place}: word {at}: layer {layer}, top {top_k}, {n_tokens} tokens; expected a "
                "layer and whole numbers from 1; the log is damaged: record again"
            )
        first = at + _RECORD_WORDS
        at = first + n_tokens * top_k
        if at > words.size:
            yield -1, words[:0]
            return
        yield layer, words[first:at].reshape(n_tokens, top_k)


def _passes(words: NDArray[np.int32], *, place: str) -> tuple[list[_Pass], int]:
    """Group records into forward passes, which go through the layers in order."""
    passes: list[_Pass] = []
    widths = set()
    n_torn = 0
    last = _MAX_LAYERS
    for layer, ids in _records(words, place=place):
        if layer < 0:
            n_torn = 1
            break
        if layer <= last:
            passes.append([])
        passes[-1].append((layer, ids))
        widths.add(ids.shape[1])
        last = layer
    if len(widths) != 1:
        raise TraceError(
            f"{place}: {len(widths)} numbers of experts per token; expected one; "
            "log one model in a file"
        )
    return passes, n_torn


def _told(*, n_partial: int, n_incomplete: int, n_torn: int) -> list[str]:
    notes = []
    if n_partial:
        notes.append(
            f"left out {n_partial} prompt tokens, most of which the last layer does not route"
        )
    if n_incomplete:
        notes.append(f"left out {n_incomplete} passes without all layers")
    if n_torn:
        notes.append("left out the torn last record")
    return notes
