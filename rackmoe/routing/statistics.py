"""Measure a token trace in constant memory: popularity, memory of requests, affinity of layers."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.affinity import PairCounts, count_pairs
from rackmoe.routing.traces import TokenTrace

__all__ = [
    "LAGS",
    "TraceStatistics",
    "count_overlaps",
    "count_overlaps_plain",
    "measure_trace",
    "top_pairs_frac",
]

LAGS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Distances in tokens at which choices of a request are compared."""

_ROWS_AT_ONCE = 8192
_SAMPLE_ROWS = 65_536  # rows beyond which pairs and overlaps are measured on runs of the trace
_TOP_PAIRS_FRAC = 0.2  # as in arXiv 2510.05497, which published this share of several models


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStatistics:
    """What tells one trace from another.

    Attributes
    ----------
    counts : ndarray of shape (L, E), int64
        Assignments of each expert, over the whole trace.
    n_tokens, top_k : int
        Tokens of the trace; experts per token.
    overlap : ndarray of shape (n_lags, L)
        Part of a token's experts that the token so many places before has too; NaN
        where no request is long enough.
    pairs : PairCounts
        Experts that tokens choose together, and one layer after the other.
    """

    counts: NDArray[np.int64]
    n_tokens: int
    top_k: int
    overlap: NDArray[np.float64]
    pairs: PairCounts

    @property
    def share(self) -> NDArray[np.float64]:
        """Part of a layer's assignments that each expert gets, shape (L, E)."""
        return np.asarray(self.counts / self.counts.sum(axis=1, keepdims=True))

    @property
    def random_overlap(self) -> NDArray[np.float64]:
        """Overlap of tokens that have nothing but the popularity in common, shape (L,)."""
        chance = self.counts / self.n_tokens
        return np.asarray((chance * chance).sum(axis=1) / self.top_k)

    @property
    def pair_frac(self) -> NDArray[np.float64]:
        """Part of the pairs of adjacent layers in the busiest fifth, shape (L - 1,)."""
        return top_pairs_frac(self.pairs.across.astype(np.float64))

    @property
    def independent_pair_frac(self) -> NDArray[np.float64]:
        """The same, if layers chose independently, shape (L - 1,)."""
        load = self.pairs.load.astype(np.float64)
        return top_pairs_frac(load[:-1, :, None] * load[1:, None, :])


def measure_trace(trace: TokenTrace, *, lags: tuple[int, ...] = LAGS) -> TraceStatistics:
    """Measure a trace, however long, in constant memory.

    Parameters
    ----------
    trace : TokenTrace
        The trace; may be memory-mapped. Counts cover all of it; overlaps and pairs
        of a long trace are measured on runs of rows at equal distances.
    lags : tuple of int
        Distances in tokens, rising.

    Returns
    -------
    TraceStatistics
        What was measured.

    Raises
    ------
    TraceError
        If the trace has no tokens.
    """
    if not trace.n_tokens:
        raise TraceError(
            f"{trace.header.model}: a trace without tokens; expected some; record it again"
        )
    n_experts = trace.header.n_experts
    counts = np.zeros((trace.n_layers, n_experts), np.int64)
    common = np.zeros((len(lags), trace.n_layers), np.int64)
    n_pairs = np.zeros(len(lags), np.int64)
    sampled: list[NDArray[np.int64]] = []
    n_chunks = -(-trace.n_tokens // _ROWS_AT_ONCE)
    stride = max(1, n_chunks // (_SAMPLE_ROWS // _ROWS_AT_ONCE))
    distance = np.asarray(lags, np.int64)
    for index in range(n_chunks):
        first = index * _ROWS_AT_ONCE
        last = min(trace.n_tokens, first + _ROWS_AT_ONCE)
        start = max(0, first - lags[-1])
        rows = np.ascontiguousarray(trace.routed_experts[start:last])
        _add_counts(rows[first - start :], counts)
        if index % stride == 0:
            begins = _request_starts(trace.req_offsets, first=start, last=last)
            count_overlaps(rows, first - start, begins - start, distance, common, n_pairs)
            sampled.append(np.arange(first, last))
    chosen = n_pairs[:, None] * float(trace.header.top_k)
    overlap = np.full(common.shape, np.nan)
    np.divide(common, chosen, out=overlap, where=chosen > 0)
    return TraceStatistics(
        counts=counts,
        n_tokens=trace.n_tokens,
        top_k=trace.header.top_k,
        overlap=overlap,
        pairs=count_pairs(trace.routed_experts, n_experts=n_experts, rows=np.concatenate(sampled)),
    )


def top_pairs_frac(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of all pairs that falls on the busiest fifth of them.

    Parameters
    ----------
    pairs : ndarray of shape (n, E, E)
        How often each pair comes up.

    Returns
    -------
    ndarray of shape (n,)
        From 0.2, for equal pairs, to 1.
    """
    n_cells = pairs.shape[1] * pairs.shape[2]
    flat = np.sort(pairs.reshape(len(pairs), n_cells), axis=1)[:, ::-1]
    n_top = int(_TOP_PAIRS_FRAC * n_cells)
    total = np.maximum(flat.sum(axis=1), 1.0)
    return np.asarray(flat[:, :n_top].sum(axis=1) / total)


@numba.njit(cache=True)
def count_overlaps(
    routed: NDArray[np.unsignedinteger],
    first: int,
    begins: NDArray[np.int64],
    lags: NDArray[np.int64],
    common: NDArray[np.int64],
    n_pairs: NDArray[np.int64],
) -> None:
    """Add how many experts tokens share with those before them; see `count_overlaps_plain`."""
    n_rows, n_layers, top_k = routed.shape
    for row in range(first, n_rows):
        for index in range(lags.size):
            before = row - lags[index]
            if before < begins[row]:
                break
            n_pairs[index] += 1
            for layer in range(n_layers):
                for k in range(top_k):
                    for other in routed[before, layer]:
                        if routed[row, layer, k] == other:
                            common[index, layer] += 1


def count_overlaps_plain(
    routed: NDArray[np.unsignedinteger],
    *,
    first: int,
    begins: NDArray[np.int64],
    lags: tuple[int, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what `count_overlaps` adds, in plain NumPy.

    Parameters
    ----------
    routed : ndarray of shape (n, L, K)
        Successive rows.
    first : int
        First row that is compared with those before it.
    begins : ndarray of shape (n,), int64
        Row where the request of each row begins.
    lags : tuple of int
        Distances in tokens.

    Returns
    -------
    common : ndarray of shape (n_lags, L), int64
        Shared experts.
    n_pairs : ndarray of shape (n_lags,), int64
        Pairs of tokens that were compared.
    """
    row = np.arange(len(routed))
    common, n_pairs = [], []
    for lag in lags:
        later = row[(row >= first) & (row - lag >= begins)]
        same = routed[later][..., :, None] == routed[later - lag][..., None, :]
        common.append(same.sum(axis=(0, 2, 3)))
        n_pairs.append(later.size)
    return np.array(common), np.array(n_pairs)


@numba.njit(cache=True)
def _add_counts(routed: NDArray[np.unsignedinteger], counts: NDArray[np.int64]) -> None:
    n_rows, n_layers, top_k = routed.shape
    for row in range(n_rows):
        for layer in range(n_layers):
            for k in range(top_k):
                counts[layer, routed[row, layer, k]] += 1


def _request_starts(offsets: NDArray[np.int64], *, first: int, last: int) -> NDArray[np.int64]:
    """Return the row where the request of each of some rows begins."""
    rows = np.arange(first, last)
    return offsets[np.searchsorted(offsets, rows, side="right") - 1]
