"""Which of an expert's replicas a token is sent to."""

from dataclasses import dataclass
from typing import Literal, get_args

import numba
import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.routing.placement import Placement

__all__ = [
    "ReplicaChoice",
    "ReplicaTable",
    "build_replica_table",
    "check_replica_choice",
    "hashed_replica",
    "nearest_shares",
    "split_counts",
]

ReplicaChoice = Literal["random", "round_robin", "nearest", "least_loaded"]
"""How a token picks one of several replicas.

random: by a hash of token and first slot (expected: equal shares); round_robin: in
turn; nearest: on the own rank, else on the own node, else random; least_loaded:
the replica whose rank has the fewest assignments in this step so far.
"""

# Multipliers of the 32-bit hashes xxHash (two) and lowbias32; any good mixer would do.
_MIX_ROW = 2654435761
_MIX_SLOT = 2246822519
_MIX_LAST = 2146121005


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaTable:
    """The slots of each expert, in the order of the slots.

    Attributes
    ----------
    slots : ndarray of shape (L, E, max_replicas), int16
        Slots that hold the expert; unused places repeat the first.
    n_replicas : ndarray of shape (L, E), int32
        How many of them count.
    """

    slots: NDArray[np.int16]
    n_replicas: NDArray[np.int32]


def check_replica_choice(name: str) -> None:
    """Refuse an unknown replica choice.

    Parameters
    ----------
    name : str
        Name that the user wrote.

    Raises
    ------
    ConfigError
        If it is none of `ReplicaChoice`.
    """
    known = get_args(ReplicaChoice)
    if name not in known:
        raise ConfigError(
            f"experts.replica_choice: {name!r} is unknown; expected one of {', '.join(known)}; "
            "write 'random' for what most engines do"
        )


def build_replica_table(placement: Placement) -> ReplicaTable:
    """Return the slots of each expert of a placement.

    Parameters
    ----------
    placement : Placement
        Where the experts are.

    Returns
    -------
    ReplicaTable
        The inverse of ``placement.slots``.
    """
    n_replicas = placement.n_replicas
    order = np.argsort(placement.slots, axis=1, kind="stable")
    first = np.cumsum(n_replicas, axis=1) - n_replicas
    index = first[:, :, None] + np.arange(n_replicas.max())
    index = np.where(np.arange(n_replicas.max()) < n_replicas[:, :, None], index, first[..., None])
    slots = np.take_along_axis(order, index.reshape(placement.n_layers, -1), axis=1)
    return ReplicaTable(
        slots=np.ascontiguousarray(slots.reshape(index.shape), dtype=np.int16),
        n_replicas=n_replicas,
    )


@numba.njit(cache=True, inline="always")
def hashed_replica(row: int, first_slot: int, n_replicas: int) -> int:
    """Return which replica a token takes at random, the same in every run.

    Parameters
    ----------
    row, first_slot, n_replicas : int
        Row of the token in its trace; first slot of its expert, which names the expert
        whatever its label is (LAW-13); how many replicas there are.

    Returns
    -------
    int
        0 to ``n_replicas - 1``.
    """
    mixed = (row * _MIX_ROW + first_slot * _MIX_SLOT) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * _MIX_LAST) & 0xFFFFFFFF
    mixed ^= mixed >> 16
    return mixed % n_replicas


def split_counts(
    counts: NDArray[np.float64], *, placement: Placement, choice: ReplicaChoice
) -> NDArray[np.float64]:
    """Split assignments per expert into assignments per slot, without following tokens.

    Parameters
    ----------
    counts : ndarray of shape (L, E)
        Assignments per logical expert.
    placement : Placement
        Where the experts are.
    choice : ReplicaChoice
        How tokens pick replicas; `random` gives the expected, equal shares.

    Returns
    -------
    ndarray of shape (L, P)
        Assignments per slot; each expert's shares add up to its count.
    """
    layers = np.arange(placement.n_layers)[:, None]
    slots = placement.slots
    table = build_replica_table(placement)
    if choice == "least_loaded":
        return _fill_least_loaded(
            np.ascontiguousarray(counts, dtype=np.float64),
            table.slots,
            table.n_replicas,
            placement.n_physical,
            placement.n_ranks,
        )
    if choice == "nearest":
        return np.asarray(counts[layers, slots] * nearest_shares(placement)[0])
    replicas = table.n_replicas[layers, slots]
    mine = counts[layers, slots]
    if choice == "random":
        return np.asarray(mine / replicas)
    place = np.empty(slots.shape, np.int64)
    for index in range(table.slots.shape[2]):
        layer, expert = np.nonzero(table.n_replicas > index)
        place[layer, table.slots[layer, expert, index]] = index
    return np.asarray(mine // replicas + np.clip(mine % replicas - place, 0, 1))


def nearest_shares(
    placement: Placement,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return what the choice `nearest` does to equal senders and equally popular experts.

    Parameters
    ----------
    placement : Placement
        Where the experts are.

    Returns
    -------
    share : ndarray of shape (L, P)
        Part of its expert's assignments that a slot gets.
    own : ndarray of shape (L, R)
        Part of a rank's assignments that it sends itself.
    own_node : ndarray of shape (L, R)
        Part of a rank's assignments that comes from its node.
    """
    table = build_replica_table(placement)
    n_ranks, per_node = placement.n_ranks, placement.ranks_per_node
    by_sender = np.zeros((placement.n_layers, placement.n_physical, n_ranks))
    for layer in range(placement.n_layers):
        for expert in range(placement.n_experts):
            held = table.slots[layer, expert, : table.n_replicas[layer, expert]].astype(np.int64)
            rank = held // placement.slots_per_rank
            on_rank = rank[:, None] == np.arange(n_ranks)
            on_node = rank[:, None] // per_node == np.arange(n_ranks) // per_node
            pick = np.where(on_node.any(axis=0), on_node, 1.0)
            pick = np.where(on_rank.any(axis=0), on_rank, pick)
            by_sender[layer, held] = pick / pick.sum(axis=0)
    per_rank = by_sender.reshape(placement.n_layers, n_ranks, -1, n_ranks).sum(axis=2)
    total = per_rank.sum(axis=2)
    node = np.arange(n_ranks) // per_node
    own = np.einsum("lrr->lr", per_rank) / total
    own_node = (per_rank * (node[:, None] == node)).sum(axis=2) / total
    return by_sender.mean(axis=2), own, own_node


@numba.njit(cache=True)
def _fill_least_loaded(
    counts: NDArray[np.float64],
    slots: NDArray[np.int16],
    n_replicas: NDArray[np.int32],
    n_physical: int,
    n_ranks: int,
) -> NDArray[np.float64]:
    """Pour each replicated expert, busiest first, into the ranks with the lowest level."""
    n_layers, n_experts = counts.shape
    per_rank = n_physical // n_ranks
    out = np.zeros((n_layers, n_physical))
    for layer in range(n_layers):
        level = np.zeros(n_ranks)
        for expert in range(n_experts):
            if n_replicas[layer, expert] == 1:
                slot = slots[layer, expert, 0]
                out[layer, slot] = counts[layer, expert]
                level[slot // per_rank] += counts[layer, expert]
        # equally busy ones in the order of their slots, whatever their labels are (LAW-13)
        by_slot = np.argsort(slots[layer, :, 0])
        for expert in by_slot[np.argsort(-counts[layer][by_slot], kind="mergesort")]:
            n_copies = n_replicas[layer, expert]
            if n_copies == 1:
                continue
            held = slots[layer, expert, :n_copies]
            height = np.empty(n_copies)
            for index in range(n_copies):
                height[index] = level[held[index] // per_rank]
            order = np.argsort(height)
            left = counts[layer, expert]
            n_open = 1
            surface = height[order[0]]
            while n_open < n_copies and (height[order[n_open]] - surface) * n_open < left:
                left -= (height[order[n_open]] - surface) * n_open
                surface = height[order[n_open]]
                n_open += 1
            surface += left / n_open
            for index in range(n_open):
                slot = held[order[index]]
                out[layer, slot] = surface - height[order[index]]
                level[slot // per_rank] += out[layer, slot]
    return out
