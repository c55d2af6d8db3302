"""How a step is divided into micro-batches."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rackmoe.serving.batching import PrefillChunk, StepBatch
from rackmoe.serving.running import RunningSequences

__all__ = ["MicroBatch", "split_batch", "whole_batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """A part of a step that goes through the layers by itself.

    Attributes
    ----------
    batch : StepBatch
        Its tokens.
    trace_rows, groups, requests : ndarray of shape (n_sequences,)
        Trace row, attention group and request id of its decoding sequences.
    """

    batch: StepBatch
    trace_rows: NDArray[np.int64]
    groups: NDArray[np.int64]
    requests: NDArray[np.int64]


def whole_batch(batch: StepBatch, *, running: RunningSequences) -> tuple[MicroBatch, ...]:
    """Return a step as its only micro-batch.

    Parameters
    ----------
    batch : StepBatch
        The step.
    running : RunningSequences
        Its decoding sequences.

    Returns
    -------
    tuple of one MicroBatch
    """
    return (
        MicroBatch(
            batch=batch,
            trace_rows=running.trace_rows,
            groups=running.groups,
            requests=running.requests,
        ),
    )


def split_batch(batch: StepBatch, *, running: RunningSequences) -> tuple[MicroBatch, ...]:
    """Return a step as two micro-batches of about equal size.

    Every second sequence of an attention group goes to the second one, and
    every prompt chunk is cut in the middle. A step that leaves one of them empty
    is not split.

    Parameters
    ----------
    batch : StepBatch
        The step.
    running : RunningSequences
        Its decoding sequences.

    Returns
    -------
    tuple of one or two MicroBatch
    """
    cuts = [_cut(chunk) for chunk in batch.chunks]
    is_second = _is_second(running.groups) if batch.has_decode else np.empty(0, bool)
    halves = tuple(
        _half(
            batch,
            running,
            chosen=np.flatnonzero(is_second == bool(half)),
            chunks=tuple(cut[half] for cut in cuts if cut[half].n_tokens),
        )
        for half in range(2)
    )
    if all(len(half.groups) or half.batch.chunks for half in halves):
        return halves
    return whole_batch(batch, running=running)


def _half(
    batch: StepBatch,
    running: RunningSequences,
    *,
    chosen: NDArray[np.int64],
    chunks: tuple[PrefillChunk, ...],
) -> MicroBatch:
    n_groups = len(batch.decode_sequences)
    groups = running.groups[chosen]
    tokens = np.zeros(n_groups, dtype=np.int64)
    for chunk in chunks:
        tokens[chunk.group] += chunk.n_tokens
    part = StepBatch(
        decode_sequences=np.bincount(groups, minlength=n_groups),
        decode_kv_tokens=_sum_by(groups, running.contexts[chosen], n_groups),
        decode_window_tokens=_sum_by(groups, running.window_contexts[chosen], n_groups),
        prefill_tokens=tokens,
        chunks=chunks,
        preempted=(),
        tokens_per_sequence=batch.tokens_per_sequence,
    )
    return MicroBatch(
        batch=part,
        trace_rows=running.trace_rows[chosen],
        groups=groups,
        requests=running.requests[chosen],
    )


def _is_second(groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each sequence is an odd one of its group, counted from zero."""
    order = np.argsort(groups, kind="stable")
    in_order = groups[order]
    first = np.searchsorted(in_order, in_order)
    is_second = np.empty(len(groups), dtype=bool)
    is_second[order] = (np.arange(len(groups)) - first) % 2 == 1
    return is_second


def _sum_by(
    groups: NDArray[np.int64], values: NDArray[np.int64], n_groups: int
) -> NDArray[np.int64]:
    return np.bincount(groups, weights=values, minlength=n_groups).astype(np.int64)


def _cut(chunk: PrefillChunk) -> tuple[PrefillChunk, PrefillChunk]:
    first = chunk.n_tokens // 2
    return (
        replace(chunk, n_tokens=first, is_last=False),
        replace(
            chunk,
            n_tokens=chunk.n_tokens - first,
            past_tokens=chunk.past_tokens + first,
            is_first=False,
        ),
    )
