"""Turn recorded expert ids into a trace: no padding, no dense layers, no shared experts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.drafts import TokenDraft
from rackmoe.routing.importers.facts import ImportHints, ModelFacts, agree, needed
from rackmoe.routing.importers.layers import choose_layers
from rackmoe.routing.importers.token_rows import blocks_of, empty_layers, kept_rows
from rackmoe.routing.traces import TokenTrace, TraceHeader

__all__ = ["clean_tokens"]

_MAX_SHOWN = 60
_MAX_EXPERTS = np.iinfo(np.uint16).max + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Widths:
    """Experts of a layer and per token, as recorded and as routed.

    Attributes
    ----------
    n_experts, top_k : int
        Routed experts of a layer; routed experts per token.
    n_columns : int
        Ids per token and layer in the file.
    """

    n_experts: int
    top_k: int
    n_columns: int


def clean_tokens(
    draft: TokenDraft, *, facts: ModelFacts, hints: ImportHints, place: str
) -> tuple[TokenTrace, tuple[str, ...]]:
    """Return the trace in a draft and what was done to it.

    Parameters
    ----------
    draft : TokenDraft
        What a reader found.
    facts : ModelFacts
        What model and user say.
    hints : ImportHints
        What the user says about the recording.
    place : str
        The file, for the message.

    Returns
    -------
    trace : TokenTrace
        The trace.
    notes : tuple of str
        What was left out and assumed.

    Raises
    ------
    TraceError
        If tokens lack choices, choose an expert twice or one that does not exist.
    """
    n_rows, _, n_columns = draft.experts.shape
    if not n_rows or not n_columns:
        raise TraceError(
            f"{place}: no tokens; expected at least one; the kernel bypassed the recorder, or "
            "recording was off"
        )
    n_experts = agree(facts.n_experts, draft.facts.n_experts, what="n_experts", place=place)
    top_k = agree(facts.top_k, draft.facts.top_k, what="top_k", place=place)
    choice = choose_layers(
        empty_layers(draft.experts), layer_ids=draft.layer_ids, facts=facts, place=place
    )
    kept, notes = kept_rows(
        draft.experts, columns=choice.columns, req_offsets=draft.req_offsets, place=place
    )
    rows = np.flatnonzero(kept)
    widths = _Widths(
        n_experts=needed(n_experts, what="n_experts", place=place),
        top_k=top_k or _recorded_width(draft.experts, rows=rows, columns=choice.columns),
        n_columns=n_columns,
    )
    if widths.top_k < n_columns:
        notes.append(f"kept {widths.top_k} routed of {n_columns} recorded ids per token and layer")
    routed = _routed(draft.experts, rows=rows, columns=choice.columns, widths=widths, place=place)
    offsets, prompt = _renumber(draft, kept=kept)
    if offsets.size < draft.req_offsets.size:
        notes.append(f"left out {draft.req_offsets.size - offsets.size} requests without tokens")
    notes = [*draft.notes, *choice.notes, *notes]
    header = TraceHeader(
        model=facts.name or draft.facts.name or "unknown",
        n_experts=widths.n_experts,
        top_k=widths.top_k,
        moe_layer_ids=choice.layer_ids,
        phase=hints.phase or draft.phase,
        source=hints.source or place,
        licence=hints.licence,
        note="; ".join(notes),
    )
    trace = TokenTrace(
        routed_experts=routed, req_offsets=offsets, n_prompt_rows=prompt, header=header
    )
    return trace, tuple(notes)


def _recorded_width(
    experts: NDArray[np.integer], *, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> int:
    """Return how many columns hold an id somewhere; the rest is fill."""
    is_used = np.zeros(experts.shape[2], np.bool_)
    for block in blocks_of(rows.size):
        is_used |= (experts[rows[block]][:, columns] >= 0).any(axis=(0, 1))
    return max(1, int(is_used.sum()))


def _routed(
    experts: NDArray[np.integer],
    *,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    widths: _Widths,
    place: str,
) -> NDArray[np.unsignedinteger]:
    """Return the routed experts of the kept tokens and layers, in the narrowest type.

    Where nothing is left out the recording itself is returned, perhaps memory-mapped.
    """
    if widths.n_experts > _MAX_EXPERTS or widths.top_k > min(widths.n_columns, widths.n_experts):
        raise TraceError(
            f"{place}: {widths.n_columns} ids per token for top {widths.top_k} of "
            f"{widths.n_experts} experts; expected at least top_k and at most {_MAX_EXPERTS} "
            "experts; name the model that was recorded"
        )
    narrow = np.uint8 if widths.n_experts <= np.iinfo(np.uint8).max + 1 else np.uint16
    shape = (rows.size, columns.size, widths.top_k)
    is_whole = experts.shape == shape and experts.dtype == narrow
    routed: NDArray[Any] = experts if is_whole else np.empty(shape, narrow)
    for block in blocks_of(rows.size):
        part = experts[rows[block]][:, columns]
        is_routed = (part >= 0) & (part < widths.n_experts)
        wrong = np.argwhere(is_routed.sum(axis=2) != widths.top_k)
        if wrong.size:
            row, layer = wrong[0].tolist()
            at = f"{place}: token {rows[block][row]}, MoE layer {layer}"
            raise TraceError(_wrong_ids(part[row, layer], widths=widths, at=at))
        if widths.top_k < widths.n_columns:
            order = np.argsort(~is_routed, axis=2, kind="stable")[:, :, : widths.top_k]
            part = np.take_along_axis(part, order, axis=2)
        ordered = np.sort(part, axis=2)
        twice = np.argwhere((ordered[:, :, 1:] == ordered[:, :, :-1]).any(axis=2))
        if twice.size:
            row, layer = twice[0].tolist()
            shown = str(part[row, layer].tolist())[:_MAX_SHOWN]
            raise TraceError(
                f"{place}: token {rows[block][row]}, MoE layer {layer}: experts {shown}; expected "
                "distinct ones; map physical experts to logical ones, and record without padding"
            )
        if not is_whole:
            routed[block] = part
    return routed


def _wrong_ids(ids: NDArray[np.integer], *, widths: _Widths, at: str) -> str:
    return (
        f"{at}: experts {str(ids.tolist())[:_MAX_SHOWN]}; expected "
        f"{widths.top_k} from 0 to {widths.n_experts - 1}; for physical experts give "
        "physical_to_logical, for a fused shared expert name the model"
    )


def _renumber(
    draft: TokenDraft, *, kept: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return offsets and prompt rows of the requests after rows were left out."""
    before = np.concatenate([[0], np.cumsum(kept)])
    border = draft.req_offsets[:-1] + draft.n_prompt_rows
    first, last = before[draft.req_offsets[:-1]], before[draft.req_offsets[1:]]
    prompt = before[np.minimum(border, draft.req_offsets[1:])] - first
    has_rows = last > first
    offsets = np.concatenate([[0], last[has_rows]]).astype(np.int64)
    return offsets, prompt[has_rows].astype(np.int32)
