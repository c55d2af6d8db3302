"""How far a placement is from the best possible balance."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

from rackmoe.errors import InvariantError, ShapeError
from rackmoe.routing.eplb import replicate
from rackmoe.routing.placement import Placement, check_ep

__all__ = ["best_split_imbalance", "imbalance_floor", "placed_imbalance"]


def placed_imbalance(load: NDArray[np.number], *, placement: Placement) -> NDArray[np.float64]:
    """Return the imbalance where the replicas of an expert share its load equally.

    Parameters
    ----------
    load : ndarray of shape (L, E)
        Load of each expert, in any unit.
    placement : Placement
        Where the experts are.

    Returns
    -------
    ndarray of shape (L,)
        Load of the busiest rank over the mean; 1 for a layer without load.
    """
    loads = _checked(load, placement)
    share = np.take_along_axis(loads / placement.n_replicas, _slots(placement), axis=1)
    per_rank = share.reshape(len(loads), placement.n_ranks, -1).sum(axis=2)
    return _ratio(per_rank.max(axis=1), per_rank.mean(axis=1))


def best_split_imbalance(load: NDArray[np.number], *, placement: Placement) -> NDArray[np.float64]:
    r"""Return the least imbalance that any choice of replicas gives under a placement.

    Parameters
    ----------
    load : ndarray of shape (L, E)
        Load of each expert, in any unit.
    placement : Placement
        Where the experts are.

    Returns
    -------
    ndarray of shape (L,)
        Load of the busiest rank over the mean; 1 for a layer without load.

    Raises
    ------
    InvariantError
        If the solver fails.

    Notes
    -----
    A linear program for each layer [1]_, solved by HiGHS: with the load x of
    each slot and the load w of each expert,

    .. math:: \min t, \quad \sum_{s \in e} x_s = w_e, \quad
       \sum_{s \in r} x_s \le t, \quad x \ge 0

    References
    ----------
    .. [1] DeepSeek-AI, "LPLB: linear-programming-based load balancer," 2025.
    """
    loads = _checked(load, placement)
    mean = loads.sum(axis=1) / placement.n_ranks
    slots = _slots(placement)
    busiest = np.array(
        [
            _least_maximum(row, experts=experts, n_ranks=placement.n_ranks) if row.any() else 0.0
            for row, experts in zip(loads, slots, strict=True)
        ]
    )
    return _ratio(busiest, mean)


def imbalance_floor(
    load: NDArray[np.number], *, n_ranks: int, n_redundant: int = 0
) -> NDArray[np.float64]:
    r"""Return an imbalance that no placement with equal shares of replicas undercuts.

    Parameters
    ----------
    load : ndarray of shape (L, E)
        Load of each expert, in any unit.
    n_ranks : int
        Ranks of the group.
    n_redundant : int
        Slots beyond one for each expert.

    Returns
    -------
    ndarray of shape (L,)
        A lower bound; 1 where nothing forbids exact balance.

    Notes
    -----
    Greedy replication gives the smallest possible busiest slot v, because the load
    per replica of an expert falls with each of its replicas [1]_. Without redundant
    experts, the rank of the busiest expert also holds at least the lightest others:

    .. math:: t \ge \max(\bar w, v + \sum_{i < P/R} w_{(i)} [P = E])

    References
    ----------
    .. [1] B. Fox, "Discrete optimization via marginal analysis," Management
       Science, vol. 13, no. 3, pp. 210-216, 1966.
    """
    loads = np.asarray(load, dtype=np.float64)
    if loads.ndim != 2:  # noqa: PLR2004 - layers and experts
        raise ShapeError(
            f"load: shape {loads.shape}; expected layers and experts; give one row for each layer"
        )
    n_physical = loads.shape[1] + n_redundant
    check_ep(n_ranks, n_physical=n_physical)
    _, n_replicas = replicate(loads.astype(np.float32), n_slots=n_physical)
    least = (loads / n_replicas).max(axis=1)
    if n_redundant == 0:
        n_others = n_physical // n_ranks - 1
        least = least + np.sort(loads, axis=1)[:, :n_others].sum(axis=1)
    mean = loads.sum(axis=1) / n_ranks
    return _ratio(np.maximum(least, mean), mean)


def _least_maximum(
    load: NDArray[np.float64], *, experts: NDArray[np.int64], n_ranks: int
) -> float:
    n_slots = experts.size
    slot = np.arange(n_slots)
    scale = load.max()
    owners = coo_array((np.ones(n_slots), (experts, slot)), shape=(load.size, n_slots + 1))
    rank = slot // (n_slots // n_ranks)
    limits = coo_array(
        (
            np.r_[np.ones(n_slots), -np.ones(n_ranks)],
            (np.r_[rank, np.arange(n_ranks)], np.r_[slot, np.full(n_ranks, n_slots)]),
        ),
        shape=(n_ranks, n_slots + 1),
    )
    found = linprog(
        np.r_[np.zeros(n_slots), 1.0],
        A_ub=limits.tocsr(),
        b_ub=np.zeros(n_ranks),
        A_eq=owners.tocsr(),
        b_eq=load / scale,
        method="highs",
    )
    if not found.success:
        raise InvariantError(f"best split: {found.message}; expected a solution; report it")
    return float(found.fun * scale)


def _checked(load: NDArray[np.number], placement: Placement) -> NDArray[np.float64]:
    loads = np.asarray(load, dtype=np.float64)
    expected = (placement.n_layers, placement.n_experts)
    if loads.shape != expected:
        raise ShapeError(
            f"load: shape {loads.shape}; expected {expected}; count the layers of the placement"
        )
    return loads


def _slots(placement: Placement) -> NDArray[np.int64]:
    return placement.slots.astype(np.int64)


def _ratio(busiest: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(busiest, mean, out=np.ones_like(mean), where=mean > 0)
