"""Compiled kernels from counts and shares to the loads and traffic of a step, and their twins."""

from dataclasses import fields

import numba
import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.placement import Placement
from rackmoe.routing.step import StepRouting
from rackmoe.routing.tally import Tally

__all__ = [
    "FIRST_NODE_FIELD",
    "RANK_FIELDS",
    "add_tally",
    "add_tally_plain",
    "gather_counted",
    "spread_nodes",
    "spread_nodes_plain",
    "spread_senders",
    "spread_senders_plain",
]

RANK_FIELDS = tuple(field.name for field in fields(StepRouting) if field.name != "expert_counts")
"""The arrays of `StepRouting` with one value per layer and rank, in the order of the stack."""

FIRST_NODE_FIELD = RANK_FIELDS.index("node_copies_in")
"""The fields from here on stay zero where there is one node."""

# Positions in RANK_FIELDS; compiled code needs plain integers.
_LOAD, _ACTIVE, _COPIES_IN, _COPIES_OUT, _IN, _OUT = 0, 1, 2, 3, 4, 5
_NODE_IN, _NODE_OUT, _REMOTE_IN, _REMOTE_OUT = 6, 7, 8, 9
# Positions in Tally.per_rank.
_HITS, _OWN, _OWN_COPIES, _DESTINATIONS = 0, 1, 2, 3
_TALLY_NODE_IN, _TALLY_NODE_OUT, _OWN_NODE_IN, _OWN_NODE_OUT = 4, 5, 6, 7


@numba.njit(cache=True)
def add_tally(
    slots: NDArray[np.int32],
    per_rank: NDArray[np.int32],
    sent: NDArray[np.int64],
    slot_expert: NDArray[np.int16],
    several_nodes: bool,  # noqa: FBT001 - compiled code takes its arguments by position
    counts: NDArray[np.int32],
    ranks: NDArray[np.float64],
) -> None:
    """Add a tally to counts (L, E) and the stack of rank fields (10, L, R).

    `sent` holds the assignments of each sender, tokens x top_k.
    """
    n_layers, n_slots = slot_expert.shape
    n_ranks = sent.size
    per = n_slots // n_ranks
    for layer in range(n_layers):
        for rank in range(n_ranks):
            load = 0
            for slot in range(rank * per, (rank + 1) * per):
                load += slots[slot, layer]
                counts[layer, slot_expert[layer, slot]] += slots[slot, layer]
            own_copies = per_rank[_OWN_COPIES, rank, layer]
            ranks[_LOAD, layer, rank] += load
            ranks[_COPIES_IN, layer, rank] += per_rank[_HITS, rank, layer] - own_copies
            ranks[_COPIES_OUT, layer, rank] += per_rank[_DESTINATIONS, rank, layer] - own_copies
            ranks[_IN, layer, rank] += load - per_rank[_OWN, rank, layer]
            ranks[_OUT, layer, rank] += sent[rank] - per_rank[_OWN, rank, layer]
            if several_nodes:
                ranks[_NODE_IN, layer, rank] += per_rank[_TALLY_NODE_IN, rank, layer]
                ranks[_NODE_OUT, layer, rank] += per_rank[_TALLY_NODE_OUT, rank, layer]
                ranks[_REMOTE_IN, layer, rank] += load - per_rank[_OWN_NODE_IN, rank, layer]
                ranks[_REMOTE_OUT, layer, rank] += (
                    sent[rank] - per_rank[_OWN_NODE_OUT, rank, layer]
                )


@numba.njit(cache=True)
def gather_counted(
    slot_counts: NDArray[np.int32],
    rank_hits: NDArray[np.int32],
    node_hits: NDArray[np.int32],
    slot_expert: NDArray[np.int16],
    counts: NDArray[np.int32],
    rank_load: NDArray[np.float64],
    hits: NDArray[np.float64],
    nodes: NDArray[np.float64],
) -> None:
    """Add slot counts (P, L) to counts (L, E); write loads and hits, layers first."""
    n_layers, n_ranks = rank_load.shape
    per = slot_counts.shape[0] // n_ranks
    for layer in range(n_layers):
        for rank in range(n_ranks):
            load = 0
            for slot in range(rank * per, (rank + 1) * per):
                load += slot_counts[slot, layer]
                counts[layer, slot_expert[layer, slot]] += slot_counts[slot, layer]
            rank_load[layer, rank] = load
            hits[layer, rank] = rank_hits[rank, layer]
        for node in range(nodes.shape[1]):
            nodes[layer, node] = node_hits[node, layer]


@numba.njit(cache=True)
def spread_senders(
    rank_load: NDArray[np.float64],
    hits: NDArray[np.float64],
    part: NDArray[np.float64],
    own_share: NDArray[np.float64],
    ranks: NDArray[np.float64],
) -> None:
    r"""Add loads whose senders are known by their part of the tokens only.

    A sender with the part :math:`w_s` of the tokens sends :math:`w_s` of every
    rank's load, and of what a rank keeps from itself the replica choice makes
    R x `own_share` times that.
    """
    n_layers, n_ranks = rank_load.shape
    for layer in range(n_layers):
        sum_load = 0.0
        sum_hits = 0.0
        for rank in range(n_ranks):
            sum_load += rank_load[layer, rank]
            sum_hits += hits[layer, rank]
        for rank in range(n_ranks):
            own = min(1.0, part[rank] * own_share[layer, rank] * n_ranks)
            load, hit = rank_load[layer, rank], hits[layer, rank]
            ranks[_LOAD, layer, rank] += load
            ranks[_COPIES_IN, layer, rank] += (1.0 - own) * hit
            ranks[_COPIES_OUT, layer, rank] += part[rank] * sum_hits - own * hit
            ranks[_IN, layer, rank] += (1.0 - own) * load
            ranks[_OUT, layer, rank] += part[rank] * sum_load - own * load


@numba.njit(cache=True)
def spread_nodes(
    rank_load: NDArray[np.float64],
    node_hits: NDArray[np.float64],
    part: NDArray[np.float64],
    node_share: NDArray[np.float64],
    ranks: NDArray[np.float64],
) -> None:
    """Add what crosses nodes, senders again by their part of the tokens only."""
    n_layers, n_ranks = rank_load.shape
    n_nodes = node_hits.shape[1]
    per_node = n_ranks // n_nodes
    node_part = np.zeros(n_nodes)
    index_part = np.zeros(per_node)
    for rank in range(n_ranks):
        node_part[rank // per_node] += part[rank]
        index_part[rank % per_node] += part[rank]
    kept = np.empty(n_nodes)
    crossing = np.empty(n_nodes)
    for layer in range(n_layers):
        sum_load = 0.0
        sum_crossing = 0.0
        for node in range(n_nodes):
            node_load = 0.0
            kept[node] = 0.0
            for rank in range(node * per_node, (node + 1) * per_node):
                own = min(1.0, node_part[node] * node_share[layer, rank] * n_nodes)
                load = rank_load[layer, rank]
                ranks[_REMOTE_IN, layer, rank] += (1.0 - own) * load
                kept[node] += own * load
                node_load += load
            sum_load += node_load
            # copies per unit of the tokens that start outside this node
            outside = (1.0 - node_part[node]) * node_load
            crossing[node] = 0.0
            if outside > 0.0:
                crossing[node] = node_hits[layer, node] * (node_load - kept[node]) / outside
            sum_crossing += crossing[node]
        for rank in range(n_ranks):
            node = rank // per_node
            if node_part[node] > 0.0:
                stays = kept[node] / node_part[node]
                ranks[_REMOTE_OUT, layer, rank] += part[rank] * (sum_load - stays)
            ranks[_NODE_OUT, layer, rank] += part[rank] * (sum_crossing - crossing[node])
            others = index_part[rank % per_node] - part[rank]
            ranks[_NODE_IN, layer, rank] += crossing[node] * others


def add_tally_plain(
    tally: Tally,
    sent: NDArray[np.int64],
    placement: Placement,
    counts: NDArray[np.int32],
    ranks: NDArray[np.float64],
) -> None:
    """Do what `add_tally` does, in plain NumPy.

    Parameters
    ----------
    tally : Tally
        Counts to add.
    sent : ndarray of shape (R,), int64
        Assignments of each sender.
    placement : Placement
        Where the experts are.
    counts : ndarray of shape (L, E), int32
        Assignments per expert, added to.
    ranks : ndarray of shape (10, L, R)
        Rank fields, added to.
    """
    layers = np.arange(placement.n_layers)[:, None]
    np.add.at(counts, (layers, placement.slots), tally.slots.T)
    load = tally.slots.T.reshape(placement.n_layers, placement.n_ranks, -1).sum(axis=2)
    ranks[_LOAD] += load
    ranks[_COPIES_IN] += (tally.rank_hits - tally.own_copies).T
    ranks[_COPIES_OUT] += (tally.destinations - tally.own_copies).T
    ranks[_IN] += load - tally.own_assignments.T
    ranks[_OUT] += sent - tally.own_assignments.T
    if placement.n_nodes > 1:
        ranks[_NODE_IN] += tally.node_in.T
        ranks[_NODE_OUT] += tally.node_out.T
        ranks[_REMOTE_IN] += load - tally.own_node_in.T
        ranks[_REMOTE_OUT] += sent - tally.own_node_out.T


def spread_senders_plain(
    rank_load: NDArray[np.float64],
    hits: NDArray[np.float64],
    part: NDArray[np.float64],
    own_share: NDArray[np.float64],
    ranks: NDArray[np.float64],
) -> None:
    """Do what `spread_senders` does, in plain NumPy.

    Parameters
    ----------
    rank_load, hits : ndarray of shape (L, R)
        Assignments of a rank; tokens that visit it.
    part : ndarray of shape (R,)
        Part of the tokens that each rank sends.
    own_share : ndarray of shape (L, R)
        Part of its load that a rank sends itself if all send equally.
    ranks : ndarray of shape (10, L, R)
        Rank fields, added to.
    """
    own = np.minimum(1.0, part * own_share * part.size)
    ranks[_LOAD] += rank_load
    ranks[_COPIES_IN] += (1.0 - own) * hits
    ranks[_COPIES_OUT] += part * hits.sum(axis=1, keepdims=True) - own * hits
    ranks[_IN] += (1.0 - own) * rank_load
    ranks[_OUT] += part * rank_load.sum(axis=1, keepdims=True) - own * rank_load


def spread_nodes_plain(
    rank_load: NDArray[np.float64],
    node_hits: NDArray[np.float64],
    part: NDArray[np.float64],
    node_share: NDArray[np.float64],
    ranks: NDArray[np.float64],
) -> None:
    """Do what `spread_nodes` does, in plain NumPy.

    Parameters
    ----------
    rank_load : ndarray of shape (L, R)
        Assignments of a rank.
    node_hits : ndarray of shape (L, D)
        Tokens that visit a node.
    part : ndarray of shape (R,)
        Part of the tokens that each rank sends; each node sends some, none sends all.
    node_share : ndarray of shape (L, R)
        Part of its load that comes from its node if all send equally.
    ranks : ndarray of shape (10, L, R)
        Rank fields, added to.
    """
    n_layers, n_nodes = node_hits.shape
    by_node = part.reshape(n_nodes, -1)
    node_part = by_node.sum(axis=1)
    of_rank = np.repeat(node_part, by_node.shape[1])
    own = np.minimum(1.0, of_rank * node_share * n_nodes)
    ranks[_REMOTE_IN] += (1.0 - own) * rank_load
    load = rank_load.reshape(n_layers, n_nodes, -1).sum(axis=2)
    kept = (own * rank_load).reshape(n_layers, n_nodes, -1).sum(axis=2)
    stays = np.repeat(kept / node_part, by_node.shape[1], axis=1)
    ranks[_REMOTE_OUT] += part * (load.sum(axis=1, keepdims=True) - stays)
    crossing = node_hits * (load - kept) / ((1.0 - node_part) * load)
    of_others = crossing.sum(axis=1, keepdims=True) - crossing
    ranks[_NODE_OUT] += part * np.repeat(of_others, by_node.shape[1], axis=1)
    senders = by_node.sum(axis=0) - by_node
    ranks[_NODE_IN] += (crossing[:, :, None] * senders).reshape(n_layers, -1)
