"""Place experts by the loads of many steps, so that the busiest slot of each step is light."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.routing.eplb import pack_balanced
from rackmoe.routing.placement import Placement, check_ep

__all__ = ["deal_serpentine", "eplb_vec", "replicate_by_steps"]

_TIE_BREAK = 1e-4  # per expert id, as SGLang adds to loads, so that two never tie


def eplb_vec(
    counts: NDArray[np.number],
    *,
    n_ranks: int,
    n_redundant: int = 0,
    n_groups: int = 1,
    ranks_per_node: int | None = None,
    is_hierarchical: bool = False,
) -> Placement:
    """Place experts so that the busiest slots of successive steps are light in sum.

    EPLB sees one mean load of each expert; this variant sees each step, so that
    experts which are busy at the same time count, not only those which are busy
    on average.

    Parameters
    ----------
    counts : ndarray of shape (S, L, E)
        Load of each expert in each step, in any unit.
    n_ranks : int
        Ranks of the expert-parallel group.
    n_redundant : int
        Slots beyond one for each expert.
    n_groups : int
        Groups of consecutive experts that the gate limits tokens to.
    ranks_per_node : int, optional
        Ranks in one scale-up domain; all of them if not given.
    is_hierarchical : bool
        Keep the groups together on nodes.

    Returns
    -------
    Placement
        Slots grouped by rank.

    Raises
    ------
    ConfigError
        If loads are not finite or negative, the slots do not fill ranks and
        nodes, or groups cannot be kept together.

    Notes
    -----
    The policy ``deepseek_vec`` of SGLang [1]_: groups are packed onto nodes by
    their load; each further slot of a node goes to the expert whose replication
    leaves the smallest sum over steps of the largest load of a slot; then the
    slots, heaviest first, are dealt to the ranks forth and back.

    References
    ----------
    .. [1] SGLang, expert-parallel load balancer, policy ``deepseek_vec``, 2025.
    """
    loads = np.asarray(counts, dtype=np.float64)
    if loads.ndim != 3 or not loads.size or not np.isfinite(loads).all() or (loads < 0).any():  # noqa: PLR2004 - axes
        raise ConfigError(
            f"eplb_vec: loads of shape {loads.shape}; expected finite loads of at least 0 for "
            "each step, layer and expert; count assignments per logical expert"
        )
    n_steps, n_layers, n_experts = loads.shape
    n_physical = n_experts + n_redundant
    check_ep(n_ranks, n_physical=n_physical)
    n_nodes = n_ranks // (ranks_per_node or n_ranks) if is_hierarchical else 1
    groups = n_groups if is_hierarchical else 1
    if groups % n_nodes or n_experts % groups:
        raise ConfigError(
            f"eplb_vec: {groups} groups on {n_nodes} nodes; expected the nodes to divide "
            "the groups; use the global variant"
        )
    moved = _groups_on_nodes(loads.sum(axis=0), n_groups=groups, n_nodes=n_nodes)
    by_node = np.take_along_axis(loads, moved[None], axis=2)
    parts = by_node.reshape(n_steps, n_layers * n_nodes, n_experts // n_nodes)
    expert, n_replicas = replicate_by_steps(parts, n_slots=n_physical // n_nodes)
    per_slot = np.take_along_axis(parts.sum(axis=0) / n_replicas, expert, axis=1)
    order = deal_serpentine(per_slot, n_ranks=n_ranks // n_nodes)
    placed = np.take_along_axis(expert, order, axis=1).reshape(n_layers, n_nodes, -1)
    placed += np.arange(n_nodes)[:, None] * (n_experts // n_nodes)
    return Placement.from_slots(
        np.take_along_axis(moved, placed.reshape(n_layers, -1), axis=1),
        n_experts=n_experts,
        n_ranks=n_ranks,
        ranks_per_node=ranks_per_node,
    )


def replicate_by_steps(
    loads: NDArray[np.float64], *, n_slots: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each further slot to the expert that lowers the steps' maxima most.

    Parameters
    ----------
    loads : ndarray of shape (S, rows, n)
        Loads of experts in each step; each row is replicated on its own.
    n_slots : int
        Slots, at least n.

    Returns
    -------
    expert : ndarray of shape (rows, n_slots), int64
        Expert of each slot: all once, then the replicas as they were given out.
    n_replicas : ndarray of shape (rows, n), int64
        Slots of each expert.
    """
    _, n_rows, n_experts = loads.shape
    expert = np.empty((n_rows, n_slots), np.int64)
    expert[:, :n_experts] = np.arange(n_experts)
    n_replicas = np.ones((n_rows, n_experts), np.int64)
    distinct = loads + np.arange(n_experts) * _TIE_BREAK
    row = np.arange(n_rows)
    for slot in range(n_experts, n_slots):
        share = distinct / n_replicas
        top = share.argmax(axis=2)[..., None]
        highest = np.take_along_axis(share, top, axis=2)
        # replicating any other expert leaves a step's maximum as it is
        eased = np.take_along_axis(loads / (n_replicas + 1), top, axis=2)
        np.put_along_axis(share, top, eased, axis=2)
        gain = np.zeros((n_rows, n_experts))
        step_gain = highest - share.max(axis=2, keepdims=True)
        np.add.at(gain, (np.broadcast_to(row, top.shape[:2]), top[..., 0]), step_gain[..., 0])
        best = gain.argmax(axis=1)
        expert[:, slot] = best
        n_replicas[row, best] += 1
    return expert, n_replicas


def deal_serpentine(slot_loads: NDArray[np.float64], *, n_ranks: int) -> NDArray[np.int64]:
    """Deal slots to ranks, heaviest first, forth and back.

    Parameters
    ----------
    slot_loads : ndarray of shape (rows, n)
        Loads of slots; each row is dealt on its own.
    n_ranks : int
        Ranks; they divide n.

    Returns
    -------
    ndarray of shape (rows, n), int64
        The slots in their new order, rank after rank.
    """
    n_rows, n_slots = slot_loads.shape
    order = np.argsort(-slot_loads, axis=1, kind="stable")
    if n_slots == n_ranks:
        return np.tile(np.arange(n_slots), (n_rows, 1))
    rounds = order.reshape(n_rows, n_slots // n_ranks, n_ranks)
    rounds[:, 1::2] = rounds[:, 1::2, ::-1]
    return np.ascontiguousarray(rounds.transpose(0, 2, 1)).reshape(n_rows, n_slots)


def _groups_on_nodes(
    load: NDArray[np.float64], *, n_groups: int, n_nodes: int
) -> NDArray[np.int64]:
    """Return the expert at each position, nodes one after the other, shape (L, E)."""
    n_layers, n_experts = load.shape
    size = n_experts // n_groups
    group_load = load.reshape(n_layers, n_groups, size).sum(axis=2).astype(np.float32)
    node, place = pack_balanced(group_load, n_packs=n_nodes)
    order = np.argsort(node * (n_groups // n_nodes) + place, axis=1, kind="stable")
    moved: NDArray[np.int64] = order[:, :, None] * size + np.arange(size)
    return moved.reshape(n_layers, n_experts)
