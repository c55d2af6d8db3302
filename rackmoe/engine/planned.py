"""A planned step: its clocks, its work, and the row that it leaves in the records."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.clock import to_s
from rackmoe.engine.step_arrays import mean_parts_s
from rackmoe.engine.step_clocks import plan_clocks, resume_clocks
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.linked_exchange import StepExchanges
from rackmoe.network.recurrence import LayerTimes, StepPart, StepPlan
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.two_batch import TwoBatchPlan
from rackmoe.records import Pool
from rackmoe.serving.batching import StepBatch

__all__ = ["PlannedStep", "StepTotals"]

# Rounding a duration up to the clock adds less.
_ROUNDING_S = to_s(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTotals:
    """What a step asks of all GPUs together.

    Attributes
    ----------
    by_peak_flop : ndarray of shape (3,)
        FLOP at the 16-, 8- and 4-bit peak. [FLOP]
    hbm_bytes : float
        HBM traffic. [B]
    scale_up_bytes, scale_out_bytes : float
        Bytes sent. [B]
    attention_s : float
        Attention kernels, mean over the ranks. [s]
    imbalance : float
        Load of the busiest rank over the mean, mean over the layers.
    port_bytes : ndarray of shape (4, n_ranks) or None
        Bytes of each rank: scale-up out and in, scale-out out and in. [B]
    """

    by_peak_flop: NDArray[np.float64]
    hbm_bytes: float
    scale_up_bytes: float
    scale_out_bytes: float
    attention_s: float
    imbalance: float
    port_bytes: NDArray[np.float64] | None = None

    def joined(self, other: "StepTotals") -> "StepTotals":
        """Return the totals of two micro-batches of one step.

        Parameters
        ----------
        other : StepTotals
            Those of the other one.

        Returns
        -------
        StepTotals
            Sums, and the mean imbalance.
        """
        mine, theirs = self.port_bytes, other.port_bytes
        return StepTotals(
            by_peak_flop=self.by_peak_flop + other.by_peak_flop,
            hbm_bytes=self.hbm_bytes + other.hbm_bytes,
            scale_up_bytes=self.scale_up_bytes + other.scale_up_bytes,
            scale_out_bytes=self.scale_out_bytes + other.scale_out_bytes,
            attention_s=self.attention_s + other.attention_s,
            imbalance=(self.imbalance + other.imbalance) / 2,
            port_bytes=theirs if mine is None else mine if theirs is None else mine + theirs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step before it runs.

    Attributes
    ----------
    times : tuple of LayerTimes
        Nominal durations by layer and rank, of one batch or two micro-batches. [s]
    plan : StepPlan or TwoBatchPlan
        Clocks of all ranks. [s]
    parts_s : ndarray of shape (8,)
        Mean time of the ranks by `StepPart`, as planned. [s]
    totals : StepTotals
        Work and bytes.
    host_step_s, host_gap_s : float
        Host work that overlaps the GPU, and GPU idle after the step. [s]
    batch : StepBatch
        What it computes.
    paired : tuple of StepExchanges
        Who sends how much to whom, of each of `times`; empty where it was not asked for
        and all ranks are in one scale-up domain.
    slowdown : Slowdown or None
        Capacities at its start; None for nominal ones.
    extra_s : float
        Pipeline and ring: transfers, and waiting for steps of other schedulers. [s]
    """

    times: tuple[LayerTimes, ...]
    plan: StepPlan | TwoBatchPlan
    parts_s: NDArray[np.float64]
    totals: StepTotals
    host_step_s: float
    host_gap_s: float
    batch: StepBatch
    paired: tuple[StepExchanges, ...] = ()
    slowdown: Slowdown | None = None
    extra_s: float = 0.0

    @property
    def tier(self) -> ExchangeTier:
        """How closely its exchanges were looked at."""
        return self.paired[0].tier if self.paired else ExchangeTier.PLAN

    @property
    def exchange_s(self) -> NDArray[np.float64]:
        """Time that the busier port of each rank needs for all exchanges. [s]."""
        found = np.zeros(self.times[0].shape[1])
        for one in self.times:
            for exchange in (one.dispatch, one.combine):
                if exchange is not None:
                    found += np.maximum(exchange.egress_s, exchange.ingress_s).sum(axis=0)
        return found

    @property
    def duration_s(self) -> float:
        """Time until the next step can start. [s]."""
        busy_s = max(float(np.maximum.reduce(self.plan.end_s)), self.host_step_s)
        return busy_s + self.host_gap_s + self.extra_s

    def resume(self, *, slowdown: Slowdown, now_s: float) -> "PlannedStep":
        """Return the step after a capacity changed: what is finished is kept.

        Parameters
        ----------
        slowdown : Slowdown
            Its last change is the one now.
        now_s : float
            Time since the step started. [s]

        Returns
        -------
        PlannedStep
            The rest runs at the new capacities.
        """
        plan = resume_clocks(
            self.times, plan=self.plan, slowdown=slowdown, now_s=now_s, paired=self.paired
        )
        return replace(self, plan=plan)

    def settled(self, slowdown: Slowdown) -> "PlannedStep":
        """Return a step that was resumed, with where its time went in the end.

        Parameters
        ----------
        slowdown : Slowdown
            Everything that changed while it ran.
        """
        if isinstance(self.plan, StepPlan):
            tails_s = (self.plan.tail_s,)
            plan = plan_clocks(self.times, tails_s=tails_s, slowdown=slowdown, paired=self.paired)
            return replace(self, plan=plan, parts_s=mean_parts_s(list(self.times), plan=plan))
        parts_s = self.parts_s.copy()
        parts_s[StepPart.DISPATCH] += float(self.plan.end_s.mean()) - float(parts_s.sum())
        return replace(self, parts_s=parts_s)

    def row(
        self,
        *,
        replica: int,
        pool: Pool,
        start_s: float,
        duration_s: float,
        n_emitted: int | None = None,
    ) -> tuple[float, ...]:
        """Return the step as a row of the step table.

        Parameters
        ----------
        replica : int
            Number of the replica.
        pool : Pool
            Its role.
        start_s, duration_s : float
            When it started and how long it really took. [s]
        n_emitted : int, optional
            Tokens that its decoding sequences got; one each by default.

        Returns
        -------
        tuple of float
            One value for each of `records.STEP_COLUMNS`.
        """
        totals, end_s, batch = self.totals, self.plan.end_s, self.batch
        # reductions and lists: array methods and elements cost more than so few numbers
        busy_s = float(np.maximum.reduce(end_s))
        mean_s = float(np.add.reduce(end_s)) / len(end_s)
        parts_s, by_peak_flop = self.parts_s.tolist(), totals.by_peak_flop.tolist()
        pre_s = parts_s[StepPart.PRE] + parts_s[StepPart.TAIL]
        n_decode = sum(batch.decode_sequences.tolist())
        host_s = duration_s - busy_s - self.extra_s
        if host_s < _ROUNDING_S:  # no work of the host
            pre_s, host_s = pre_s + host_s, 0.0
        return (
            replica,
            pool,
            start_s,
            duration_s,
            busy_s,
            n_decode if n_emitted is None else n_emitted,
            sum(batch.prefill_tokens.tolist()),
            n_decode,
            totals.attention_s,
            pre_s - totals.attention_s,
            parts_s[StepPart.DISPATCH],
            parts_s[StepPart.DISPATCH_WAIT],
            parts_s[StepPart.EXPERT],
            parts_s[StepPart.SHARED],
            parts_s[StepPart.COMBINE],
            # a rank that is done earlier waits for the slowest before the next step
            parts_s[StepPart.COMBINE_WAIT] + busy_s - mean_s,
            host_s,
            # what a capacity change added to the plan
            mean_s - sum(parts_s) + self.extra_s,
            sum(by_peak_flop),
            *by_peak_flop,
            totals.hbm_bytes,
            totals.scale_up_bytes,
            totals.scale_out_bytes,
            totals.imbalance,
        )
