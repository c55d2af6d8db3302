"""Links as shared resources on the clock: transfers that slow each other down fairly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import LateEvent
from rackmoe.errors import CapacityError, InvariantError, TopologyError
from rackmoe.network.arbitration import Arbitration, TrafficClass
from rackmoe.network.flow_solve import RateSolver
from rackmoe.network.flow_table import FlowTable
from rackmoe.network.flow_updates import (
    CAPACITY,
    IS_WATCHED,
    LINK_RATE,
    MAX_HOPS,
    N_ON,
    NEVER_PS,
    RESERVED,
)

__all__ = ["Fabric", "LinkCounters", "Transfer"]

_CLASSES = tuple(TrafficClass)
_CLASS_INDEX = {name: index for index, name in enumerate(_CLASSES)}
_FIRST_SLOTS = 64


class Transfer(simpy.Event):
    """Bytes on their way; succeeds when the last one has arrived.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    slot : int
        Place in the flow table; -1 once the transfer is over.
    """

    def __init__(self, env: simpy.Environment, slot: int) -> None:
        super().__init__(env)
        self.slot = slot


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCounters:
    """What each link has carried since the start.

    Parameters
    ----------
    moved_bytes : ndarray of shape (n_classes, n_links)
        Bytes by class, in the order of `TrafficClass`. [B]
    busy_s : ndarray of shape (n_links,)
        Time with at least one transfer. [s]
    class_busy_s : ndarray of shape (n_classes, n_links)
        Time with at least one transfer of each class. [s]
    """

    moved_bytes: NDArray[np.float64]
    busy_s: NDArray[np.float64]
    class_busy_s: NDArray[np.float64]


class Fabric:
    """Directed links on which transfers share bandwidth by weighted max-min fairness.

    Rates are solved for the links that a change can reach, once per instant;
    one alarm is pending, for the earliest finish.

    Parameters
    ----------
    env : simpy.Environment
        A clock that counts integer picoseconds.
    capacity_bytes_per_s : ndarray of shape (n_links,)
        Capacity of each link. [B/s]
    names : sequence of str
        Name of each link.
    arbitration : Arbitration
        How classes of traffic share a link.
    class_weights : mapping of TrafficClass to float, optional
        Weights for `Arbitration.CLASSES`; 1 by default.
    """

    def __init__(
        self,
        env: simpy.Environment,
        capacity_bytes_per_s: NDArray[np.float64],
        *,
        names: Sequence[str],
        arbitration: Arbitration = Arbitration.PER_FLOW,
        class_weights: Mapping[TrafficClass, float] | None = None,
    ) -> None:
        capacity = np.asarray(capacity_bytes_per_s, np.float64)
        if len(names) != capacity.size:
            msg = (
                f"fabric: {len(names)} names for {capacity.size} capacities; expected one name "
                "per link; give both in the same order"
            )
            raise TopologyError(msg)
        self.env = env
        self.names = tuple(names)
        self._index = {name: link for link, name in enumerate(self.names)}
        weights = class_weights or {}
        class_weight = np.array([float(weights.get(c, 1.0)) for c in _CLASSES])
        self._solver = RateSolver(arbitration, class_weight=class_weight)
        self._table = FlowTable.of_links(capacity, n_classes=len(_CLASSES), n_slots=_FIRST_SLOTS)
        self._transfers: list[Transfer | None] = [None] * _FIRST_SLOTS
        self._free = list(range(_FIRST_SLOTS - 1, -1, -1))
        self._dirty: list[int] = []
        self._is_settling = False
        self._alarm_ps = NEVER_PS
        self._watchers: dict[int, list[Callable[[], None]]] = {}
        self._paths: dict[Sequence[int], NDArray[np.int64]] = {}

    @property
    def n_solves(self) -> int:
        """Solves until now."""
        return self._solver.n_solves

    @property
    def n_links(self) -> int:
        """Number of links."""
        return len(self.names)

    @property
    def capacity_bytes_per_s(self) -> NDArray[np.float64]:
        """Capacity of each link [B/s]."""
        return np.asarray(self._table.link_values[CAPACITY].copy())

    def link(self, name: str) -> int:
        """Return the number of a link.

        Parameters
        ----------
        name : str
            As given in `names`.
        """
        if name not in self._index:
            msg = (
                f"fabric: no link {name!r}; expected one of {self.n_links} names such as "
                f"{self.names[0]!r}; see Fabric.names"
            )
            raise TopologyError(msg)
        return self._index[name]

    def transfer(
        self,
        links: tuple[int, ...],
        *,
        n_bytes: float,
        weight: float = 1.0,
        traffic_class: TrafficClass = TrafficClass.KV,
    ) -> Transfer:
        """Start to move bytes over a path; latencies are the caller's.

        Parameters
        ----------
        links : tuple of int
            Links of the path, at most 8.
        n_bytes : float
            What to move; nothing to move is done at once. [B]
        weight : float
            Share relative to other transfers of the same class.
        traffic_class : TrafficClass
            What it is for.

        Returns
        -------
        Transfer
            An event that succeeds at the finish.

        Raises
        ------
        TopologyError
            If the path is empty, too long or crosses an unknown link.
        CapacityError
            If the size or the weight is not a sensible number.
        """
        path = self._paths.get(links)
        if path is None:
            path = self._checked_path(links)
        if not 0.0 <= n_bytes < np.inf or not 0.0 < weight < np.inf:
            msg = (
                f"fabric: transfer of {n_bytes} bytes with weight {weight}; expected a finite "
                "size and a positive weight; leave out transfers of nothing"
            )
            raise CapacityError(msg)
        if not self._free:
            self._grow()
        slot = self._free.pop()
        transfer = Transfer(self.env, slot)
        self._transfers[slot] = transfer
        self._table.admit(
            slot,
            path=path,
            n_bytes=n_bytes,
            weight=weight,
            klass=_CLASS_INDEX[traffic_class],
            now_ps=int(self.env.now),
        )
        self._touch(links)
        return transfer

    def cancel(self, transfer: Transfer) -> float:
        """Take a transfer off the links; its event never succeeds.

        Parameters
        ----------
        transfer : Transfer
            A transfer of this fabric; one that is over is left alone.

        Returns
        -------
        float
            What had not been moved. [B]
        """
        slot, now_ps = transfer.slot, int(self.env.now)
        if slot < 0:
            return 0.0
        left_bytes = self._table.left_bytes(slot, now_ps=now_ps)
        self._touch(self._table.path(slot))
        self._table.remove(slot, now_ps=now_ps)
        self._release(slot)
        return left_bytes

    def set_capacity(self, link: int, *, capacity_bytes_per_s: float) -> None:
        """Change the capacity of a link; transfers stall on one without capacity.

        Parameters
        ----------
        link : int
            Which link.
        capacity_bytes_per_s : float
            New capacity. [B/s]
        """
        if not 0.0 <= capacity_bytes_per_s < np.inf:
            msg = (
                f"fabric: {self.names[link]}: capacity {capacity_bytes_per_s} B/s; expected a "
                "finite number that is not negative; use 0 for a failed link"
            )
            raise CapacityError(msg)
        self._table.link_values[CAPACITY, link] = capacity_bytes_per_s
        self._touch((link,))
        for callback in self._watchers.get(link, ()):
            callback()

    def reserve(self, links: NDArray[np.int64], *, bytes_per_s: NDArray[np.float64]) -> None:
        """Keep a part of the links from transfers: what collectives carry on average.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Which links.
        bytes_per_s : ndarray of shape (n,)
            What is kept; it replaces what was kept before. [B/s]
        """
        self._table.link_values[RESERVED, links] = bytes_per_s
        self._touch([int(link) for link in links if self._table.link_counts[N_ON, link]])

    def rates_on(self, links: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what transfers carry on links at this instant, as last solved.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Which links.

        Returns
        -------
        ndarray of shape (n,)
            Total rates. [B/s]
        """
        return np.asarray(self._table.link_values[LINK_RATE, links])

    def reserved_on(self, links: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what is kept from transfers on links.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Which links.

        Returns
        -------
        ndarray of shape (n,)
            Reserved capacity. [B/s]
        """
        return np.asarray(self._table.link_values[RESERVED, links])

    def transfers_on(self, links: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many transfers cross links at this instant.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Which links.
        """
        return np.asarray(self._table.link_counts[N_ON, links])

    def n_on(self, link: int) -> int:
        """Return how many transfers cross one link."""
        return int(self._table.link_counts[N_ON, link])

    def on_change(self, links: Sequence[int], *, callback: Callable[[], None]) -> None:
        """Call back, at most once per solve, when rate or capacity of a link changes.

        Parameters
        ----------
        links : sequence of int
            Which links to watch.
        callback : callable
            Takes no argument; called after the new rates are known.
        """
        for link in links:
            self._watchers.setdefault(int(link), []).append(callback)
            self._table.link_counts[IS_WATCHED, link] = 1

    def counters(self) -> LinkCounters:
        """Return what each link has carried until now."""
        now_ps = int(self.env.now)
        return LinkCounters(
            moved_bytes=self._table.moved_until_bytes(now_ps),
            busy_s=self._table.busy_until_s(now_ps),
            class_busy_s=self._table.class_busy_until_s(now_ps),
        )

    def _checked_path(self, links: tuple[int, ...]) -> NDArray[np.int64]:
        # plain Python: on a handful of links NumPy would cost more than the rest of a transfer
        is_known = all(0 <= link < self.n_links for link in links)
        if not 0 < len(links) <= MAX_HOPS or not is_known or len(set(links)) < len(links):
            msg = (
                f"fabric: path {links}; expected 1 to {MAX_HOPS} different links below "
                f"{self.n_links}; join parallel links into one"
            )
            raise TopologyError(msg)
        path = np.array(links, np.int64)
        self._paths[links] = path
        return path

    def _grow(self) -> None:
        n_old = self._table.n_slots
        self._table.grow()
        self._free = list(range(2 * n_old - 1, n_old - 1, -1))
        self._transfers.extend([None] * n_old)

    def _touch(self, links: Sequence[int]) -> None:
        self._dirty.extend(links)
        if not self._is_settling:
            self._is_settling = True
            LateEvent(self.env).callbacks.append(self._settle)

    def _settle(self, _: simpy.Event) -> None:
        self._is_settling = False
        changed = np.array(self._dirty, np.int64)
        self._dirty.clear()
        next_ps, moved = self._solver.solve(self._table, changed=changed, now_ps=int(self.env.now))
        self._arm(next_ps)
        if moved:
            self._notify(moved)

    def _notify(self, links: Sequence[int]) -> None:
        callbacks = {id(c): c for link in links for c in self._watchers.get(link, ())}
        for callback in callbacks.values():
            callback()

    def _arm(self, next_ps: int) -> None:
        # An alarm that proves too early looks again; a later one finds itself superseded.
        if next_ps < self._alarm_ps:
            self._alarm_ps = next_ps
            alarm = self.env.timeout(next_ps - self.env.now)
            alarm.callbacks.append(self._ring)

    def _ring(self, _: simpy.Event) -> None:
        if self.env.now != self._alarm_ps:
            return
        self._alarm_ps = NEVER_PS
        due, next_ps = self._table.pop_due(int(self.env.now))
        for slot in due:
            self._touch(self._table.path(slot))
            self._release(slot).succeed()
        if not due:
            self._arm(next_ps)

    def _release(self, slot: int) -> Transfer:
        transfer = self._transfers[slot]
        if transfer is None:
            msg = f"fabric: slot {slot} holds no transfer; a slot was freed twice; report this bug"
            raise InvariantError(msg)
        transfer.slot = -1
        self._transfers[slot] = None
        self._free.append(slot)
        return transfer
