"""How a port divides its capacity between the collectives of a replica and other traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Arbitration",
    "TrafficClass",
    "collective_capacity_bytes_per_s",
    "has_meeting_flows",
]


class Arbitration(StrEnum):
    """The rule by which traffic of several kinds shares a port.

    It decides between no effect and a threefold stretch of a collective beside
    cache transfers, so it is a setting of the machine, to be calibrated.
    """

    PER_FLOW = "per_flow"
    CLASSES = "classes"
    PRIORITY = "priority"


class TrafficClass(StrEnum):
    """What a transfer is for, in order of priority."""

    COLLECTIVE = "collective"
    PIPELINE = "pipeline"
    KV = "kv"
    EXPERT = "expert"
    WEIGHTS = "weights"


def collective_capacity_bytes_per_s(
    capacity_bytes_per_s: NDArray[np.float64],
    *,
    arbitration: Arbitration,
    n_collective_flows: NDArray[np.int64] | int,
    n_foreign_flows: NDArray[np.int64],
    foreign_bytes_per_s: NDArray[np.float64],
    collective_weight: float = 1.0,
    foreign_weight: float = 1.0,
) -> NDArray[np.float64]:
    r"""Return what is left of each port for a collective beside foreign flows.

    Parameters
    ----------
    capacity_bytes_per_s : ndarray of shape (n_ports,)
        Capacity of each port, one direction. [B/s]
    arbitration : Arbitration
        Sharing rule of the port.
    n_collective_flows : ndarray of shape (n_ports,) or int
        Peers that a rank exchanges data with at the same time.
    n_foreign_flows : ndarray of shape (n_ports,)
        Other flows on each port.
    foreign_bytes_per_s : ndarray of shape (n_ports,)
        What the other flows would carry if the port served only them. [B/s]
    collective_weight, foreign_weight : float
        Weights of the two classes; used by `Arbitration.CLASSES` alone.

    Returns
    -------
    ndarray of shape (n_ports,)
        Capacity for the collective while the foreign flows last. [B/s]

    Notes
    -----
    With :math:`w` the weights of the classes, the numbers of flows, or 1 and 0:

    .. math:: C_\mathrm{eff} = \max\bigl(C\, w_a / (w_a + w_f),\; C - r_f\bigr)

    where :math:`r_f` is the foreign rate: what is bound elsewhere takes less
    than its share. Foreign flows get what the collective leaves over its
    whole duration. Where foreign flows of one port meet again at another this
    falls up to 30 % short of per-flow weights; the flow tier covers it.
    """
    capacity = np.asarray(capacity_bytes_per_s, np.float64)
    n_foreign = np.asarray(n_foreign_flows, np.float64)
    if arbitration is Arbitration.PRIORITY:
        share_frac = np.ones_like(capacity)
    elif arbitration is Arbitration.PER_FLOW:
        n_own = np.asarray(n_collective_flows, np.float64)
        share_frac = n_own / np.maximum(n_own + n_foreign, 1.0)
    else:
        share_frac = np.where(
            n_foreign > 0.0, collective_weight / (collective_weight + foreign_weight), 1.0
        )
    return np.maximum(capacity * share_frac, capacity - foreign_bytes_per_s)


def has_meeting_flows(paths: Iterable[tuple[int, ...]]) -> bool:
    """Return whether foreign flows share one of their links but not all of them.

    Flows that meet at a destination hold each other back, so that at their sources they
    take less than the share that `collective_capacity_bytes_per_s` gives them: it is then
    up to 50 % off, and the exchange needs a look at `flow`.

    Parameters
    ----------
    paths : iterable of tuple of int
        Links of each foreign flow.

    Returns
    -------
    bool
        False also where flows share a whole path: there they are as one.

    Examples
    --------
    >>> has_meeting_flows([(0, 5), (1, 6)]), has_meeting_flows([(0, 5), (1, 5)])
    (False, True)
    """
    counts: Counter[tuple[int, ...]] = Counter(tuple(path) for path in paths)
    on_link = Counter(link for path in counts for link in path)
    return any(n_paths > 1 for n_paths in on_link.values())
