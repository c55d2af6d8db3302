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
    trace_rows, groups : ndarray of shape (n_sequences,)
        Trace row and attention group of its decoding sequences.
    """

    batch: StepBatch
    trace_rows: NDArray[np.int64]
    groups: NDArray[np.int64]


def whole_batch(batch: StepBatch, running: RunningSequences) -> tuple[MicroBatch, ...]:
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
    return (MicroBatch(batch=batch, trace_rows=running.trace_rows, groups=running.groups),)


def split_batch(batch: StepBatch, running: RunningSequences) -> tuple[MicroBatch, ...]:
    """Return a step as two micro-batches of about equal size.

    Every second sequence goes to the second one, and every prompt chunk is cut
    in the middle.

    Parameters
    ----------
    batch : StepBatch
        The step.
    running : RunningSequences
        Its decoding sequences.

    Returns
    -------
    tuple of two MicroBatch
    """
    n_groups = len(batch.decode_sequences)
    cuts = [_cut(chunk) for chunk in batch.chunks]
    halves = []
    for half in range(2):
        groups = running.groups[half::2] if batch.has_decode else np.empty(0, np.int64)
        chunks = tuple(cut[half] for cut in cuts if cut[half].n_tokens)
        tokens = np.zeros(n_groups, dtype=np.int64)
        for chunk in chunks:
            tokens[chunk.group] += chunk.n_tokens
        contexts = running.contexts[half::2][: len(groups)]
        windows = running.window_contexts[half::2][: len(groups)]
        part = StepBatch(
            decode_sequences=np.bincount(groups, minlength=n_groups),
            decode_kv_tokens=_sum_by(groups, contexts, n_groups),
            decode_window_tokens=_sum_by(groups, windows, n_groups),
            prefill_tokens=tokens,
            chunks=chunks,
            preempted=(),
        )
        rows = running.trace_rows[half::2][: len(groups)]
        halves.append(MicroBatch(batch=part, trace_rows=rows, groups=groups))
    return tuple(halves)


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
