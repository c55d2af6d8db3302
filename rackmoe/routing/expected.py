"""Loads and busy slots where only the assignments of each expert are known."""

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "clear",
    "count_active",
    "count_active_plain",
    "gather_expected",
    "idle_chances",
]

# Expected tokens beyond which a slot is idle with a probability below exp(-40) = 4e-18.
_SURELY_BUSY = 40.0
# An index that cannot be negative: the loops below then need no check for it.
_INDEX = numba.uint64


@numba.njit(cache=True)
def clear(
    counts: NDArray[np.int32], expected: NDArray[np.int32], ranks: NDArray[np.float64]
) -> None:
    """Write zeros; NumPy spends more on its calls than on a step of few ranks."""
    counts[:] = 0
    expected[:] = 0
    ranks[:] = 0.0


@numba.njit(cache=True)
def gather_expected(
    added: NDArray[np.int32],
    slot_expert: NDArray[np.int16],
    shares: NDArray[np.float64],
    rank_ratio: NDArray[np.float64],
    counts: NDArray[np.int32],
    expected: NDArray[np.int32],
    rank_load: NDArray[np.float64],
    hits: NDArray[np.float64],
) -> None:
    """Add counts per expert to both sums; write the loads and hits that their shares give."""
    n_layers, n_ranks = rank_load.shape
    per = slot_expert.shape[1] // n_ranks
    for layer in range(n_layers):
        new, total, total_expected = added[layer], counts[layer], expected[layer]
        n_new = 0
        for expert in range(new.size):
            total[expert] += new[expert]
            total_expected[expert] += new[expert]
            n_new += new[expert]
        for rank in range(n_ranks):
            # all replicas of all experts are on a single rank
            load = float(n_new)
            if n_ranks > 1:
                first, last = rank * per, (rank + 1) * per
                load = _load(new, slot_expert[layer, first:last], shares[layer, first:last])
            rank_load[layer, rank] = load
            hits[layer, rank] = load * rank_ratio[layer, rank]


@numba.njit(cache=True)
def _load(
    counts: NDArray[np.int32], expert_of: NDArray[np.int16], share: NDArray[np.float64]
) -> float:
    # What the slots of one rank and layer get.
    load = 0.0
    for slot in range(expert_of.size):
        load += counts[_INDEX(expert_of[slot])] * share[slot]
    return load


@numba.njit(cache=True)
def idle_chances(max_replicas: int) -> NDArray[np.float64]:
    r"""Return how likely one of k replicas gets none of c tokens, :math:`(1 - 1/k)^c`.

    Row k, column c, as far as `count_active` asks: a slot is surely busy beyond.
    """
    chances = np.ones((max_replicas + 1, int(_SURELY_BUSY) * max_replicas + 1))
    for k in range(1, max_replicas + 1):
        for c in range(1, chances.shape[1]):
            chances[k, c] = (1.0 - 1.0 / k) ** float(c)
    return chances


@numba.njit(cache=True)
def count_active(
    exact: NDArray[np.int64],
    expected: NDArray[np.int32],
    slot_expert: NDArray[np.int16],
    shares: NDArray[np.float64],
    n_replicas: NDArray[np.int32],
    idle: NDArray[np.float64],
    active: NDArray[np.float64],
) -> None:
    r"""Write how many slots of each rank got a token.

    A slot that takes each of c assignments with probability s stays idle with
    probability :math:`(1 - s)^c`, of `idle_chances`; where that is empty, chance
    plays no part and it holds :math:`s c` of them. Without rows, `exact` is zero.
    """
    n_layers, n_ranks = active.shape
    n_experts, n_slots = expected.shape[1], slot_expert.shape[1]
    per = n_slots // n_ranks
    for layer in range(n_layers):
        counts, expert_of, share = expected[layer], slot_expert[layer], shares[layer]
        # every slot has an expert of its own, and gets what that one gets
        is_certain = n_slots == n_experts and exact.shape[0] == 0
        for rank in range(n_ranks):
            n_busy, busy = 0, 0.0
            for slot in range(_INDEX(rank * per), _INDEX((rank + 1) * per)):
                count = counts[_INDEX(expert_of[slot])]
                mean = share[slot] * count
                if is_certain:
                    n_busy += count > 0
                elif exact.shape[0] and exact[slot, layer] > 0:
                    n_busy += 1
                elif idle.size and share[slot] < 1.0 and 0.0 < mean < _SURELY_BUSY:
                    busy += 1.0 - idle[n_replicas[layer, slot], count]
                else:
                    busy += min(1.0, mean)
            active[layer, rank] = n_busy + busy


def count_active_plain(
    exact: NDArray[np.int64],
    expected: NDArray[np.float64],
    slot_expert: NDArray[np.int16],
    shares: NDArray[np.float64],
    *,
    is_random: bool,
    n_ranks: int,
) -> NDArray[np.float64]:
    """Return what `count_active` writes, in plain NumPy.

    Parameters
    ----------
    exact : ndarray of shape (P, L), int64
        Assignments that were followed to a slot.
    expected : ndarray of shape (L, E)
        Assignments known per expert only.
    slot_expert : ndarray of shape (L, P), int16
        Expert in each slot.
    shares : ndarray of shape (L, P)
        Part of its expert's assignments that a slot gets.
    is_random : bool
        Whether chance decides which slot.
    n_ranks : int
        Ranks of the group.

    Returns
    -------
    ndarray of shape (L, R)
        Slots with at least one token, expected.
    """
    count = expected[np.arange(len(expected))[:, None], slot_expert]
    busy = np.minimum(1.0, shares * count)
    if is_random:
        busy = np.where(shares < 1.0, 1.0 - (1.0 - shares) ** count, busy)
    busy = np.where(exact.T > 0, 1.0, busy)
    return np.asarray(busy.reshape(len(busy), n_ranks, -1).sum(axis=2))
