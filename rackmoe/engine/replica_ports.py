"""The ports of one replica: what its steps put on them, and how others slow its steps down."""

from collections import Counter

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import now_ps, to_ps
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.planned import PlannedStep
from rackmoe.engine.ports import Flows
from rackmoe.engine.replica import Replica
from rackmoe.engine.shipments import Shipments
from rackmoe.network.arbitration import Arbitration
from rackmoe.network.port_shares import meeting_links
from rackmoe.network.slowdown import Slowdown

__all__ = ["ReplicaPorts"]

_LEAST_GAP_S = 1e-3
"""Changes of a port that come faster are answered together (kind: assumed; bounds the cost)."""

_LEAST_CHANGE_FRAC = 0.01
"""Smaller changes of a capacity leave the running plan as it is (kind: assumed, same)."""

_MOST_RESERVED_FRAC = 0.99
"""Transfers keep a little of a port even where exchanges fill it."""

_UP_ROWS = 2


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
    spans_domains : bool
        Whether its exchanges use the NICs too.
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
        spans_domains: bool,
        is_shared: bool,
        shipments: Shipments | None = None,
    ) -> None:
        self.replica = replica
        self.gpus = np.arange(replica.first_gpu, replica.first_gpu + n_gpus)
        self._net = net
        self.spans_domains = spans_domains
        up = net.links.scale_up[:, self.gpus]
        per_gpu = net.links.nics_per_gpu
        nics = (self.gpus[:, None] * per_gpu + np.arange(per_gpu)).reshape(-1)
        out = net.links.nic[:, nics]
        n_up = up.size
        self._links = np.concatenate((up.reshape(-1), out.reshape(-1)))
        ranks = np.repeat(np.arange(n_gpus), per_gpu)
        rows = [(_UP_ROWS + way) * n_gpus + ranks for way in range(2)]
        self._take = np.concatenate((np.arange(n_up), *rows))
        self._share_frac = np.concatenate((np.ones(n_up), np.full(out.size, 1.0 / per_gpu)))
        if not self.spans_domains:
            self._links, self._take = self._links[:n_up], self._take[:n_up]
            self._share_frac = self._share_frac[:n_up]
        self._n_up = n_up
        self._peak = net.peak_bytes_per_s[self._links]
        self._nominal = net.links.capacity_bytes_per_s[self._links]
        self._reserved = np.zeros(self._links.size)
        self._load_s = np.zeros(2)
        self._factors = np.ones((2, n_gpus))
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
        if self.spans_domains:
            # the NIC is what the exchanges of several domains wait for
            self._load_s += busy_s[: self._n_up].max(), busy_s[self._n_up :].max()
            exchange_s = plan.exchange_s
            busy_s[self._n_up :] = n_steps * exchange_s[self._take[self._n_up :] % self.gpus.size]
        else:
            busy_s = n_steps * np.concatenate((plan.exchange_s,) * _UP_ROWS)
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
        return self.gpus.size > 1 and not bool(np.isfinite(self._present_factors()).all())

    def refresh(self) -> None:
        """Let the replica run at the present capacity of its ports."""
        self._refreshed_ps = now_ps(self._net.env)
        factors = self._present_factors(self._followed_flows())
        change = np.abs(factors / self._factors - 1.0)
        if not np.isfinite(factors).all() or float(change.max()) < _LEAST_CHANGE_FRAC:
            return
        self._factors = factors
        self.n_changes += 1
        is_nominal = float(factors.max()) <= 1.0 + 1e-9
        slow = Slowdown.steady(self.gpus.size, egress=factors[0], ingress=factors[1])
        self.replica.slow_down(None if is_nominal else slow)

    # ------------------------------------------------------------------ internals
    def _on_links(self, port_bytes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(port_bytes.reshape(-1)[self._take] * self._share_frac)

    def _reserve(self, rates: NDArray[np.float64]) -> None:
        change = np.abs(rates - self._reserved) / self._nominal
        if float(change.max()) < _LEAST_CHANGE_FRAC:
            return
        self._net.sample()
        self._reserved = rates
        self._net.fabric.reserve(self._links, bytes_per_s=rates)

    def _followed_flows(self) -> Flows | None:
        """Return the transfers if they have to be followed; note where they meet."""
        if self._shipments is None or not self._net.fabric.transfers_on(self._links).any():
            self._meet(())
            return None
        detail = self.replica.detail
        if not detail.solves_shares:
            return None
        flows = self._shipments.flows()
        is_strict = self._net.arbitration is Arbitration.PRIORITY
        self._meet(() if is_strict else meeting_links(self._links, flows=flows))
        return flows if self._meeting or not detail.may_escalate else None

    def _meet(self, links: tuple[int, ...]) -> None:
        """Let the next steps be looked at more closely while transfers meet."""
        if links != self._meeting:
            self._meeting = links
            self.replica.detail.is_escalated = bool(links)

    def _present_factors(self, flows: Flows | None = None) -> NDArray[np.float64]:
        """Return the slowdown of egress and ingress of each rank."""
        ports, n_peers = self._net.ports, max(self.gpus.size - 1, 1)
        both = np.empty((2, self.gpus.size))
        for way in range(2):
            up = self._net.links.scale_up[way, self.gpus]
            both[way] = ports.collective_slowdown(up, n_peers=n_peers, flows=flows)
            if self.spans_domains:
                out = ports.nic_slowdown(way, gpus=self.gpus, n_peers=n_peers, flows=flows)
                # the tier that takes longer decides; NICs as long as nothing was sent
                up_s, out_s = self._load_s if self._load_s.any() else (0.0, 1.0)
                with np.errstate(invalid="ignore"):
                    longest = np.fmax(both[way] * up_s, out * out_s)
                is_cut = ~np.isfinite(both[way]) | ~np.isfinite(out)
                both[way] = np.where(is_cut, np.inf, longest / max(up_s, out_s))
        return both

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
