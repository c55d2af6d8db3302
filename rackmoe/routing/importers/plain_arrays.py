"""Read plain npz files: ids of tokens, or counts, under the usual names."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.arrays import npy_names, read_npz_array
from rackmoe.routing.importers.bounded import files_in, read_json
from rackmoe.routing.importers.drafts import CountDraft, TokenDraft, join_requests, known_prompts
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.importers.physical import check_map, logical_counts, logical_ids
from rackmoe.routing.importers.values import is_count
from rackmoe.routing.importers.zips import SafeZip, open_zip

__all__ = ["COUNT_NAMES", "TOKEN_NAMES", "read"]

TOKEN_NAMES = ("routed_experts", "topk_ids", "indices", "experts")
COUNT_NAMES = ("counts", "logical_count", "expert_load")

_OFFSETS = "req_offsets"
_PROMPTS = ("num_recorded_prompt_tokens", "n_prompt_rows", "num_prompt_tokens")
_MAP = ("physical_to_logical_map", "p2l")


def read(path: Path, *, facts: ModelFacts, hints: ImportHints) -> CountDraft | TokenDraft:
    """Return the ids or counts of an ``.npz`` file, or of a folder with one per request.

    Parameters
    ----------
    path : pathlib.Path
        The file, with ``routed_experts`` [tokens, layers, experts] (and perhaps
        ``req_offsets`` and ``num_recorded_prompt_tokens``) or ``counts``
        [steps, layers, experts]; a JSON file of the same name may say more.
    facts : ModelFacts
        The model, as far as it is known.
    hints : ImportHints
        What the user says.

    Returns
    -------
    CountDraft or TokenDraft
        The recording.

    Raises
    ------
    TraceError
        If no array has such a name, or arrays do not fit together.
    """
    files = files_in(path, suffix=".npz")
    drafts = [_read_file(file, facts=facts, hints=hints) for file in files]
    if len(drafts) == 1:
        return drafts[0]
    tokens = [draft for draft in drafts if isinstance(draft, TokenDraft)]
    if len(tokens) < len(drafts):
        raise TraceError(
            f"{path.name}: counts among {len(files)} files; expected one request in each; "
            "import counts one by one"
        )
    prompts = known_prompts(hints, n_requests=len(tokens), place=path.name)
    return join_requests(
        [draft.experts for draft in tokens],
        n_prompt_rows=prompts or [int(draft.n_prompt_rows[0]) for draft in tokens],
        phase=tokens[0].phase,
        place=path.name,
        facts=tokens[0].facts,
        notes=(f"{len(files)} npz files, one request each",),
    )


def _read_file(file: Path, *, facts: ModelFacts, hints: ImportHints) -> CountDraft | TokenDraft:
    with open_zip(file) as archive:
        names = npy_names(archive)
        ids = next((name for name in TOKEN_NAMES if name in names), None)
        counted = next((name for name in COUNT_NAMES if name in names), None)
        name = ids or counted
        if name is None:
            raise TraceError(
                f"{file.name}: arrays {', '.join(names)[:60]}; expected {TOKEN_NAMES[0]!r} or "
                f"{COUNT_NAMES[0]!r}; rename the array"
            )
        array = _integers(archive, name=name)
        p2l = _first(archive, names=_MAP)
        p2l = hints.physical_to_logical if p2l is None else p2l
        offsets = _first(archive, names=(_OFFSETS,))
        prompts = _first(archive, names=_PROMPTS)
    said = _side_car(file)
    n_experts = facts.n_experts or said.n_experts
    if p2l is not None:
        n_experts = check_map(p2l, n_experts=n_experts, place=f"{file.name}: {_MAP[0]}")
        said = ModelFacts(name=said.name, n_experts=n_experts, top_k=said.top_k)
    if ids is None:
        return _counts(array, p2l=p2l, said=said, place=file.name)
    if p2l is not None:
        array = logical_ids(
            _axes(array, n_axes=3, place=file.name),
            physical_to_logical=p2l,
            n_experts=n_experts or 0,
            place=file.name,
        )
    given = known_prompts(
        hints, n_requests=1 if offsets is None else offsets.size - 1, place=file.name
    )
    prompts = np.asarray(given) if given is not None else prompts
    return _tokens(array, offsets=offsets, prompts=prompts, said=said, place=file.name)


def _tokens(
    array: NDArray[np.integer],
    *,
    offsets: NDArray[np.integer] | None,
    prompts: NDArray[np.integer] | None,
    said: ModelFacts,
    place: str,
) -> TokenDraft:
    rows = _axes(array, n_axes=3, place=place)
    ends = np.asarray([0, rows.shape[0]]) if offsets is None else offsets.astype(np.int64)
    recorded = np.zeros(max(0, ends.size - 1)) if prompts is None else prompts
    is_sound = ends.ndim == 1 and ends.size > 1 and ends[0] == 0 and ends[-1] == rows.shape[0]
    lengths = np.diff(ends) if is_sound else np.full(1, -1)
    if (lengths < 0).any() or recorded.shape != lengths.shape or (recorded < 0).any():
        raise TraceError(
            f"{place}: {_OFFSETS} or {_PROMPTS[0]} do not fit {rows.shape[0]} rows; expected "
            "rising numbers from 0 to the rows, and one count for each request; export it again"
        )
    return TokenDraft(
        experts=rows,
        req_offsets=ends.astype(np.int64),
        n_prompt_rows=np.minimum(recorded, lengths).astype(np.int64),
        phase="any" if prompts is None else "both",
        facts=said,
        notes=("plain npz of token ids",),
    )


def _counts(
    array: NDArray[np.integer],
    *,
    p2l: NDArray[np.integer] | None,
    said: ModelFacts,
    place: str,
) -> CountDraft:
    steps = array[None] if array.ndim == 2 else _axes(array, n_axes=3, place=place)  # noqa: PLR2004 - one step
    if p2l is not None:
        steps = np.stack(
            [
                logical_counts(
                    one, physical_to_logical=p2l, n_experts=said.n_experts or 0, place=place
                )
                for one in steps
            ]
        )
    return CountDraft(counts=steps, phase="any", facts=said, notes=("plain npz of counts",))


def _first(archive: SafeZip, *, names: tuple[str, ...]) -> NDArray[np.integer] | None:
    held = npy_names(archive)
    for name in names:
        if name in held:
            return _integers(archive, name=name)
    return None


def _integers(archive: SafeZip, *, name: str) -> NDArray[np.integer]:
    array: NDArray[Any] = read_npz_array(archive, name=name)
    if array.dtype.kind not in "iu":
        raise TraceError(
            f"{archive.place}: {name}: {array.dtype}; expected integers; export it again"
        )
    return array


def _axes(array: NDArray[np.integer], *, n_axes: int, place: str) -> NDArray[np.integer]:
    if array.ndim != n_axes:
        raise TraceError(
            f"{place}: shape {array.shape}; expected {n_axes} axes: tokens or steps, layers, "
            "experts; add the missing axis"
        )
    return array


def _side_car(file: Path) -> ModelFacts:
    """Return what a JSON file beside the array says of the model."""
    beside = file.with_suffix(".json")
    said = read_json(beside) if beside.is_file() else {}
    fields = said if isinstance(said, dict) else {}
    name = fields.get("model")
    numbers = {
        own: fields[key]
        for own, key in (("n_experts", "num_experts"), ("top_k", "top_k"))
        if is_count(fields.get(key))
    }
    return ModelFacts(name=name if isinstance(name, str) else None, **numbers)
