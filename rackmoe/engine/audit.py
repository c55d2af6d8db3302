"""How far the exchanges of a run are from single packets, by evidence."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.planned import PlannedStep
from rackmoe.engine.step_clocks import plan_clocks
from rackmoe.engine.step_detail import StepDetail
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.recurrence import StepPlan
from rackmoe.network.slowdown import Slowdown

__all__ = ["Audit", "AuditReport"]

_P90 = 90.0
_LEAST_S = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """How far a run is from one whose exchanges are single packets.

    Attributes
    ----------
    n_steps, n_exchanges : int
        Steps and exchanges that were compared.
    median_error_frac, p90_error_frac : float
        Of the size of the relative difference of the makespans of exchanges by the closed form.
    worst_error_frac : float
        The largest difference, with its sign: negative where the closed form is low.
    step_error_frac : float
        The largest difference of a whole step as it was planned, with its sign.
    """

    n_steps: int
    n_exchanges: int
    median_error_frac: float
    p90_error_frac: float
    worst_error_frac: float
    step_error_frac: float

    def __str__(self) -> str:
        return (
            f"{self.n_exchanges} exchanges of {self.n_steps} steps against packets: error "
            f"{self.median_error_frac:.2%} median, {self.p90_error_frac:.2%} p90, "
            f"{self.worst_error_frac:+.2%} worst; whole steps {self.step_error_frac:+.2%} at most"
        )


class Audit:
    """Compares steps of a replica with single packets; watches it.

    The packets are the copies of tokens that the routing of the step sends from each rank to
    each other, from the clock of each rank in the step, at the present speed of its ports.

    Parameters
    ----------
    detail : StepDetail
        Says which steps are audited.
    """

    def __init__(self, detail: StepDetail) -> None:
        self._detail = detail
        self._n_steps = 0
        self._errors: list[float] = []
        self._step_errors: list[float] = []

    def started(self, plan: PlannedStep) -> None:
        """Audit a step, if it is its turn.

        Parameters
        ----------
        plan : PlannedStep
            The step that starts.
        """
        if not self._detail.is_audited or not plan.paired or not plan.times[0].is_connected:
            return
        self._n_steps += 1
        packets = [replace(one, tier=ExchangeTier.PACKET) for one in plan.paired]
        tails_s = [plan.plan.tail_s] if isinstance(plan.plan, StepPlan) else [*plan.plan.tail_s]
        exact = plan_clocks(plan.times, tails_s=tails_s, slowdown=plan.slowdown, paired=packets)
        self._step_errors.append(float(plan.plan.end_s.max() / exact.end_s.max()) - 1.0)
        n_layers = plan.times[0].shape[0]
        for layer in sorted({0, n_layers // 2, n_layers - 1}):
            entries_s = _entries_s(plan, layer)
            for batch, entry_s in enumerate(entries_s):
                self._errors.extend(_layer_errors(plan, batch, layer, entry_s))

    def ended(self, plan: PlannedStep, *, start_ps: int, end_ps: int, n_steps: int) -> None:
        """Do nothing. [ps]."""

    def idle(self) -> None:
        """Do nothing."""

    def report(self) -> AuditReport | None:
        """Return the errors until now; None without any exchange."""
        if not self._errors:
            return None
        errors, whole = np.array(self._errors), np.array(self._step_errors)
        sizes = np.abs(errors)
        return AuditReport(
            n_steps=self._n_steps,
            n_exchanges=errors.size,
            median_error_frac=float(np.median(sizes)),
            p90_error_frac=float(np.percentile(sizes, _P90)),
            worst_error_frac=float(errors[np.argmax(sizes)]),
            step_error_frac=float(whole[np.argmax(np.abs(whole))]),
        )


def _entries_s(plan: PlannedStep, layer: int) -> list[Floats]:
    """Return when each rank begins a layer, for each micro-batch. [s]."""
    clocks = plan.plan
    if isinstance(clocks, StepPlan):
        return [clocks.clock_s[layer - 1] if layer else clocks.start_s]
    state_s = clocks.clocks_s[layer - 1] if layer else clocks.start_s
    first_s = np.maximum(state_s[0], state_s[2])
    return [first_s, np.maximum(first_s + plan.times[0].pre_s[layer], state_s[3])]


def _layer_errors(plan: PlannedStep, batch: int, layer: int, entry_s: Floats) -> list[float]:
    """Return the errors of the dispatch and the combine of one layer."""
    times, paired = plan.times[batch], plan.paired[batch]
    slow = plan.slowdown or Slowdown.none(entry_s.size)
    compute = slow.compute[0]
    start_s = entry_s + times.pre_s[layer] * compute
    found: list[float] = []
    for exchange in (times.dispatch, times.combine):
        if exchange is None:
            continue
        closed_s, packet_s = (
            replace(paired, tier=tier).streams_s(
                start_s,
                layer=layer,
                egress_s=exchange.egress_s[layer],
                ingress_s=exchange.ingress_s[layer],
                slowdown=slow,
                is_combine=exchange is not times.dispatch,
            )[0]
            for tier in (ExchangeTier.PLAN, ExchangeTier.PACKET)
        )
        took_s = float(packet_s.max() - start_s.min())
        if took_s > _LEAST_S:
            found.append(float(closed_s.max() - start_s.min()) / took_s - 1.0)
        shared_s = start_s + times.shared_s[layer] * compute
        start_s = np.maximum(closed_s + exchange.latency_s, shared_s)
        start_s = start_s + times.expert_s[layer] * compute
    return found
