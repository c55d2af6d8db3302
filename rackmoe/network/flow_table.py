"""The state of flows that start and finish on shared links, and its compiled updates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["MAX_HOPS", "NEVER_PS", "PS_PER_S", "FlowTable"]

MAX_HOPS = 8
"""Links on the path of one flow, at most."""

NEVER_PS = np.iinfo(np.int64).max
"""Finish of a flow that has no rate. [ps]"""

PS_PER_S = 1e12
"""Picoseconds in a second."""

# rows of link_values: capacity, capacity kept from flows, total rate, busy time closed so far
CAPACITY, RESERVED, LINK_RATE, BUSY_S = range(4)
# rows of link_counts: first crossing, flows, start of the busy time, component mark, watched
FIRST, N_ON, BUSY_SINCE_PS, LINK_MARK, IS_WATCHED = range(5)
# rows of flow_values: bytes left when the rate was last set, rate, weight, size
LEFT, RATE, WEIGHT, SIZE = range(4)
# rows of flow_counts: when the rate was last set, finish, class, hops, place in active, mark
SINCE_PS, FINISH_PS, CLASS, N_HOPS, PLACE, FLOW_MARK = range(6)
# rows of chain: the crossing after and before each crossing of the same link
AFTER, BEFORE = range(2)


@dataclass(slots=True, kw_only=True)
class FlowTable:
    """Links, flows and their crossings as arrays; a crossing is flow x MAX_HOPS + hop.

    Parameters
    ----------
    link_values : ndarray of shape (4, n_links)
        Capacity, reserved capacity and rate [B/s], and busy time [s].
    link_counts : ndarray of shape (5, n_links)
        Rows FIRST, N_ON, BUSY_SINCE_PS, LINK_MARK, IS_WATCHED.
    flow_values : ndarray of shape (4, n_slots)
        Bytes left [B], rate [B/s], weight, size [B].
    flow_counts : ndarray of shape (6, n_slots)
        Rows SINCE_PS, FINISH_PS, CLASS, N_HOPS, PLACE, FLOW_MARK.
    hops : ndarray of shape (n_slots, MAX_HOPS)
        Links of each flow.
    chain : ndarray of shape (2, n_slots * MAX_HOPS)
        Doubly linked list of the crossings of each link.
    active : ndarray of shape (n_slots + 1,)
        Slots in use; the last element is their number.
    moved_bytes : ndarray of shape (n_classes, n_links)
        Bytes of the flows that have left the table. [B]
    """

    link_values: NDArray[np.float64]
    link_counts: NDArray[np.int64]
    flow_values: NDArray[np.float64]
    flow_counts: NDArray[np.int64]
    hops: NDArray[np.int64]
    chain: NDArray[np.int64]
    active: NDArray[np.int64]
    moved_bytes: NDArray[np.float64]

    @classmethod
    def of_links(
        cls, capacity_bytes_per_s: NDArray[np.float64], *, n_classes: int, n_slots: int
    ) -> FlowTable:
        """Return an empty table.

        Parameters
        ----------
        capacity_bytes_per_s : ndarray of shape (n_links,)
            Capacity of each link. [B/s]
        n_classes : int
            Classes of traffic to count.
        n_slots : int
            Flows that fit before the table has to grow.
        """
        n_links = capacity_bytes_per_s.size
        link_values = np.zeros((4, n_links))
        link_values[CAPACITY] = capacity_bytes_per_s
        link_counts = np.zeros((5, n_links), np.int64)
        link_counts[FIRST] = -1
        link_counts[LINK_MARK] = -1
        return cls(
            link_values=link_values,
            link_counts=link_counts,
            flow_values=np.zeros((4, n_slots)),
            flow_counts=np.full((6, n_slots), -1, np.int64),
            hops=np.full((n_slots, MAX_HOPS), -1, np.int64),
            chain=np.full((2, n_slots * MAX_HOPS), -1, np.int64),
            active=np.zeros(n_slots + 1, np.int64),
            moved_bytes=np.zeros((n_classes, n_links)),
        )

    @property
    def n_slots(self) -> int:
        """Flows that fit."""
        return int(self.hops.shape[0])

    def grow(self) -> None:
        """Double the number of flows that fit."""
        n_old = self.n_slots
        n_active = self.active[n_old]
        self.flow_values = np.concatenate((self.flow_values, np.zeros((4, n_old))), axis=1)
        fresh = np.full((6, n_old), -1, np.int64)
        self.flow_counts = np.concatenate((self.flow_counts, fresh), axis=1)
        fresh = np.full((n_old, MAX_HOPS), -1, np.int64)
        self.hops = np.concatenate((self.hops, fresh))
        fresh = np.full((2, n_old * MAX_HOPS), -1, np.int64)
        self.chain = np.concatenate((self.chain, fresh), axis=1)
        active = np.zeros(2 * n_old + 1, np.int64)
        active[:n_old] = self.active[:n_old]
        active[2 * n_old] = n_active
        self.active = active

    def admit(
        self,
        slot: int,
        *,
        path: NDArray[np.int64],
        n_bytes: float,
        weight: float,
        klass: int,
        now_ps: int,
    ) -> None:
        """Put a flow into a free slot; it has no rate before the next solve.

        Parameters
        ----------
        slot : int
            Free slot.
        path : ndarray of shape (n_hops,)
            Its links.
        n_bytes : float
            Its size. [B]
        weight : float
            Its weight.
        klass : int
            Its class of traffic.
        now_ps : int
            Time. [ps]
        """
        _admit(
            slot,
            path,
            n_bytes,
            weight,
            klass,
            now_ps,
            self.link_counts,
            self.flow_values,
            self.flow_counts,
            self.hops,
            self.chain,
            self.active,
        )

    def remove(self, slot: int, *, now_ps: int) -> None:
        """Take a flow off its links and count what it carried.

        Parameters
        ----------
        slot : int
            Slot of the flow.
        now_ps : int
            Time. [ps]
        """
        _remove(
            slot,
            now_ps,
            self.link_values,
            self.link_counts,
            self.flow_values,
            self.flow_counts,
            self.hops,
            self.chain,
            self.active,
            self.moved_bytes,
        )

    def pop_due(self, now_ps: int) -> tuple[list[int], int]:
        """Remove the flows that have finished.

        Parameters
        ----------
        now_ps : int
            Time. [ps]

        Returns
        -------
        due : list of int
            Slots of the finished flows.
        next_ps : int
            Earliest finish of the others at their present rates. [ps]
        """
        due = np.empty(self.active[-1], np.int64)
        n_due, next_ps = _pop_due(
            now_ps,
            self.link_values,
            self.link_counts,
            self.flow_values,
            self.flow_counts,
            self.hops,
            self.chain,
            self.active,
            self.moved_bytes,
            due,
        )
        return due[:n_due].tolist(), int(next_ps)

    def left_bytes(self, slot: int, *, now_ps: int) -> float:
        """Return what a flow has yet to move at a time not before its last update. [B]."""
        went_s = (now_ps - int(self.flow_counts[SINCE_PS, slot])) / PS_PER_S
        left = self.flow_values[LEFT, slot] - self.flow_values[RATE, slot] * went_s
        return max(float(left), 0.0)

    def path(self, slot: int) -> list[int]:
        """Return the links of a flow, also of one that was just removed.

        Parameters
        ----------
        slot : int
            Slot of the flow.
        """
        links: list[int] = self.hops[slot, : self.flow_counts[N_HOPS, slot]].tolist()
        return links

    def moved_until_bytes(self, now_ps: int) -> NDArray[np.float64]:
        """Return the bytes that each link has carried by class, unfinished flows included.

        Parameters
        ----------
        now_ps : int
            Time, not before the last update. [ps]

        Returns
        -------
        ndarray of shape (n_classes, n_links)
            Bytes. [B]
        """
        moved_bytes = self.moved_bytes.copy()
        for f in self.active[: self.active[-1]].tolist():
            sent_bytes = self.flow_values[SIZE, f] - self.left_bytes(f, now_ps=now_ps)
            moved_bytes[self.flow_counts[CLASS, f], self.path(f)] += sent_bytes
        return moved_bytes

    def busy_until_s(self, now_ps: int) -> NDArray[np.float64]:
        """Return the time in which each link had at least one flow.

        Parameters
        ----------
        now_ps : int
            Time, not before the last update. [ps]

        Returns
        -------
        ndarray of shape (n_links,)
            Busy time. [s]
        """
        open_s = (now_ps - self.link_counts[BUSY_SINCE_PS]) / PS_PER_S
        is_busy = self.link_counts[N_ON] > 0
        return np.asarray(self.link_values[BUSY_S] + np.where(is_busy, open_s, 0.0))


@njit(cache=True)
def _admit(
    f: int,
    path: NDArray[np.int64],
    n_bytes: float,
    weight: float,
    traffic_class: int,
    now_ps: int,
    link_counts: NDArray[np.int64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    active: NDArray[np.int64],
) -> None:
    # Put a flow into the free slot f; it has no rate before the next solve.
    flow_values[LEFT, f] = n_bytes
    flow_values[RATE, f] = 0.0
    flow_values[WEIGHT, f] = weight
    flow_values[SIZE, f] = n_bytes
    flow_counts[SINCE_PS, f] = now_ps
    flow_counts[FINISH_PS, f] = NEVER_PS
    flow_counts[CLASS, f] = traffic_class
    flow_counts[N_HOPS, f] = path.size
    flow_counts[PLACE, f] = active[-1]
    active[active[-1]] = f
    active[-1] += 1
    for j in range(path.size):
        m = path[j]
        crossing = f * MAX_HOPS + j
        first = link_counts[FIRST, m]
        hops[f, j] = m
        chain[AFTER, crossing] = first
        chain[BEFORE, crossing] = -1
        if first >= 0:
            chain[BEFORE, first] = crossing
        link_counts[FIRST, m] = crossing
        if link_counts[N_ON, m] == 0:
            link_counts[BUSY_SINCE_PS, m] = now_ps
        link_counts[N_ON, m] += 1


@njit(cache=True)
def _remove(
    f: int,
    now_ps: int,
    link_values: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    active: NDArray[np.int64],
    moved_bytes: NDArray[np.float64],
) -> None:
    # Take a flow off its links and count what it carried.
    sent_bytes = flow_values[SIZE, f]
    if flow_counts[FINISH_PS, f] > now_ps:
        went_s = (now_ps - flow_counts[SINCE_PS, f]) / PS_PER_S
        sent_bytes -= flow_values[LEFT, f] - flow_values[RATE, f] * went_s
    for j in range(flow_counts[N_HOPS, f]):
        m = hops[f, j]
        crossing = f * MAX_HOPS + j
        after, before = chain[AFTER, crossing], chain[BEFORE, crossing]
        if after >= 0:
            chain[BEFORE, after] = before
        if before >= 0:
            chain[AFTER, before] = after
        else:
            link_counts[FIRST, m] = after
        moved_bytes[flow_counts[CLASS, f], m] += sent_bytes
        link_counts[N_ON, m] -= 1
        if link_counts[N_ON, m] == 0:
            busy_s = (now_ps - link_counts[BUSY_SINCE_PS, m]) / PS_PER_S
            link_values[BUSY_S, m] += busy_s
    active[-1] -= 1
    last = active[active[-1]]
    active[flow_counts[PLACE, f]] = last
    flow_counts[PLACE, last] = flow_counts[PLACE, f]


@njit(cache=True)
def _pop_due(
    now_ps: int,
    link_values: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    active: NDArray[np.int64],
    moved_bytes: NDArray[np.float64],
    due: NDArray[np.int64],
) -> tuple[int, int]:
    # A flow is done when the clock has reached its finish, rounded up to a whole picosecond:
    # no tolerance in bytes, which could hang or end flows early.
    n_due = 0
    next_ps = NEVER_PS
    for i in range(active[-1]):
        f = active[i]
        if flow_counts[FINISH_PS, f] <= now_ps:
            due[n_due] = f
            n_due += 1
        else:
            next_ps = min(next_ps, flow_counts[FINISH_PS, f])
    for i in range(n_due):
        _remove(
            due[i],
            now_ps,
            link_values,
            link_counts,
            flow_values,
            flow_counts,
            hops,
            chain,
            active,
            moved_bytes,
        )
    return n_due, next_ps
