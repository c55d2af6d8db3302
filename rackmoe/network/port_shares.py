"""What transfers that meet at their ends leave of each port for the exchanges of a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.arbitration import (
    Arbitration,
    TrafficClass,
    collective_capacity_bytes_per_s,
)
from rackmoe.network.flow_solve import RateSolver
from rackmoe.network.flow_table import FlowTable
from rackmoe.network.flow_updates import RATE

__all__ = ["lone_shares_bytes_per_s", "meeting_links", "solved_shares_bytes_per_s"]

_CLASSES = tuple(TrafficClass)
_ENDLESS_BYTES = 1e24
_FULL_FRAC = 1.0 - 1e-9
"""Used share of a port from which its transfers count as bound by it."""


def lone_shares_bytes_per_s(
    capacity_bytes_per_s: NDArray[np.float64],
    *,
    used_bytes_per_s: NDArray[np.float64],
    rates_bytes_per_s: NDArray[np.float64],
    n_flows: NDArray[np.int64],
    arbitration: Arbitration,
    n_peers: int,
) -> NDArray[np.float64]:
    """Return the capacity of ports that an exchange reaches, each looked at alone.

    Parameters
    ----------
    capacity_bytes_per_s : ndarray of shape (n_ports,)
        Capacity of each port. [B/s]
    used_bytes_per_s, rates_bytes_per_s : ndarray of shape (n_ports,)
        What it carries at this instant, and the part of it that is transfers. [B/s]
    n_flows : ndarray of shape (n_ports,)
        Transfers that cross it.
    arbitration : Arbitration
        Sharing rule of the ports.
    n_peers : int
        Ranks that each rank exchanges data with at the same time.

    Returns
    -------
    ndarray of shape (n_ports,)
        Capacity for the exchange while the transfers last. [B/s]
    """
    rates = rates_bytes_per_s
    # transfers that fill what is reserved for nobody else would take the whole port
    is_full = (rates > 0.0) & (used_bytes_per_s >= _FULL_FRAC * capacity_bytes_per_s)
    return collective_capacity_bytes_per_s(
        capacity_bytes_per_s,
        arbitration=arbitration,
        n_collective_flows=n_peers,
        n_foreign_flows=n_flows,
        foreign_bytes_per_s=np.where(is_full, capacity_bytes_per_s, rates),
    )


def solved_shares_bytes_per_s(
    ports: NDArray[np.int64],
    *,
    capacity_bytes_per_s: NDArray[np.float64],
    flows: Sequence[tuple[TrafficClass, tuple[int, ...]]],
    arbitration: Arbitration,
    n_peers: int,
) -> NDArray[np.float64]:
    """Return the capacity of each port that an exchange reaches beside transfers.

    Where `collective_capacity_bytes_per_s` looks at each port alone, here the transfers
    are followed to all their links: one that is held back at its destination takes less
    than its share at its source. The exchange stands at each port for as many flows as a
    rank has peers and is never short of data.

    Parameters
    ----------
    ports : ndarray of shape (n_ports,)
        Links of the ranks of a group.
    capacity_bytes_per_s : ndarray of shape (n_links,)
        Capacity of each link of the machine. [B/s]
    flows : sequence of (TrafficClass, tuple of int)
        Class and links of each transfer.
    arbitration : Arbitration
        Sharing rule of the links.
    n_peers : int
        Ranks that each rank exchanges data with at the same time.

    Returns
    -------
    ndarray of shape (n_ports,)
        Capacity for the exchange while the transfers last. [B/s]
    """
    used, place = np.unique(
        np.concatenate((ports, *(np.array(path, np.int64) for _, path in flows))),
        return_inverse=True,
    )
    capacity = capacity_bytes_per_s[used]
    is_live = capacity > 0.0
    table = FlowTable.of_links(
        np.where(is_live, capacity, 1.0),
        n_classes=len(_CLASSES),
        n_slots=ports.size + len(flows),
    )
    own = place[: ports.size]
    for slot, port in enumerate(own):
        _admit(table, slot, np.array([port]), float(n_peers), TrafficClass.COLLECTIVE)
    first = ports.size
    for slot, (kind, path) in enumerate(flows, start=ports.size):
        links = place[first : first + len(path)]
        first += len(path)
        if is_live[links].all():
            _admit(table, slot, links, 1.0, kind)
    solver = RateSolver(arbitration, class_weight=np.ones(len(_CLASSES)))
    solver.solve(table, changed=np.arange(used.size), now_ps=0)
    return np.where(is_live[own], table.flow_values[RATE, : ports.size], 0.0)


def meeting_links(
    ports: NDArray[np.int64], *, flows: Sequence[tuple[TrafficClass, tuple[int, ...]]]
) -> tuple[int, ...]:
    """Return where transfers that cross the ports of a group meet others of another path.

    Parameters
    ----------
    ports : ndarray of shape (n_ports,)
        Links of the ranks of the group.
    flows : sequence of (TrafficClass, tuple of int)
        Class and links of each transfer.

    Returns
    -------
    tuple of int
        Links, ascending; see `has_meeting_flows` for why they matter.

    Examples
    --------
    >>> kv = TrafficClass.KV
    >>> meeting_links(np.array([0, 1]), flows=[(kv, (0, 5)), (kv, (1, 5)), (kv, (7, 8))])
    (5,)
    """
    own = frozenset(ports.tolist())
    on_link: dict[int, set[tuple[int, ...]]] = {}
    for _, path in flows:
        for link in path:
            on_link.setdefault(link, set()).add(path)
    return tuple(
        sorted(
            link
            for link, paths in on_link.items()
            if len(paths) > 1 and any(not own.isdisjoint(path) for path in paths)
        )
    )


def _admit(
    table: FlowTable, slot: int, links: NDArray[np.int64], weight: float, kind: TrafficClass
) -> None:
    table.admit(
        slot,
        path=np.asarray(links, np.int64),
        n_bytes=_ENDLESS_BYTES,
        weight=weight,
        klass=_CLASSES.index(kind),
        now_ps=0,
    )
