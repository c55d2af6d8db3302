"""Place experts that the same tokens choose on the same rank, as far as balance allows."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.routing.eplb import eplb
from rackmoe.routing.placement import Placement

__all__ = ["PairCounts", "affinity_placement", "count_pairs", "count_pairs_plain"]

_ROWS_AT_ONCE = 8192  # rows of a memory-mapped trace in memory at a time
_SLACK_FRAC = 0.05  # load that a rank may have beyond the busiest rank of EPLB


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """How often tokens choose two experts.

    Attributes
    ----------
    within : ndarray of shape (L, E, E), int64
        Tokens that choose both experts of a layer; the diagonal counts the expert.
    across : ndarray of shape (L - 1, E, E), int64
        Tokens that choose the first in a layer and the second in the next.
    """

    within: NDArray[np.int64]
    across: NDArray[np.int64]

    @property
    def load(self) -> NDArray[np.int64]:
        """Assignments of each expert, shape (L, E)."""
        return np.ascontiguousarray(np.einsum("lee->le", self.within))


def count_pairs(
    routed_experts: NDArray[np.unsignedinteger], *, n_experts: int, rows: NDArray[np.int64]
) -> PairCounts:
    """Count pairs of experts over some rows of a trace.

    Parameters
    ----------
    routed_experts : ndarray of shape (N, L, K)
        Logical experts; may be memory-mapped.
    n_experts : int
        Logical experts of a layer.
    rows : ndarray of shape (n,), int64
        Rows to count.

    Returns
    -------
    PairCounts
        Their pairs.
    """
    n_layers = routed_experts.shape[1]
    within = np.zeros((n_layers, n_experts, n_experts), np.int64)
    across = np.zeros((max(n_layers - 1, 0), n_experts, n_experts), np.int64)
    for first in range(0, rows.size, _ROWS_AT_ONCE):
        part = np.ascontiguousarray(routed_experts[rows[first : first + _ROWS_AT_ONCE]])
        _add_pairs(part, within, across)
    return PairCounts(within=within, across=across)


def count_pairs_plain(
    routed_experts: NDArray[np.unsignedinteger], *, n_experts: int
) -> PairCounts:
    """Return what `count_pairs` counts over all rows, in plain NumPy.

    Parameters
    ----------
    routed_experts : ndarray of shape (N, L, K)
        Logical experts.
    n_experts : int
        Logical experts of a layer.

    Returns
    -------
    PairCounts
        Their pairs.
    """
    chosen = np.zeros((*routed_experts.shape[:2], n_experts), np.int64)
    np.put_along_axis(chosen, routed_experts.astype(np.int64), 1, axis=2)
    return PairCounts(
        within=np.einsum("nle,nlf->lef", chosen, chosen),
        across=np.einsum("nle,nlf->lef", chosen[:, :-1], chosen[:, 1:]),
    )


def affinity_placement(
    pairs: PairCounts,
    *,
    n_ranks: int,
    n_redundant: int = 0,
    ranks_per_node: int | None = None,
    slack_frac: float = _SLACK_FRAC,
) -> Placement:
    """Place experts near those that the same tokens choose, in their layer and the one before.

    Experts of one layer that share tokens on one rank save copies wherever a token
    goes to each rank once. The affinity to the layer before saves traffic only
    in engines that leave a token where its expert ran; all engines that rackmoe
    models bring it back, so that there it is of no use, and it does no harm.

    Parameters
    ----------
    pairs : PairCounts
        From `count_pairs`.
    n_ranks : int
        Ranks of the expert-parallel group.
    n_redundant : int
        Slots beyond one for each expert.
    ranks_per_node : int, optional
        Ranks in one scale-up domain; all of them if not given.
    slack_frac : float
        Load that a rank may have beyond the busiest rank of EPLB, as a share of it.

    Returns
    -------
    Placement
        Slots grouped by rank.

    Raises
    ------
    ConfigError
        If the slots do not fill the ranks, or the slack is negative.

    Notes
    -----
    Copies are given out as EPLB does. In each layer the slots, heaviest first, go
    to the rank with the most common tokens [1]_ among those with a free slot whose
    load stays within the limit; where there is none, to the lightest.

    References
    ----------
    .. [1] J. Yao et al., "Exploiting inter-layer expert affinity for accelerating
       mixture-of-experts model inference," IPDPS 2024.
    """
    if slack_frac < 0:
        raise ConfigError(
            f"affinity: slack {slack_frac}; expected at least 0; 0.05 gives a rank 5 % more"
        )
    load = pairs.load.astype(np.float64)
    if pairs.within.ndim != 3 or len(pairs.across) != max(len(load) - 1, 0):  # noqa: PLR2004 - axes
        raise ShapeError(
            f"pairs: shapes {pairs.within.shape} and {pairs.across.shape}; expected one matrix "
            "for each layer and each pair of layers; count them with count_pairs"
        )
    start = eplb(load, n_ranks=n_ranks, n_redundant=n_redundant, ranks_per_node=ranks_per_node)
    slots = np.empty_like(start.slots)
    before = np.zeros((n_ranks, load.shape[1]))
    for layer, row in enumerate(start.slots.astype(np.int64)):
        copies = start.n_replicas[layer]
        flow = np.zeros_like(before)
        if layer:
            flow = before @ pairs.across[layer - 1]
        common = pairs.within[layer] / (copies[:, None] * copies)
        slots[layer] = _fill_ranks(
            row,
            load[layer] / copies,
            flow / copies,
            common,
            n_ranks,
            slack_frac,
        )
        before = np.zeros_like(before)
        rank = np.arange(row.size) // (row.size // n_ranks)
        np.add.at(before, (rank, slots[layer]), 1.0 / copies[slots[layer]])
    return Placement.from_slots(
        slots, n_experts=load.shape[1], n_ranks=n_ranks, ranks_per_node=ranks_per_node
    )


@numba.njit(cache=True)
def _add_pairs(
    routed: NDArray[np.unsignedinteger], within: NDArray[np.int64], across: NDArray[np.int64]
) -> None:
    n_rows, n_layers, top_k = routed.shape
    for row in range(n_rows):
        for layer in range(n_layers):
            for k in range(top_k):
                one = routed[row, layer, k]
                for other in routed[row, layer]:
                    within[layer, one, other] += 1
                if layer + 1 < n_layers:
                    for other in routed[row, layer + 1]:
                        across[layer, one, other] += 1


@numba.njit(cache=True)
def _fill_ranks(
    slots: NDArray[np.int64],
    share: NDArray[np.float64],
    flow: NDArray[np.float64],
    common: NDArray[np.float64],
    n_ranks: int,
    slack_frac: float,
) -> NDArray[np.int64]:
    """Return the expert of each slot, rank after rank; heaviest slots choose first."""
    room = slots.size // n_ranks
    limit = 0.0
    for rank in range(n_ranks):
        limit = max(limit, share[slots[rank * room : (rank + 1) * room]].sum())
    limit *= 1.0 + slack_frac
    out = np.empty(slots.size, np.int64)
    filled = np.zeros(n_ranks, np.int64)
    level = np.zeros(n_ranks)
    order = np.argsort(-share[slots], kind="mergesort")
    for at in order:
        expert = slots[at]
        best, lightest, best_gain = -1, -1, -1.0
        for rank in range(n_ranks):
            if filled[rank] == room:
                continue
            if lightest < 0 or level[rank] < level[lightest]:
                lightest = rank
            # room for the mean share keeps some for the slots that follow
            if level[rank] + share[expert] > limit * (filled[rank] + 1) / room and filled[rank]:
                continue
            gain = flow[rank, expert]
            for seat in range(filled[rank]):
                gain += common[expert, out[rank * room + seat]]
            if gain > best_gain or (gain == best_gain and level[rank] < level[best]):
                best, best_gain = rank, gain
        rank = best if best >= 0 else lightest
        out[rank * room + filled[rank]] = expert
        filled[rank] += 1
        level[rank] += share[expert]
    return out
