"""Which attention group a request goes to: compiled kernels and their NumPy twins."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "NO_GROUP",
    "choose_roomy_group",
    "choose_roomy_group_plain",
    "least_sum_group",
    "least_sum_group_plain",
]

NO_GROUP = -1
"""No group has room."""


@njit(cache=True)
def least_sum_group(
    first: NDArray[np.int64], second: NDArray[np.int64], third: NDArray[np.int64]
) -> int:
    """Return the first of the groups with the smallest sum of three loads.

    Parameters
    ----------
    first, second, third : ndarray of shape (n_groups,)
        Loads of each group, in one unit.

    Returns
    -------
    int
        Group index.
    """
    best = 0
    for g in range(1, first.size):
        if first[g] + second[g] + third[g] < first[best] + second[best] + third[best]:
            best = g
    return best


@njit(cache=True)
def choose_roomy_group(
    sequences: tuple[NDArray[np.int64], NDArray[np.int64]],
    blocks: tuple[NDArray[np.int64], NDArray[np.int64]],
    max_sequences: int,
    max_blocks: int,
    kept_blocks: int,
    by_blocks: bool,  # noqa: FBT001  compiled kernels take their arguments in order
) -> int:
    """Return the least loaded of the groups that have a slot and enough free blocks.

    Parameters
    ----------
    sequences : tuple of two ndarray of shape (n_groups,)
        Running and reserved sequences of each group.
    blocks : tuple of two ndarray of shape (n_groups,)
        KV blocks of running sequences and blocks held otherwise.
    max_sequences : int
        Sequences that a group has slots for.
    max_blocks : int
        Blocks that a group may hold before the request comes.
    kept_blocks : int
        Blocks less that a group may hold which has other sequences: they can grow.
    by_blocks : bool
        Whether load is blocks; sequences otherwise.

    Returns
    -------
    int
        Group index, the first of equals; `NO_GROUP` if none has room.
    """
    best = NO_GROUP
    least = 0
    for g in range(sequences[0].size):
        busy = sequences[0][g] + sequences[1][g]
        used = blocks[0][g] + blocks[1][g]
        limit = max_blocks - kept_blocks if busy > 0 else max_blocks
        if used > limit or busy >= max_sequences:
            continue
        load = used if by_blocks else busy
        if best == NO_GROUP or load < least:
            best, least = g, load
    return best


def least_sum_group_plain(
    first: NDArray[np.int64], second: NDArray[np.int64], third: NDArray[np.int64]
) -> int:
    """Return what `least_sum_group` returns, in plain NumPy."""
    return int(np.argmin(first + second + third))


def choose_roomy_group_plain(
    sequences: tuple[NDArray[np.int64], NDArray[np.int64]],
    blocks: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    max_sequences: int,
    max_blocks: int,
    kept_blocks: int,
    by_blocks: bool,
) -> int:
    """Return what `choose_roomy_group` returns, in plain NumPy."""
    busy, used = sequences[0] + sequences[1], blocks[0] + blocks[1]
    room = (used <= max_blocks - np.where(busy > 0, kept_blocks, 0)) & (busy < max_sequences)
    if not room.any():
        return NO_GROUP
    load = used if by_blocks else busy
    return int(np.argmin(np.where(room, load, np.iinfo(np.int64).max)))
