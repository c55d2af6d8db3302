"""Which load the hottest rank has in the measured tables of routed experts."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.streams import Streams

__all__ = ["ExpertLoad", "hot_rank_load", "packed_load"]

Counts = NDArray[np.int64]

# Draws whose mean stands for the unknown draw that was measured (kind: assumed).
_N_DRAWS: Final = 32

# Ranges of the collector's density x**-alpha: up to this share of the tokens where there
# are more assignments than experts, else between two small numbers (kind: measured;
# source: the collector of aiconfigurator-core 0.12.0, Apache-2.0, its behavior described).
_TOP_SHARE: Final = 0.8
_FEW_RANGE: Final = (0.01, 2.0)

# DeepEP packs the tokens of an expert into blocks of this many rows in its normal mode.
_BLOCK_ROWS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertLoad:
    """What the measured rank computes.

    Attributes
    ----------
    assignments : float
        Pairs of token and expert, a count.
    active_experts : float
        Experts with at least one token, a count.
    n_local_experts : int
        Experts of the rank, a count.
    """

    assignments: float
    active_experts: float
    n_local_experts: int


@cache
def hot_rank_load(*, tokens: int, experts: int, top_k: int, ep: int, dist: str) -> ExpertLoad:
    """Return the load of the rank whose time a table states.

    Parameters
    ----------
    tokens : int
        Tokens of the whole expert-parallel group, a count.
    experts, top_k, ep : int
        Routed experts, experts per token and ranks, counts. Where the ranks do not
        divide the experts, every rank has room for the larger share.
    dist : str
        ``balanced`` or ``uniform``: token t takes the experts t + i E/k, as the collector
        does; ``power_law_A``: loads drawn from the density x**-A, the hottest rank
        measured; with ``_eplb`` appended, the same loads on evened-out ranks.

    Returns
    -------
    ExpertLoad
        Exact for balanced rows; for drawn rows the mean over seeded draws.

    Raises
    ------
    ConfigError
        If the distribution is unknown.
    """
    n_local = math.ceil(experts / ep)
    if dist in {"balanced", "uniform"}:
        counts = _balanced_counts(tokens, experts, top_k)[:n_local]
        return ExpertLoad(
            assignments=float(counts.sum()),
            active_experts=float(np.count_nonzero(counts)),
            n_local_experts=n_local,
        )
    alpha, is_evened = _exponent(dist)
    # A stream per case: rows stay what they are when others are added.
    rng = Streams(0).rng(f"collector/{tokens}/{experts}/{top_k}/{ep}/{alpha}")
    assignments, active = [], []
    for _ in range(_N_DRAWS):
        counts = _drawn_counts(
            rng, tokens=tokens, top_k=top_k, alpha=alpha, room=(ep, n_local, experts)
        )
        measured = counts if is_evened else counts[[counts.sum(axis=1).argmax()]]
        assignments.append(measured.sum() / len(measured))
        active.append(np.count_nonzero(measured) / len(measured))
    return ExpertLoad(
        assignments=float(np.mean(assignments)),
        active_experts=float(np.mean(active)),
        n_local_experts=n_local,
    )


def packed_load(load: ExpertLoad) -> ExpertLoad:
    """Return the load of DeepEP's normal mode when routing is uniform.

    Parameters
    ----------
    load : ExpertLoad
        The rank's balanced load.

    Returns
    -------
    ExpertLoad
        The same assignments in full blocks: as many experts as there are blocks, which is
        what the measured times of few tokens show (kind: assumed).
    """
    blocks = max(1.0, load.assignments / _BLOCK_ROWS)
    return ExpertLoad(
        assignments=load.assignments,
        active_experts=min(load.active_experts, blocks),
        n_local_experts=load.n_local_experts,
    )


def _exponent(dist: str) -> tuple[float, bool]:
    is_evened = dist.endswith("_eplb")
    text = dist.removesuffix("_eplb").removeprefix("power_law_")
    try:
        alpha = float(text)
    except ValueError as error:
        raise ConfigError(
            f"dist: {dist}: unknown distribution; expected balanced, uniform or power_law_1.2"
        ) from error
    if not math.isfinite(alpha) or alpha == 1:
        raise ConfigError(f"dist: {dist}: no such exponent; expected a number other than 1")
    return alpha, is_evened


def _balanced_counts(tokens: int, experts: int, top_k: int) -> Counts:
    stride = math.ceil(experts / top_k)
    shifts = np.arange(top_k) * stride
    if tokens < stride:
        first = np.arange(tokens)[:, None] * stride // tokens
        return np.bincount(((first + shifts) % experts).ravel(), minlength=experts)
    # Token t's i-th choice is expert (t + i E/k) mod E: whole rounds, and a last partial one.
    rounds, rest = divmod(tokens, experts)
    place = (np.arange(experts)[:, None] - shifts) % experts
    counts: Counts = rounds * top_k + np.count_nonzero(place < rest, axis=1)
    return counts


def _drawn_counts(
    rng: np.random.Generator,
    *,
    tokens: int,
    top_k: int,
    alpha: float,
    room: tuple[int, int, int],
) -> Counts:
    """Return the tokens of each expert by rank, for one draw of the collector's loads."""
    ep, n_local, experts = room
    low, high = (1.0, _TOP_SHARE * tokens) if tokens * top_k > experts else _FEW_RANGE
    power = 1 - alpha
    sampled = ((high**power - low**power) * rng.random(experts) + low**power) ** (1 / power)
    counts = np.zeros(ep * n_local, dtype=np.int64)
    counts[:experts] = np.round(sampled / sampled.sum() * tokens * top_k)
    overflow = int(np.maximum(counts - tokens, 0).sum())
    by_rank = np.minimum(counts, tokens).reshape(ep, n_local)
    _in_turn(by_rank, overflow, change=lambda row, n: _fill_lowest(row, n, bound=tokens))
    missing = tokens * top_k - int(by_rank.sum())
    _in_turn(by_rank, missing, change=lambda row, n: _fill_lowest(row, n, bound=tokens))
    _in_turn(by_rank, -missing, change=_cut_highest)
    return by_rank


def _in_turn(
    by_rank: Counts, units: int, *, change: Callable[[Counts, int], tuple[Counts, int]]
) -> None:
    """Let the ranks take one unit each in turn, until none is left or none has room."""
    n_ranks = len(by_rank)
    while units > 0:
        share, extra = divmod(units, n_ranks)
        left = 0
        for rank in range(n_ranks):
            n = share + (rank < extra)
            if n:
                by_rank[rank], rest = change(by_rank[rank], n)
                left += rest
        if left == units:
            return
        units = left


def _fill_lowest(row: Counts, units: int, *, bound: int) -> tuple[Counts, int]:
    """Return the counts after units went one by one to the smallest, and what had no room."""
    row = np.sort(row)
    while units > 0 and row[0] < bound:
        n_lowest = int(np.searchsorted(row, row[0], side="right"))
        level = row[n_lowest] if n_lowest < len(row) else bound
        step = min(int(level - row[0]), units // n_lowest)
        if step == 0:
            row[:units] += 1
            return row, 0
        row[:n_lowest] += step
        units -= step * n_lowest
    return row, units


def _cut_highest(row: Counts, units: int) -> tuple[Counts, int]:
    """Return the counts after units were taken one by one from the largest."""
    negative, left = _fill_lowest(-row, units, bound=0)
    return -negative, left
