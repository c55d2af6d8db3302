"""Exact counts of the tokens of a step: a compiled token-by-token count and its NumPy twin."""

from dataclasses import dataclass, fields
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.placement import Placement
from rackmoe.routing.replicas import ReplicaChoice, ReplicaTable, hashed_replica

__all__ = ["Tally", "count_rows", "count_rows_plain"]

_CHOICE_CODE: dict[ReplicaChoice, int] = {
    "random": 0,
    "round_robin": 1,
    "nearest": 2,
    "least_loaded": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counters of a step, layers last so that they are added as vectors.

    The own rank and node are included; `rackmoe.routing.load` takes them out.
    With one node the last four stay zero.

    Attributes
    ----------
    slots : ndarray of shape (P, L), int32
        Assignments per physical slot.
    rank_hits : ndarray of shape (R, L), int32
        Tokens with at least one expert on the rank.
    own_assignments, own_copies : ndarray of shape (R, L), int32
        The part of the two above that the rank sent itself.
    destinations : ndarray of shape (R, L), int32
        Distinct ranks, summed over the tokens that the rank sent.
    node_in, node_out : ndarray of shape (R, L), int32
        Copies to other nodes, one per (token, node), at the receiver with the
        sender's local index and at the sender.
    own_node_in, own_node_out : ndarray of shape (R, L), int32
        Assignments that stay within the node, at the receiver and the sender.
    per_rank : ndarray of shape (8, R, L), int32
        The eight arrays above after `slots`, which are views of it, in this order.
    """

    slots: NDArray[np.int32]
    rank_hits: NDArray[np.int32]
    own_assignments: NDArray[np.int32]
    own_copies: NDArray[np.int32]
    destinations: NDArray[np.int32]
    node_in: NDArray[np.int32]
    node_out: NDArray[np.int32]
    own_node_in: NDArray[np.int32]
    own_node_out: NDArray[np.int32]
    per_rank: NDArray[np.int32]

    @classmethod
    def zeros(cls, placement: Placement) -> Self:
        """Return counters at zero.

        Parameters
        ----------
        placement : Placement
            Where the experts are.

        Returns
        -------
        Tally
            Zeros of the right shapes.
        """
        names = [field.name for field in fields(cls) if field.name not in ("slots", "per_rank")]
        per_rank = np.zeros((len(names), placement.n_ranks, placement.n_layers), np.int32)
        return cls(
            slots=np.zeros((placement.n_physical, placement.n_layers), np.int32),
            per_rank=per_rank,
            **dict(zip(names, per_rank, strict=True)),
        )

    def clear(self) -> None:
        """Set all counters to zero."""
        self.slots[:] = 0
        self.per_rank[:] = 0


def count_rows(
    routed_experts: NDArray[np.unsignedinteger],
    *,
    tally: Tally,
    placement: Placement,
    table: ReplicaTable,
    choice: ReplicaChoice,
    rows: NDArray[np.int64],
    row_rank: NDArray[np.int32],
) -> None:
    """Count tokens one by one; works on any trace, also a memory-mapped one.

    Parameters
    ----------
    routed_experts : ndarray of shape (N, L, K)
        Logical experts of each row of the trace.
    tally : Tally
        Counters to add to.
    placement, table : Placement, ReplicaTable
        Where the experts are.
    choice : ReplicaChoice
        How tokens pick replicas.
    rows : ndarray of shape (n,), int64
        Rows to count.
    row_rank : ndarray of shape (n,), int32
        Rank that routes each of them.
    """
    _count(
        routed_experts,
        rows,
        row_rank,
        table.slots,
        table.n_replicas,
        _CHOICE_CODE[choice],
        (np.arange(placement.n_physical) // placement.slots_per_rank).astype(np.int32),
        (np.arange(placement.n_ranks) // placement.ranks_per_node).astype(np.int32),
        tally.slots,
        tally.rank_hits,
        tally.own_assignments,
        tally.own_copies,
        tally.destinations,
        tally.node_in,
        tally.node_out,
        tally.own_node_in,
        tally.own_node_out,
    )


@numba.njit(cache=True, inline="always")
def _nearest(
    held: NDArray[np.int16],
    sender: int,
    rank_of: NDArray[np.int32],
    node_of: NDArray[np.int32],
    at: int,
) -> int:
    """Return a replica of the sender's rank, else of its node, else the hashed one `at`."""
    node = node_of[sender]
    n_near = 0
    for index in range(held.size):
        rank = rank_of[held[index]]
        if rank == sender:
            return index
        n_near += node_of[rank] == node
    if n_near in (0, held.size):
        return at
    wanted = at % n_near
    for index in range(held.size):
        if node_of[rank_of[held[index]]] == node:
            if wanted == 0:
                return index
            wanted -= 1
    return at


@numba.njit(cache=True)
def _pick(
    held: NDArray[np.int16],
    choice: int,
    row: int,
    expert: int,
    sender: int,
    rank_of: NDArray[np.int32],
    node_of: NDArray[np.int32],
    taken: NDArray[np.int32],
    load: NDArray[np.int64],
) -> int:
    """Return the replica that a token takes under one of the four choices."""
    if choice == 1:
        return int(taken[expert]) % held.size
    at = hashed_replica(row, held[0], held.size)
    if choice == 2:  # noqa: PLR2004 - codes of _CHOICE_CODE
        return _nearest(held, sender, rank_of, node_of, at)
    if choice == 3:  # noqa: PLR2004 - codes of _CHOICE_CODE
        at = 0
        for index in range(1, held.size):
            if load[rank_of[held[index]]] < load[rank_of[held[at]]]:
                at = index
    return at


@numba.njit(cache=True)
def _count(
    routed: NDArray[np.unsignedinteger],
    rows: NDArray[np.int64],
    row_rank: NDArray[np.int32],
    replica_slots: NDArray[np.int16],
    n_replicas: NDArray[np.int32],
    choice: int,
    rank_of: NDArray[np.int32],
    node_of: NDArray[np.int32],
    slots: NDArray[np.int32],
    rank_hits: NDArray[np.int32],
    own_assignments: NDArray[np.int32],
    own_copies: NDArray[np.int32],
    destinations: NDArray[np.int32],
    node_in: NDArray[np.int32],
    node_out: NDArray[np.int32],
    own_node_in: NDArray[np.int32],
    own_node_out: NDArray[np.int32],
) -> None:
    _, n_layers, top_k = routed.shape
    n_ranks = rank_hits.shape[0]
    n_nodes = node_of[-1] + 1
    per_node = n_ranks // n_nodes
    taken = np.zeros((n_layers, n_replicas.shape[1]), np.int32)
    load = np.zeros((n_layers, n_ranks), np.int64)
    rank_seen = np.full(n_ranks, -1, np.int64)
    node_seen = np.full(n_nodes, -1, np.int64)
    stamp = 0
    for index in range(rows.size):
        row, sender = rows[index], row_rank[index]
        node = node_of[sender]
        for layer in range(n_layers):
            stamp += 1
            for k in range(top_k):
                expert = routed[row, layer, k]
                copies = n_replicas[layer, expert]
                at = 0
                if copies > 1:
                    held = replica_slots[layer, expert, :copies]
                    at = _pick(
                        held,
                        choice,
                        row,
                        expert,
                        sender,
                        rank_of,
                        node_of,
                        taken[layer],
                        load[layer],
                    )
                    taken[layer, expert] += 1
                slot = replica_slots[layer, expert, at]
                rank = rank_of[slot]
                slots[slot, layer] += 1
                load[layer, rank] += 1
                own_assignments[sender, layer] += rank == sender
                if rank_seen[rank] != stamp:
                    rank_seen[rank] = stamp
                    rank_hits[rank, layer] += 1
                    destinations[sender, layer] += 1
                    own_copies[sender, layer] += rank == sender
                if n_nodes == 1:
                    continue
                other = node_of[rank]
                if other == node:
                    own_node_in[rank, layer] += 1
                    own_node_out[sender, layer] += 1
                elif node_seen[other] != stamp:
                    node_seen[other] = stamp
                    node_out[sender, layer] += 1
                    node_in[other * per_node + sender % per_node, layer] += 1


def count_rows_plain(
    routed_experts: NDArray[np.unsignedinteger],
    *,
    placement: Placement,
    table: ReplicaTable,
    rows: NDArray[np.int64],
    row_rank: NDArray[np.int32],
) -> Tally:
    """Return the counts of tokens with random replicas, in plain NumPy.

    The twin of the compiled counts: slow, short, their oracle.

    Parameters
    ----------
    routed_experts, placement, table, rows, row_rank
        As for `count_rows`.

    Returns
    -------
    Tally
        The counts.
    """
    tally = Tally.zeros(placement)
    n_ranks, per_node = placement.n_ranks, placement.ranks_per_node
    layers = np.arange(placement.n_layers)
    for row, sender in zip(rows.tolist(), row_rank.tolist(), strict=True):
        experts = routed_experts[row].astype(np.int64)
        copies = table.n_replicas[layers[:, None], experts]
        first_slot = table.slots[layers[:, None], experts, 0].astype(np.int64)
        at = np.vectorize(hashed_replica.py_func)(row, first_slot, copies)
        slot = table.slots[layers[:, None], experts, at].astype(np.int64)
        rank = slot // placement.slots_per_rank
        np.add.at(tally.slots, (slot, layers[:, None]), 1)
        per_rank = (rank[:, :, None] == np.arange(n_ranks)).sum(axis=1)
        visits = per_rank > 0
        tally.rank_hits[:] += visits.T
        tally.own_assignments[sender] += per_rank[:, sender]
        tally.own_copies[sender] += visits[:, sender]
        tally.destinations[sender] += visits.sum(axis=1)
        if placement.n_nodes == 1:
            continue
        by_node = per_rank.reshape(placement.n_layers, -1, per_node)
        node = sender // per_node
        mine = slice(node * per_node, (node + 1) * per_node)
        tally.own_node_in[mine] += by_node[:, node].T
        tally.own_node_out[sender] += by_node[:, node].sum(axis=1)
        visited = by_node.sum(axis=2) > 0
        visited[:, node] = False
        tally.node_out[sender] += visited.sum(axis=1)
        tally.node_in[sender % per_node :: per_node] += visited.T
    return tally
