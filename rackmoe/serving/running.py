"""Which sequences a replica decodes now: compact arrays advanced once per step."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.model.architecture import Window

__all__ = ["Finished", "RunningSequences", "advance_reference"]

_COLUMNS = 5
REQUEST, GROUP, CONTEXT, REMAINING, TRACE_ROW = range(_COLUMNS)
_ONE_EACH = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Sequences that ended in a step.

    Attributes
    ----------
    requests : ndarray of shape (n,)
        Their request ids, in the order of admission.
    groups : ndarray of shape (n,)
        The attention group that held each.
    contexts : ndarray of shape (n,)
        Their context lengths, in tokens.
    """

    requests: NDArray[np.int64]
    groups: NDArray[np.int64]
    contexts: NDArray[np.int64]


@njit(cache=True)
def _advance(
    table: NDArray[np.int64],
    n: int,
    block_tokens: int,
    window_tokens: int,
    is_chunked: bool,  # noqa: FBT001  compiled kernels take their arguments in order
    emitted: NDArray[np.int64],
    sums: NDArray[np.int64],
    gone: NDArray[np.int64],
) -> tuple[int, int]:
    """Add the emitted tokens to each sequence, drop the finished ones, rebuild the sums."""
    for j in range(sums.shape[0]):
        for g in range(sums.shape[1]):
            sums[j, g] = 0
    kept = 0
    ended = 0
    for i in range(n):
        step = emitted[i] if emitted.size else 1
        step = min(step, table[i, 3])
        context = table[i, 2] + step
        remaining = table[i, 3] - step
        if remaining == 0:
            gone[ended, 0] = table[i, 0]
            gone[ended, 1] = table[i, 1]
            gone[ended, 2] = context
            ended += 1
            continue
        group = table[i, 1]
        table[kept, 0] = table[i, 0]
        table[kept, 1] = group
        table[kept, 2] = context
        table[kept, 3] = remaining
        table[kept, 4] = table[i, 4] + step
        kept += 1
        sums[0, group] += 1
        sums[1, group] += context
        sums[2, group] += (context + block_tokens - 1) // block_tokens
        if is_chunked:
            sums[3, group] += (context - 1) % window_tokens + 1
        else:
            sums[3, group] += min(context, window_tokens)
    return kept, ended


def _visible(
    contexts: NDArray[np.int64], window_tokens: int, *, is_chunked: bool
) -> NDArray[np.int64]:
    if is_chunked:
        return np.where(contexts > 0, (contexts - 1) % window_tokens + 1, 0)
    return np.minimum(contexts, window_tokens)


def advance_reference(
    table: NDArray[np.int64],
    *,
    block_tokens: int,
    window_tokens: int,
    is_chunked: bool,
    emitted: NDArray[np.int64],
    n_groups: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Advance every sequence as the compiled kernel does, in plain NumPy: its test oracle.

    Parameters
    ----------
    table : ndarray of shape (n, 5)
        Request, group, context, remaining tokens and trace row of each sequence.
    block_tokens : int
        Tokens of one KV block.
    window_tokens : int
        Tokens that a layer with local attention reads at most.
    is_chunked : bool
        Whether it reads from the start of its chunk instead of a sliding window.
    emitted : ndarray of shape (n,)
        Tokens that the step wants to add to each sequence.
    n_groups : int
        Attention groups of the replica.

    Returns
    -------
    kept : ndarray of shape (m, 5)
        The sequences that go on.
    gone : ndarray of shape (n - m, 3)
        Request, group and context of those that ended.
    sums : ndarray of shape (4, n_groups)
        Sequences, context tokens, KV blocks and tokens in the window of each group afterwards.
    """
    step = np.minimum(emitted, table[:, REMAINING])
    after = table.copy()
    after[:, CONTEXT] += step
    after[:, REMAINING] -= step
    after[:, TRACE_ROW] += step
    ended = after[:, REMAINING] == 0
    kept = after[~ended]
    sums = np.zeros((4, n_groups), dtype=np.int64)
    np.add.at(sums[0], kept[:, GROUP], 1)
    np.add.at(sums[1], kept[:, GROUP], kept[:, CONTEXT])
    np.add.at(sums[2], kept[:, GROUP], -(-kept[:, CONTEXT] // block_tokens))
    np.add.at(
        sums[3], kept[:, GROUP], _visible(kept[:, CONTEXT], window_tokens, is_chunked=is_chunked)
    )
    return kept, after[ended][:, :REMAINING], sums


class RunningSequences:
    """The decoding sequences of one replica, compact and in order of admission.

    The remaining output length is kept here because the model decides it; no
    policy reads it (LAW-12).

    Parameters
    ----------
    n_groups : int
        Attention groups (data-parallel ranks) of the replica.
    block_tokens : int
        Tokens of one KV block.
    window : Window or None
        Local attention of the layers that have it.

    Attributes
    ----------
    n_sequences, kv_tokens, kv_blocks, window_kv_tokens : ndarray of shape (n_groups,)
        Sequences, context tokens, KV blocks and tokens in the window of each group.
    total_kv_tokens : int
        Context tokens of all groups.
    """

    def __init__(self, *, n_groups: int, block_tokens: int, window: Window | None = None) -> None:
        self._block_tokens = block_tokens
        self._window_tokens = 0 if window is None else window.n_tokens
        self._is_chunked = window is not None and window.is_chunked
        self._table = np.zeros((64, _COLUMNS), dtype=np.int64)
        self._gone = np.zeros((64, 3), dtype=np.int64)
        self._sums = np.zeros((4, n_groups), dtype=np.int64)
        self._n = 0
        self.total_kv_tokens = 0
        self.n_sequences, self.kv_tokens, self.kv_blocks, self.window_kv_tokens = self._sums

    def __len__(self) -> int:
        return self._n

    @property
    def groups(self) -> NDArray[np.int64]:
        """Group of each sequence, shape (n,)."""
        return self._table[: self._n, GROUP]

    @property
    def trace_rows(self) -> NDArray[np.int64]:
        """Row of the routing trace that each sequence reads next, shape (n,)."""
        return self._table[: self._n, TRACE_ROW]

    @property
    def requests(self) -> NDArray[np.int64]:
        """Request id of each sequence, shape (n,)."""
        return self._table[: self._n, REQUEST]

    @property
    def remaining(self) -> NDArray[np.int64]:
        """Output tokens that each sequence still emits; for the engine, not for policies."""
        return self._table[: self._n, REMAINING]

    @property
    def contexts(self) -> NDArray[np.int64]:
        """Context length of each sequence in tokens, shape (n,)."""
        return self._table[: self._n, CONTEXT]

    @property
    def window_contexts(self) -> NDArray[np.int64]:
        """Tokens of each context that a layer with a sliding window reads, shape (n,)."""
        return _visible(self.contexts, self._window_tokens, is_chunked=self._is_chunked)

    def add(self, request: int, *, group: int, context: int, remaining: int, row: int) -> None:
        """Admit one sequence.

        Parameters
        ----------
        request : int
            Its request id.
        group : int
            The attention group that holds its KV.
        context : int
            Tokens in its KV cache.
        remaining : int
            Output tokens that the model will still emit.
        row : int
            First row of the routing trace that it reads.
        """
        if self._n == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
            self._gone = np.zeros((len(self._table), 3), dtype=np.int64)
        self._table[self._n] = (request, group, context, remaining, row)
        self._n += 1
        self._count(group, context=context, sign=1)

    def advance(self, emitted: NDArray[np.int64] | None = None) -> Finished:
        """Emit tokens for every sequence and drop those that ended.

        Parameters
        ----------
        emitted : ndarray of shape (n,), optional
            Tokens that each sequence gets, one by default. A sequence never gets
            more than it has left.

        Returns
        -------
        Finished
            The sequences that emitted their last token.
        """
        wanted = _ONE_EACH if emitted is None else emitted
        self._n, ended = _advance(
            self._table,
            self._n,
            self._block_tokens,
            self._window_tokens,
            self._is_chunked,
            wanted,
            self._sums,
            self._gone,
        )
        self.total_kv_tokens = sum(self.kv_tokens.tolist())
        gone = self._gone[:ended].copy()
        return Finished(requests=gone[:, 0], groups=gone[:, 1], contexts=gone[:, 2])

    def blocks_wanted(self, n_tokens: int = 1) -> NDArray[np.int64]:
        """Return the KV blocks that more tokens of every sequence need, by group.

        Parameters
        ----------
        n_tokens : int, optional
            Tokens by which each sequence may grow.

        Returns
        -------
        ndarray of shape (n_groups,)
            Blocks.
        """
        contexts, block = self.contexts, self._block_tokens
        more = (contexts + (n_tokens + block - 1)) // block - (contexts + (block - 1)) // block
        grows = more > 0
        wanted = np.bincount(
            self.groups[grows], weights=more[grows], minlength=len(self.n_sequences)
        )
        return wanted.astype(np.int64)

    def pop_latest(
        self, group: int, *, priorities: NDArray[np.int64] | None = None
    ) -> tuple[int, int, int]:
        """Remove the sequence that a group admitted last, of those with the lowest priority.

        Parameters
        ----------
        group : int
            Attention group that lacks KV memory.
        priorities : ndarray of shape (n_requests,), optional
            Priority of each request; all are alike by default.

        Returns
        -------
        tuple of int
            Request id, context length and remaining output tokens.
        """
        own = np.flatnonzero(self.groups == group)
        if priorities is not None:
            ranks = priorities[self.requests[own]]
            own = own[ranks == ranks.min()]
        at = int(own[-1])
        request, _, context, remaining, _ = (int(x) for x in self._table[at])
        self._table[at : self._n - 1] = self._table[at + 1 : self._n]
        self._n -= 1
        self._count(group, context=context, sign=-1)
        return request, context, remaining

    def _count(self, group: int, *, context: int, sign: int) -> None:
        self._sums[0, group] += sign
        self._sums[1, group] += sign * context
        self.total_kv_tokens += sign * context
        self._sums[2, group] += sign * -(-context // self._block_tokens)
        visible = _visible(np.array(context), self._window_tokens, is_chunked=self._is_chunked)
        self._sums[3, group] += sign * int(visible)
