"""The state of flows that start and finish on shared links."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.flow_updates import (
    BUSY_S,
    BUSY_SINCE_PS,
    CAPACITY,
    CLASS,
    CLASS_ON,
    CLASS_SINCE_PS,
    FIRST,
    LEFT,
    LINK_MARK,
    MAX_HOPS,
    N_HOPS,
    N_ON,
    PS_PER_S,
    RATE,
    SINCE_PS,
    SIZE,
    admit_flow,
    pop_due_flows,
    remove_flow,
)

__all__ = ["FlowTable"]


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
    class_counts : ndarray of shape (2, n_classes, n_links)
        Rows CLASS_ON, CLASS_SINCE_PS.
    class_busy_s : ndarray of shape (n_classes, n_links)
        Time with flows of a class, closed so far. [s]
    """

    link_values: NDArray[np.float64]
    link_counts: NDArray[np.int64]
    flow_values: NDArray[np.float64]
    flow_counts: NDArray[np.int64]
    hops: NDArray[np.int64]
    chain: NDArray[np.int64]
    active: NDArray[np.int64]
    moved_bytes: NDArray[np.float64]
    class_counts: NDArray[np.int64]
    class_busy_s: NDArray[np.float64]

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
            class_counts=np.zeros((2, n_classes, n_links), np.int64),
            class_busy_s=np.zeros((n_classes, n_links)),
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
        admit_flow(
            slot,
            path,
            n_bytes,
            weight,
            klass,
            now_ps,
            self.link_counts,
            self.class_counts,
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
        remove_flow(
            slot,
            now_ps,
            self.link_values,
            self.link_counts,
            self.class_counts,
            self.class_busy_s,
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
        n_due, next_ps = pop_due_flows(
            now_ps,
            self.link_values,
            self.link_counts,
            self.class_counts,
            self.class_busy_s,
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

    def class_busy_until_s(self, now_ps: int) -> NDArray[np.float64]:
        """Return the time in which each link had at least one flow of each class.

        Parameters
        ----------
        now_ps : int
            Time, not before the last update. [ps]

        Returns
        -------
        ndarray of shape (n_classes, n_links)
            Busy time. [s]
        """
        open_s = (now_ps - self.class_counts[CLASS_SINCE_PS]) / PS_PER_S
        is_busy = self.class_counts[CLASS_ON] > 0
        return np.asarray(self.class_busy_s + np.where(is_busy, open_s, 0.0))
