"""How far the closed forms of a run are from single packets, by evidence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.planned import PlannedStep
from rackmoe.network.exchange import receive_ends
from rackmoe.network.layer_times import ExchangeTimes
from rackmoe.network.packet import packet_receive_ends_s
from rackmoe.network.recurrence import StepPlan

__all__ = ["Audit", "AuditReport", "exchange_makespans_s"]

_MOST_PACKETS = 40_000
_MOST_PACKETS_OF_PAIR = 64
_P90 = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """How far makespans of exchanges by the closed form are from those of packets.

    Attributes
    ----------
    n_steps, n_exchanges : int
        Steps and exchanges that were compared.
    median_error_frac, p90_error_frac : float
        Of the size of the relative difference.
    worst_error_frac : float
        The largest difference, with its sign: negative where the closed form is low.
    """

    n_steps: int
    n_exchanges: int
    median_error_frac: float
    p90_error_frac: float
    worst_error_frac: float

    def __str__(self) -> str:
        return (
            f"{self.n_exchanges} exchanges of {self.n_steps} steps against packets: error "
            f"{self.median_error_frac:.2%} median, {self.p90_error_frac:.2%} p90, "
            f"{self.worst_error_frac:+.2%} worst"
        )


class Audit:
    """Compares the exchanges of one step in so many with packets; watches a replica.

    Parameters
    ----------
    every : int
        Steps for each audited one; the first is audited.
    rng : Generator
        Order of the packets.
    """

    def __init__(self, every: int, *, rng: np.random.Generator) -> None:
        self._every = every
        self._rng = rng
        self._n_seen = 0
        self._n_steps = 0
        self._errors: list[float] = []

    def started(self, plan: PlannedStep) -> None:
        """Audit a step, if it is its turn.

        Parameters
        ----------
        plan : PlannedStep
            The step that starts.
        """
        is_due = self._n_seen % self._every == 0
        self._n_seen += 1
        if is_due and plan.times[0].is_connected:
            self._n_steps += 1
            self._errors.extend(self._step_errors(plan))

    def ended(self, plan: PlannedStep, *, start_ps: int, end_ps: int, n_steps: int) -> None:
        """Do nothing. [ps]."""

    def idle(self) -> None:
        """Do nothing."""

    def report(self) -> AuditReport | None:
        """Return the errors until now; None without any exchange."""
        if not self._errors:
            return None
        errors = np.array(self._errors)
        sizes = np.abs(errors)
        return AuditReport(
            n_steps=self._n_steps,
            n_exchanges=errors.size,
            median_error_frac=float(np.median(sizes)),
            p90_error_frac=float(np.percentile(sizes, _P90)),
            worst_error_frac=float(errors[np.argmax(sizes)]),
        )

    def _step_errors(self, plan: PlannedStep) -> list[float]:
        times = plan.times[0]
        n_layers, n_ranks = times.shape
        found: list[float] = []
        for layer in sorted({0, n_layers // 2, n_layers - 1}):
            entry_s = np.zeros(n_ranks)
            if layer and isinstance(plan.plan, StepPlan):
                entry_s = plan.plan.clock_s[layer - 1]
            start_s = entry_s + times.pre_s[layer]
            for exchange in (times.dispatch, times.combine):
                if exchange is None:
                    continue
                closed_s, packet_s = self._both(exchange, layer, start_s)
                if packet_s > 0.0:
                    found.append(closed_s / packet_s - 1.0)
                end_s = start_s.min() + closed_s + exchange.latency_s
                shared_s = start_s + times.shared_s[layer]
                start_s = np.maximum(end_s, shared_s) + times.expert_s[layer]
        return found

    def _both(
        self, exchange: ExchangeTimes, layer: int, start_s: NDArray[np.float64]
    ) -> tuple[float, float]:
        return exchange_makespans_s(
            start_s,
            egress_s=np.ascontiguousarray(exchange.egress_s[layer]),
            ingress_s=np.ascontiguousarray(exchange.ingress_s[layer]),
            rng=self._rng,
        )


def exchange_makespans_s(
    start_s: NDArray[np.float64],
    *,
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[float, float]:
    r"""Return how long one exchange takes by the closed form, and packet by packet.

    Parameters
    ----------
    start_s : ndarray of shape (n_ranks,)
        When each rank starts to send. [s]
    egress_s, ingress_s : ndarray of shape (n_ranks,)
        Time that the port of each rank needs to send and to receive. [s]
    rng : Generator
        Order in which each rank sends its packets.

    Returns
    -------
    closed_s, packet_s : float
        First start to last arrival, latency apart. [s]

    Notes
    -----
    The matrix has the given marginals: rank `s` sends
    :math:`E_s I_d / \sum_{k \ne s} I_k` to rank `d`, cut into equal packets.
    """
    n_ranks = start_s.size
    start_s = start_s - start_s.min()
    ones, end_s = np.ones((1, n_ranks)), np.empty(n_ranks)
    orders = np.tile(np.arange(n_ranks), (3, 1))
    room = np.empty(n_ranks), np.empty((7, n_ranks))
    receive_ends(
        start_s, egress_s, ingress_s, np.empty(0), ones, ones, orders, room[0], end_s, room[1]
    )
    others = ingress_s.sum() - ingress_s
    share = np.divide(egress_s, others, out=np.zeros(n_ranks), where=others > 0.0)
    sent = share[:, None] * ingress_s
    np.fill_diagonal(sent, 0.0)
    n_each = min(_MOST_PACKETS_OF_PAIR, max(1, _MOST_PACKETS // (n_ranks * (n_ranks - 1))))
    peers = np.arange(n_ranks)
    away = np.array([np.delete(peers, rank) for rank in peers])
    destination = rng.permuted(np.tile(away, n_each), axis=1).reshape(-1)
    source = np.repeat(peers, (n_ranks - 1) * n_each)
    gets = sent.sum(axis=0)
    rate = np.divide(gets, ingress_s, out=np.ones(n_ranks), where=ingress_s > 0.0)
    ends_s = packet_receive_ends_s(
        source,
        destination=destination,
        size_bytes=sent[source, destination] / n_each,
        egress_bytes_per_s=np.ones(n_ranks),
        ingress_bytes_per_s=np.where(rate > 0.0, rate, 1.0),
        start_s=start_s,
    )
    last_start_s = float((start_s + egress_s).max())
    return float(end_s.max()), max(float(ends_s.max()), last_start_s)
