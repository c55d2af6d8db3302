"""Place experts by load with the algorithm that DeepSeek published as EPLB."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.routing.placement import Placement, check_ep

__all__ = ["eplb", "pack_balanced", "replicate"]


def eplb(
    weight: NDArray[np.floating],
    *,
    n_ranks: int,
    n_redundant: int = 0,
    n_groups: int = 1,
    ranks_per_node: int | None = None,
    is_hierarchical: bool | None = None,
) -> Placement:
    """Place experts so that the measured load is balanced, hot ones in several slots.

    Parameters
    ----------
    weight : ndarray of shape (L, E)
        Measured load of each expert, in any unit.
    n_ranks : int
        Ranks of the expert-parallel group.
    n_redundant : int
        Slots beyond one for each expert.
    n_groups : int
        Groups of consecutive experts that the gate limits tokens to.
    ranks_per_node : int, optional
        Ranks in one scale-up domain; all of them if not given.
    is_hierarchical : bool, optional
        Keep the groups together on nodes; if not given, wherever the nodes
        divide the groups and the experts, as the published code does.

    Returns
    -------
    Placement
        Slots grouped by rank.

    Raises
    ------
    ConfigError
        If weights are not finite or negative, the slots do not fill ranks and
        nodes, or groups cannot be kept together.

    Notes
    -----
    Hierarchical [1]_: pack groups onto nodes, replicate the busiest experts
    within each node, pack the replicas onto its ranks. Global: the same with
    one group and one node. Arithmetic is in float32, as published.

    References
    ----------
    .. [1] DeepSeek-AI, "Expert parallelism load balancer (EPLB)," 2025.
    """
    loads = np.asarray(weight, dtype=np.float32)
    if loads.ndim != 2 or not np.isfinite(loads).all() or (loads < 0).any():  # noqa: PLR2004 - axes
        raise ConfigError(
            f"eplb: weights of shape {loads.shape}; expected finite loads of at least 0 for each "
            "layer and expert; count assignments per logical expert"
        )
    n_experts = loads.shape[1]
    check_ep(n_ranks, n_physical=n_experts + n_redundant)
    n_nodes = n_ranks // (ranks_per_node or n_ranks)
    fits = n_groups % n_nodes == 0 and n_experts % n_groups == 0
    if is_hierarchical is None:
        is_hierarchical = fits
    if is_hierarchical and not fits:
        raise ConfigError(
            f"eplb: {n_groups} groups on {n_nodes} nodes; expected the nodes to divide "
            "the groups; use the global variant"
        )
    slots = _place(
        loads,
        n_physical=n_experts + n_redundant,
        n_groups=n_groups if is_hierarchical else 1,
        n_nodes=n_nodes if is_hierarchical else 1,
        n_ranks=n_ranks,
    )
    return Placement.from_slots(
        slots, n_experts=n_experts, n_ranks=n_ranks, ranks_per_node=ranks_per_node
    )


def pack_balanced(
    weight: NDArray[np.float32], *, n_packs: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pack equally many items into each pack, heaviest first, into the lightest with room.

    Parameters
    ----------
    weight : ndarray of shape (rows, n)
        Weights of items; each row is packed on its own.
    n_packs : int
        Packs; it divides n.

    Returns
    -------
    pack, place : ndarray of shape (rows, n), int64
        Pack of each item and its place in the pack. The first pack wins ties.
    """
    n_rows, n_items = weight.shape
    capacity = n_items // n_packs
    pack = np.empty((n_rows, n_items), np.int64)
    place = np.zeros((n_rows, n_items), np.int64)
    if capacity == 1:
        pack[:] = np.arange(n_items)
        return pack, place
    order = np.argsort(-weight, axis=1, kind="stable")
    load = np.zeros((n_rows, n_packs), np.float32)
    filled = np.zeros((n_rows, n_packs), np.int64)
    row = np.arange(n_rows)
    for rank in range(n_items):
        item = order[:, rank]
        lightest = np.argmin(np.where(filled < capacity, load, np.inf), axis=1)
        pack[row, item] = lightest
        place[row, item] = filled[row, lightest]
        load[row, lightest] += weight[row, item]
        filled[row, lightest] += 1
    return pack, place


def replicate(
    weight: NDArray[np.float32], *, n_slots: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each further slot to the expert with the highest load per replica.

    Parameters
    ----------
    weight : ndarray of shape (rows, n)
        Loads of experts; each row is replicated on its own.
    n_slots : int
        Slots, at least n.

    Returns
    -------
    expert : ndarray of shape (rows, n_slots), int64
        Expert of each slot: all once, then the replicas as they were given out.
    n_replicas : ndarray of shape (rows, n), int64
        Slots of each expert.
    """
    n_rows, n_experts = weight.shape
    expert = np.empty((n_rows, n_slots), np.int64)
    expert[:, :n_experts] = np.arange(n_experts)
    n_replicas = np.ones((n_rows, n_experts), np.int64)
    row = np.arange(n_rows)
    for slot in range(n_experts, n_slots):
        hottest = np.argmax(weight / n_replicas.astype(np.float32), axis=1)
        expert[:, slot] = hottest
        n_replicas[row, hottest] += 1
    return expert, n_replicas


def _place(
    loads: NDArray[np.float32], *, n_physical: int, n_groups: int, n_nodes: int, n_ranks: int
) -> NDArray[np.int64]:
    """Return the expert of each slot, shape (L, P)."""
    n_layers, n_experts = loads.shape
    group_size = n_experts // n_groups
    grouped = loads.reshape(n_layers, n_groups, group_size)
    group_load: NDArray[np.float32] = np.asarray(grouped.sum(axis=2), dtype=np.float32)
    node, place = pack_balanced(group_load, n_packs=n_nodes)
    start = (node * (n_groups // n_nodes) + place) * group_size
    moved = (start[:, :, None] + np.arange(group_size)).reshape(n_layers, n_experts)
    by_node = _inverse(moved)  # expert at each position, nodes one after the other
    per_node = np.take_along_axis(loads, by_node, axis=1).reshape(-1, n_experts // n_nodes)
    expert, n_replicas = replicate(per_node, n_slots=n_physical // n_nodes)
    share: NDArray[np.float32] = np.asarray(per_node / n_replicas, dtype=np.float32)
    slot_load = np.take_along_axis(share, expert, axis=1)
    ranks_per_node = n_ranks // n_nodes
    rank, seat = pack_balanced(slot_load, n_packs=ranks_per_node)
    at = _inverse(rank * (n_physical // n_ranks) + seat)
    placed = np.take_along_axis(expert, at, axis=1).reshape(n_layers, n_nodes, -1)
    placed += np.arange(n_nodes)[:, None] * (n_experts // n_nodes)
    return np.take_along_axis(by_node, placed.reshape(n_layers, -1), axis=1)


def _inverse(permutation: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.argsort(permutation, axis=1, kind="stable")
