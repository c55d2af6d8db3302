"""The clocks of two overlapped micro-batches whose exchanges are looked at pair by pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.linked_exchange import LinkedExchanges, StepExchanges
from rackmoe.network.slowdown import Slowdown, finish_all
from rackmoe.network.two_batch import TwoBatchPlan, two_batch_step

__all__ = ["paired_two_batch", "resume_paired_two_batch"]

Floats = NDArray[np.float64]
_N_BATCHES = 2


def paired_two_batch(
    batches: tuple[LayerTimes, LayerTimes],
    *,
    paired: tuple[StepExchanges, StepExchanges],
    tail_s: Floats | None = None,
    slowdown: Slowdown | None = None,
) -> TwoBatchPlan:
    """Return the clocks of two overlapped micro-batches, as `two_batch_step` does.

    Parameters
    ----------
    batches : tuple of two LayerTimes
        Nominal durations of each micro-batch. [s]
    paired : tuple of two StepExchanges
        Who sends how much to whom in each.
    tail_s : ndarray of shape (2, n_ranks), optional
        Work after the last layer. [s]
    slowdown : Slowdown, optional
        Slowdown factors over the step; nominal by default.

    Returns
    -------
    TwoBatchPlan
        Of all layers.
    """
    n_layers, n_ranks = batches[0].shape
    entry_s = np.zeros((2 + _N_BATCHES, n_ranks))
    plan = TwoBatchPlan(
        start_s=entry_s,
        clocks_s=np.empty((n_layers, *entry_s.shape)),
        layer_end_s=np.empty(n_layers),
        tail_s=np.zeros((_N_BATCHES, n_ranks)) if tail_s is None else tail_s,
        end_s=entry_s[0],
        port_busy_frac=np.zeros((2, n_ranks)),
        overlaps=np.zeros(n_ranks, np.int64),
    )
    return _from_layer(0, batches, paired, plan, slowdown or Slowdown.none(n_ranks))


def resume_paired_two_batch(
    batches: tuple[LayerTimes, LayerTimes],
    *,
    paired: tuple[StepExchanges, StepExchanges],
    plan: TwoBatchPlan,
    slowdown: Slowdown,
    now_s: float,
) -> TwoBatchPlan:
    """Return the plan after capacities changed at `now_s`, as `resume_two_batch` does.

    Parameters
    ----------
    batches : tuple of two LayerTimes
        Nominal durations of the whole step. [s]
    paired : tuple of two StepExchanges
        Who sends how much to whom in each.
    plan : TwoBatchPlan
        The plan of the whole step so far.
    slowdown : Slowdown
        Its last change is the one at `now_s`.
    now_s : float
        Time on the clock of the step. [s]

    Returns
    -------
    TwoBatchPlan
        Busy shares and overlaps are those of the layers computed again.
    """
    front = int(np.searchsorted(plan.layer_end_s, now_s, side="right"))
    front = min(front, plan.layer_end_s.size - 1)
    return _from_layer(front, batches, paired, plan, slowdown)


def _from_layer(
    front: int,
    batches: tuple[LayerTimes, LayerTimes],
    paired: tuple[StepExchanges, StepExchanges],
    plan: TwoBatchPlan,
    slow: Slowdown,
) -> TwoBatchPlan:
    """Return a plan that keeps the layers before `front`."""
    clocks_s, layer_end_s = plan.clocks_s.copy(), plan.layer_end_s.copy()
    entry_s = plan.clocks_s[front - 1] if front else plan.start_s
    step = _Clocks(batches, paired, slow, entry_s.copy())
    layer = front
    while layer < len(clocks_s):
        last = layer + step.run_steady_layers(layer, clocks_s)
        if last == layer:
            step.run_layer(layer)
            last = layer + 1
            clocks_s[layer] = step.state_s
        layer_end_s[layer:last] = clocks_s[layer:last, 2:].max(axis=(1, 2))
        layer = last
    end_s = step.state_s[0]
    for batch in range(_N_BATCHES):
        end_s = step.work(np.maximum(end_s, step.state_s[2 + batch]), plan.tail_s[batch])
    took_s = max(float(end_s.max() - entry_s.min()), float(np.finfo(np.float64).tiny))
    return TwoBatchPlan(
        start_s=plan.start_s,
        clocks_s=clocks_s,
        layer_end_s=layer_end_s,
        tail_s=plan.tail_s,
        end_s=end_s,
        port_busy_frac=step.busy_s / took_s,
        overlaps=step.overlaps,
    )


class _Clocks:
    """Compute and port clocks of each rank, and when each micro-batch is ready."""

    def __init__(
        self,
        batches: tuple[LayerTimes, LayerTimes],
        paired: tuple[StepExchanges, StepExchanges],
        slow: Slowdown,
        state_s: Floats,
    ) -> None:
        n_ranks = state_s.shape[1]
        self.state_s = state_s
        self.busy_s = np.zeros((2, n_ranks))
        self.overlaps = np.zeros(n_ranks, np.int64)
        self._batches = batches
        self._paired = paired
        self._slow = slow

    def work(self, begin_s: Floats, work_s: Floats) -> Floats:
        """Return when computation ends that begins at some time. [s]."""
        end_s = np.empty(begin_s.size)
        finish_all(begin_s, work_s, self._slow.change_s, self._slow.compute, end_s)
        return end_s

    def run_steady_layers(self, layer: int, clocks_s: Floats) -> int:
        """Go through the layers that closed forms can do at once; return their number.

        These are all that end before the next change. [s].
        """
        first, second = self._paired
        if not isinstance(first, LinkedExchanges) or not isinstance(second, LinkedExchanges):
            return 0
        if first.tier is not ExchangeTier.PLAN:
            return 0
        steady, until_s = self._slow.steady_at(float(self.state_s[0].min()))
        links = tuple(
            one.closed_links(times, slowdown=steady, first_layer=layer)
            for one, times in zip((first, second), self._batches, strict=True)
        )
        run = two_batch_step(
            self._batches, start_s=self.state_s, slowdown=steady, first_layer=layer, links=links
        )
        n_whole = int(np.searchsorted(run.layer_end_s, until_s, side="right"))
        if 0 < n_whole < len(run.layer_end_s):
            run = two_batch_step(
                self._batches,
                start_s=self.state_s,
                slowdown=steady,
                first_layer=layer,
                last_layer=layer + n_whole,
                links=links,
            )
        if n_whole:
            clocks_s[layer : layer + n_whole] = run.clocks_s
            self.busy_s += run.port_busy_frac * (run.end_s.max() - run.start_s.min())
            self.overlaps += run.overlaps
            self.state_s = run.clocks_s[-1].copy()
        return n_whole

    def run_layer(self, layer: int) -> None:
        """Go through one layer in the order pre(0), pre(1), expert(0), expert(1)."""
        state_s, is_beside = self.state_s, self._batches[0].overlap_shared
        arrived_s = []
        for m, times in enumerate(self._batches):
            ready_s = np.maximum(state_s[0], state_s[2 + m])
            state_s[0] = self.work(ready_s, times.pre_s[layer])
            arrived_s.append(self._exchange(m, layer, is_combine=False))
            if is_beside:
                state_s[0] = self.work(state_s[0], times.shared_s[layer])
        for m, times in enumerate(self._batches):
            state_s[0] = np.maximum(state_s[0], arrived_s[m])
            if not is_beside:
                state_s[0] = self.work(state_s[0], times.shared_s[layer])
            state_s[0] = self.work(state_s[0], times.expert_s[layer])
            state_s[2 + m] = self._exchange(m, layer, is_combine=True)

    def _exchange(self, m: int, layer: int, *, is_combine: bool) -> Floats:
        """Return when each rank holds its data; the send streams take what they have to. [s]."""
        times, compute_s, port_s = self._batches[m], self.state_s[0], self.state_s[1]
        ports = times.combine if is_combine else times.dispatch
        if ports is None or not times.is_connected:
            return np.array(compute_s)
        self.overlaps += compute_s < port_s
        begin_s = np.maximum(compute_s, port_s)
        egress_s, ingress_s = ports.egress_s[layer], ports.ingress_s[layer]
        held_s, freed_s = self._paired[m].streams_s(
            begin_s,
            layer=layer,
            egress_s=egress_s,
            ingress_s=ingress_s,
            slowdown=self._slow,
            is_combine=is_combine,
        )
        row = int(np.searchsorted(self._slow.change_s, float(begin_s.min()), side="right"))
        self.busy_s += self._paired[m].wire_s(
            layer,
            egress_s=egress_s,
            ingress_s=ingress_s,
            slowdown=self._slow,
            row=row,
            is_combine=is_combine,
        )
        self.state_s[1] = freed_s
        return np.asarray(held_s + ports.latency_s)
