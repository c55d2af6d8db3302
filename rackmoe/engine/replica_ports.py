"""The ports of one replica: what its steps put on them, and how others slow its steps down."""

from collections import Counter

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import now_ps, to_ps
from rackmoe.engine.group_links import GroupLinks
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.planned import PlannedStep
from rackmoe.engine.ports import Flows
from rackmoe.engine.replica import Replica
from rackmoe.engine.shipments import Shipments
from rackmoe.network.arbitration import Arbitration
from rackmoe.network.link_state import LinkState
from rackmoe.network.port_shares import meeting_links
from rackmoe.network.slowdown import Slowdown

__all__ = ["ReplicaPorts"]

_LEAST_GAP_S = 1e-3
"""Changes of a port that come faster are answered together (kind: assumed; bounds the cost)."""

_LEAST_CHANGE_FRAC = 0.01
"""Smaller changes of a capacity leave the running plan as it is (kind: assumed, same)."""

_MOST_RESERVED_FRAC = 0.99
"""Transfers keep a little of a port even where exchanges fill it."""

_WAYS = 2
_NOMINAL = 1.0 + 1e-9
_NO_LOAD = 1e-12
"""Uplinks that nobody uses have a factor of zero."""


class ReplicaPorts:
    """Couples the steps of a replica with the fabric.

    Parameters
    ----------
    net : Interconnect
        The fabric.
    replica : Replica
        Whose ports.
    n_gpus : int
        Its GPUs.
    far_mask : ndarray of shape (n_gpus, n_gpus), optional
        Ones where a pair of ranks exchanges over NICs; None for a replica in one domain.
    is_shared : bool
        Whether transfers may cross the ports of its exchanges.
    shipments : Shipments, optional
        All transfers of the run, where they are followed to where they meet.

    Attributes
    ----------
    met : Counter of str
        Steps that were looked at more closely because transfers met, by name of the link.
    """

    def __init__(
        self,
        net: Interconnect,
        *,
        replica: Replica,
        n_gpus: int,
        is_shared: bool,
        far_mask: NDArray[np.float64] | None = None,
        shipments: Shipments | None = None,
    ) -> None:
        self.replica = replica
        self.gpus = np.arange(replica.first_gpu, replica.first_gpu + n_gpus)
        self._net = net
        self._group = None
        up = net.links.scale_up[:, self.gpus].reshape(-1)
        self._links, self._n_up = up, up.size
        if far_mask is not None:
            self._group = GroupLinks(net, gpus=self.gpus, far_mask=far_mask)
            nics = net.links.nic[:, self._group.nics.reshape(-1)].reshape(-1)
            self._links = np.concatenate((up, nics, self._group.uplinks))
        self._peak = net.peak_bytes_per_s[self._links]
        self._nominal = net.links.capacity_bytes_per_s[self._links]
        self._reserved = np.zeros(self._links.size)
        self._factors = np.ones((2, n_gpus))
        self._state: LinkState | None = None
        if self._group is not None:
            self._state = self._nominal_state = self._group.state(n_peers=max(n_gpus - 1, 1))
            if self._state.tight.size:
                replica.lasting = Slowdown.steady(n_gpus, links=self._state)
                replica.slow_down(None)
        self._is_due = False
        self._refreshed_ps = -to_ps(_LEAST_GAP_S)
        self.n_changes = 0
        self._shipments = shipments
        self._meeting: tuple[int, ...] = ()
        self.met: Counter[str] = Counter()
        self._running: PlannedStep | None = None
        self._is_shared = False
        if is_shared:
            self.share()

    def share(self) -> None:
        """Let transfers and exchanges slow each other down from now on."""
        if self._is_shared or self.gpus.size == 1:
            return
        self._is_shared = True
        self._net.fabric.on_change(self._links.tolist(), callback=self._changed)
        if self._running is not None:
            self.started(self._running)

    # ------------------------------------------------------------------ what the replica tells
    def started(self, plan: PlannedStep) -> None:
        """Keep the mean rate of the exchanges of a step from the transfers.

        Parameters
        ----------
        plan : PlannedStep
            The step that starts.
        """
        self._running = plan
        if self._meeting and self.replica.detail.may_escalate:
            self.met.update(self._net.fabric.names[link] for link in self._meeting)
        if not self._is_shared or plan.totals.port_bytes is None:
            return
        moved = self._on_links(plan.totals.port_bytes)
        rate = moved / self._peak * self._nominal / max(plan.duration_s, 1e-12)
        self._reserve(np.minimum(rate, _MOST_RESERVED_FRAC * self._nominal))

    def ended(self, plan: PlannedStep, *, start_ps: int, end_ps: int, n_steps: int) -> None:
        """Count what equal steps in a row moved.

        Parameters
        ----------
        plan : PlannedStep
            One of them.
        start_ps, end_ps : int
            When the row ran. [ps]
        n_steps : int
            Their number.
        """
        if plan.totals.port_bytes is None:
            return
        moved = n_steps * self._on_links(plan.totals.port_bytes)
        busy_s = moved / self._peak
        if self._group is None:
            busy_s = n_steps * np.concatenate((plan.exchange_s,) * _WAYS)
        else:
            # a NIC works as long as the exchanges that wait for it
            n_nics = _WAYS * self._group.nics.size
            rank = np.tile(np.repeat(np.arange(self.gpus.size), self._group.nics.shape[1]), _WAYS)
            nics = slice(self._n_up, self._n_up + n_nics)
            busy_s[nics] = np.where(moved[nics] > 0.0, n_steps * plan.exchange_s[rank], 0.0)
        self._net.count_collectives(
            self._links, n_bytes=moved, busy_s=busy_s, start_ps=start_ps, end_ps=end_ps
        )

    def idle(self) -> None:
        """Leave the ports to the transfers."""
        self._running = None
        if self._is_shared:
            self._reserve(np.zeros(self._links.size))

    # ------------------------------------------------------------------ what others do to it
    @property
    def is_cut_off(self) -> bool:
        """Whether a rank has no port left over which it could exchange anything."""
        if self.gpus.size == 1:
            return False
        factors, state = self._present()
        return not _is_finite(factors, state)

    def refresh(self) -> None:
        """Let the replica run at the present capacity of its ports."""
        self._refreshed_ps = now_ps(self._net.env)
        factors, state = self._present(self._followed_flows())
        is_same = _is_close(factors, self._factors) and _is_alike(state, self._state)
        if is_same or not _is_finite(factors, state):
            return
        self._factors, self._state = factors, state
        self.n_changes += 1
        is_nominal = float(factors.max()) <= _NOMINAL
        if state is not None:
            is_nominal = is_nominal and _is_alike(state, self._nominal_state)
        slow = Slowdown.steady(self.gpus.size, egress=factors[0], ingress=factors[1], links=state)
        self.replica.slow_down(None if is_nominal else slow)

    # ------------------------------------------------------------------ internals
    def _on_links(self, port_bytes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each link carries of the bytes of all ranks. [B]."""
        near = port_bytes[:_WAYS].reshape(-1)
        group = self._group
        if group is None:
            return np.asarray(near)
        # bytes of a failed NIC go over the one that serves for it
        own, serving = group.nics.reshape(-1), group.serving().reshape(-1)
        column = np.minimum(np.searchsorted(own, serving), own.size - 1)
        column = np.where(own[column] == serving, column, np.arange(own.size))
        far = np.zeros((_WAYS, own.size))
        for way in range(_WAYS):
            per_nic = np.repeat(port_bytes[_WAYS + way], group.nics.shape[1])
            np.add.at(far[way], column, per_nic / group.nics.shape[1])
        uplinks = group.uplink_bytes(port_bytes[_WAYS], in_bytes=port_bytes[_WAYS + 1])
        return np.concatenate((near, far.reshape(-1), uplinks))

    def _reserve(self, rates: NDArray[np.float64]) -> None:
        change = np.abs(rates - self._reserved) / self._nominal
        if float(change.max()) < _LEAST_CHANGE_FRAC:
            return
        self._net.sample()
        self._reserved = rates
        self._net.reserve(self._links, bytes_per_s=rates, replica=self.replica.index)

    def _followed_flows(self) -> Flows | None:
        """Return the transfers if they have to be followed; note where they meet."""
        links = self._own_links()
        if self._shipments is None or not self._net.fabric.transfers_on(links).any():
            self._meet(())
            return None
        detail = self.replica.detail
        if not detail.solves_shares:
            return None
        flows = self._shipments.flows()
        is_strict = self._net.arbitration is Arbitration.PRIORITY
        self._meet(() if is_strict else meeting_links(links, flows=flows))
        return flows if self._meeting or not detail.may_escalate else None

    def _own_links(self) -> NDArray[np.int64]:
        """Return the links whose transfers matter: uplinks only where they are tight."""
        if self._group is None or self._state is None:
            return self._links
        uplinks = self._net.links.leaf[:, self._state.tight].reshape(-1)
        return np.concatenate((self._links[: -self._group.uplinks.size], uplinks))

    def _meet(self, links: tuple[int, ...]) -> None:
        """Let the next steps be looked at more closely while transfers meet."""
        if links != self._meeting:
            self._meeting = links
            self.replica.detail.is_escalated = bool(links)

    def _present(self, flows: Flows | None = None) -> tuple[NDArray[np.float64], LinkState | None]:
        """Return the slowdown of the ports of each rank, and the links between domains."""
        net, n_peers = self._net, max(self.gpus.size - 1, 1)
        ports = np.stack(
            [
                net.ports.collective_slowdown(
                    net.links.scale_up[way, self.gpus], n_peers=n_peers, flows=flows
                )
                for way in range(_WAYS)
            ]
        )
        if self._group is None:
            return ports, None
        others = net.kept_for_others(net.links.leaf, replica=self.replica.index)
        state = self._group.state(n_peers=n_peers, flows=flows, others_bytes_per_s=others)
        return ports, state

    def _changed(self) -> None:
        if self._is_due:
            return
        self._is_due = True
        env = self._net.env
        due_ps = self._refreshed_ps + to_ps(_LEAST_GAP_S)
        wait = env.timeout(max(due_ps - now_ps(env), 0))
        wait.callbacks.append(self._answer)

    def _answer(self, _: simpy.Event) -> None:
        self._is_due = False
        self.refresh()


def _is_finite(factors: NDArray[np.float64], state: LinkState | None) -> bool:
    """Return whether nothing that the group needs is dead."""
    parts = [factors]
    if state is not None:
        parts += [state.far_out, state.far_in, state.uplink_frac]
    return all(bool(np.isfinite(part).all()) for part in parts)


def _is_close(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Return whether factors differ by too little to plan anew."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return False
    return bool((np.abs(one - other) < _LEAST_CHANGE_FRAC * np.abs(other) + _NO_LOAD).all())


def _is_alike(one: LinkState | None, other: LinkState | None) -> bool:
    """Return whether links between domains differ by too little to plan anew."""
    if one is None or other is None:
        return one is other
    return (
        bool((one.leaf == other.leaf).all())
        and _is_close(one.far_out, other.far_out)
        and _is_close(one.far_in, other.far_in)
        and _is_close(one.uplink_frac, other.uplink_frac)
    )
