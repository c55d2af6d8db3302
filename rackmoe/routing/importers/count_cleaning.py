"""Turn recorded counts into a trace: whole steps, MoE layers, routed experts only."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.drafts import CountDraft
from rackmoe.routing.importers.facts import ImportHints, ModelFacts, agree, needed
from rackmoe.routing.importers.layers import choose_layers
from rackmoe.routing.traces import CountTrace, TraceHeader

__all__ = ["clean_counts"]

# batch sizes for which vLLM and SGLang capture CUDA graphs by default: 1, 2, 4, then every 8th
_SMALL_GRAPHS = (1, 2, 4)
_GRAPH_STRIDE = 8
_MAX_GRAPH_TOKENS = 512
_MIN_STEPS = 8  # fewer may have such sizes by chance


def clean_counts(
    draft: CountDraft, *, facts: ModelFacts, hints: ImportHints, place: str
) -> tuple[CountTrace, tuple[str, ...]]:
    """Return the trace in a draft and what was done to it.

    Parameters
    ----------
    draft : CountDraft
        What a reader found.
    facts : ModelFacts
        What model and user say.
    hints : ImportHints
        What the user says about the recording.
    place : str
        The file, for the message.

    Returns
    -------
    trace : CountTrace
        The trace.
    notes : tuple of str
        What was left out and assumed.

    Raises
    ------
    TraceError
        If the counts of a step do not add up to whole tokens, the same in each
        layer, or to more tokens than were served.
    """
    if not draft.counts.size:
        raise TraceError(f"{place}: no counts; expected some; recording was off")
    if int(draft.counts.min()) < 0:
        raise TraceError(
            f"{place}: count {int(draft.counts.min())}; expected none below 0; export it again"
        )
    top_k = agree(facts.top_k, draft.facts.top_k, what="top_k", place=place)
    top_k = needed(top_k, what="top_k", place=place)
    known = agree(facts.n_experts, draft.facts.n_experts, what="n_experts", place=place)
    is_empty = draft.counts.sum(axis=2, dtype=np.int64) == 0
    choice = choose_layers(
        is_empty.all(axis=0), layer_ids=draft.layer_ids, facts=facts, place=place
    )
    notes = [*draft.notes, *choice.notes]
    steps = np.flatnonzero(~is_empty[:, choice.columns].all(axis=1))
    if steps.size < draft.counts.shape[0]:
        notes.append(f"left out {draft.counts.shape[0] - steps.size} empty steps")
    counts = draft.counts[np.ix_(steps, choice.columns)].astype(np.int64)
    n_experts = known or counts.shape[2]
    if counts.shape[2] != n_experts:
        counts = _without_shared(counts, n_experts=n_experts, top_k=top_k, place=place)
        notes.append("left out a fused shared expert, which each token visits")
    tokens = _step_tokens(counts, steps=steps, top_k=top_k, place=place)
    if hints.step_tokens is not None:
        served = np.asarray(hints.step_tokens)
        if served.shape != draft.counts.shape[:1]:
            raise TraceError(
                f"{place}: step_tokens of shape {served.shape} for {draft.counts.shape[0]} steps; "
                "expected one number for each step; give the tokens served in each"
            )
        _check_served(tokens, served=served[steps], place=place)
    elif _are_graph_sizes(tokens):
        notes.append("step sizes look like CUDA-graph batches; counts may hold padding tokens")
    header = TraceHeader(
        model=facts.name or draft.facts.name or "unknown",
        n_experts=n_experts,
        top_k=top_k,
        moe_layer_ids=choice.layer_ids,
        phase=hints.phase or draft.phase,
        source=hints.source or place,
        licence=hints.licence,
        note="; ".join(notes),
    )
    is_small = int(counts.max()) <= np.iinfo(np.int32).max
    narrow = counts.astype(np.int32) if is_small else counts
    return CountTrace(counts=narrow, step_tokens=tokens, header=header), tuple(notes)


def _without_shared(
    counts: NDArray[np.int64], *, n_experts: int, top_k: int, place: str
) -> NDArray[np.int64]:
    """Leave out ids behind the routed experts if they count every token, or none."""
    routed, beyond = counts[:, :, :n_experts], counts[:, :, n_experts:]
    tokens = routed.sum(axis=2) // top_k
    visits = beyond.sum(axis=2)
    n_shared = int(visits.sum()) // max(1, int(tokens.sum()))
    if not beyond.size or n_shared > beyond.shape[2] or (visits != tokens * n_shared).any():
        raise TraceError(
            f"{place}: counts of {counts.shape[2]} experts; expected {n_experts}; for physical "
            "experts give physical_to_logical, else name the model that was recorded"
        )
    return routed


def _step_tokens(
    counts: NDArray[np.int64], *, steps: NDArray[np.int64], top_k: int, place: str
) -> NDArray[np.int64]:
    """Return the tokens of each step, which every layer must see."""
    sums = counts.sum(axis=2)
    uneven = np.argwhere(sums != sums[:, :1])
    if uneven.size:
        step, layer = uneven[0].tolist()
        raise TraceError(
            f"{place}: step {steps[step]}: {sums[step, layer]} assignments in MoE layer {layer}, "
            f"{sums[step, 0]} in MoE layer 0; expected the same in each; record exact counts on "
            "all ranks"
        )
    broken = np.flatnonzero(sums[:, 0] % top_k)
    if broken.size:
        raise TraceError(
            f"{place}: step {steps[broken[0]]}: {sums[broken[0], 0]} assignments; expected a "
            f"multiple of top_k {top_k}; name the model that was recorded"
        )
    return np.asarray(sums[:, 0] // top_k)


def _check_served(tokens: NDArray[np.int64], *, served: NDArray[np.integer], place: str) -> None:
    wrong = np.flatnonzero(tokens != served)
    if not wrong.size:
        return
    ratio = float(tokens.sum() / max(1, int(served.sum())))
    step = int(wrong[0])
    raise TraceError(
        f"{place}: step {step}: {tokens[step]} tokens counted, {served[step]} served, "
        f"{ratio:.2f} times over all steps; expected the same; more are CUDA-graph padding, fewer "
        "a missing rank: record without graphs, or on all ranks"
    )


def _are_graph_sizes(tokens: NDArray[np.int64]) -> bool:
    """Whether all of several steps have sizes for which engines capture graphs by default."""
    is_captured = np.isin(tokens, _SMALL_GRAPHS) | (tokens % _GRAPH_STRIDE == 0)
    is_small = tokens <= _MAX_GRAPH_TOKENS
    return tokens.size >= _MIN_STEPS and bool((is_captured & is_small).all())
