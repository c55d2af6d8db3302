"""The clocks of a step whose exchanges are looked at pair by pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.linked_exchange import LinkedExchanges, StepExchanges
from rackmoe.network.recurrence import StepPart, StepPlan, layered_step
from rackmoe.network.slowdown import Slowdown, finish_all

__all__ = ["paired_step", "resume_paired_step"]

Floats = NDArray[np.float64]


def paired_step(
    times: LayerTimes,
    *,
    paired: StepExchanges,
    tail_s: Floats | None = None,
    slowdown: Slowdown | None = None,
) -> StepPlan:
    """Return the clocks of all ranks through a step of one batch, as `layered_step` does.

    Each exchange is priced by the tier of `paired` from the start of each rank.

    Parameters
    ----------
    times : LayerTimes
        Nominal durations. [s]
    paired : StepExchanges
        Who sends how much to whom.
    tail_s : ndarray of shape (n_ranks,), optional
        Work after the last layer. [s]
    slowdown : Slowdown, optional
        Slowdown factors over the step; nominal by default.

    Returns
    -------
    StepPlan
        With the parts of all layers.
    """
    n_layers, n_ranks = times.shape
    start_s = np.zeros(n_ranks)
    plan = StepPlan(
        start_s=start_s,
        clock_s=np.empty((n_layers, n_ranks)),
        layer_end_s=np.empty(n_layers),
        tail_s=np.zeros(n_ranks) if tail_s is None else tail_s,
        end_s=start_s,
        parts_s=np.zeros((len(StepPart), n_ranks)),
    )
    return _from_layer(0, times, paired, plan, slowdown or Slowdown.none(n_ranks))


def resume_paired_step(
    times: LayerTimes,
    *,
    paired: StepExchanges,
    plan: StepPlan,
    slowdown: Slowdown,
    now_s: float,
) -> StepPlan:
    """Return the plan of a step after its capacities changed, as `resume_step` does.

    Parameters
    ----------
    times : LayerTimes
        Nominal durations of the whole step. [s]
    paired : StepExchanges
        Who sends how much to whom.
    plan : StepPlan
        The plan of the whole step so far.
    slowdown : Slowdown
        Its last change is the one at `now_s`.
    now_s : float
        Time on the clock of the step. [s]

    Returns
    -------
    StepPlan
        Clocks of the whole step; the parts are of the layers computed again.
    """
    front = min(int(plan.layer_end_s.searchsorted(now_s, side="right")), times.shape[0] - 1)
    return _from_layer(front, times, paired, plan, slowdown)


def _from_layer(
    front: int, times: LayerTimes, paired: StepExchanges, plan: StepPlan, slow: Slowdown
) -> StepPlan:
    """Return a plan that keeps the layers before `front`."""
    clock_s, layer_end_s = plan.clock_s.copy(), plan.layer_end_s.copy()
    parts_s = np.zeros((len(StepPart), plan.start_s.size))
    step = _Clocks(times, paired, slow, plan.clock_s[front - 1] if front else plan.start_s)
    layer = front
    while layer < times.shape[0]:
        run = _steady_layers(layer, times, paired, step.now_s, slow)
        if run is None:
            step.run_layer(layer, parts_s)
            last = layer + 1
            clock_s[layer] = step.now_s
        else:
            last = layer + len(run.clock_s)
            clock_s[layer:last] = run.clock_s
            parts_s += run.parts_s
            step.now_s = run.clock_s[-1]
        layer_end_s[layer:last] = clock_s[layer:last].max(axis=1)
        layer = last
    end_s = step.work(step.now_s, plan.tail_s)
    parts_s[StepPart.TAIL] += end_s - step.now_s
    return StepPlan(
        start_s=plan.start_s,
        clock_s=clock_s,
        layer_end_s=layer_end_s,
        tail_s=plan.tail_s,
        end_s=end_s,
        parts_s=parts_s,
    )


def _steady_layers(
    layer: int, times: LayerTimes, paired: StepExchanges, now_s: Floats, slow: Slowdown
) -> StepPlan | None:
    """Return the layers that closed forms can do at once: all that end before the next change."""
    if not isinstance(paired, LinkedExchanges) or paired.tier is not ExchangeTier.PLAN:
        return None
    steady, until_s = slow.steady_at(float(now_s.min()))
    links = paired.closed_links(times, slowdown=steady, first_layer=layer)
    run = layered_step(times, start_s=now_s, slowdown=steady, first_layer=layer, links=links)
    n_whole = int(np.searchsorted(run.layer_end_s, until_s, side="right"))
    if n_whole == len(run.layer_end_s):
        return run
    if n_whole == 0:
        return None
    return layered_step(
        times,
        start_s=now_s,
        slowdown=steady,
        first_layer=layer,
        last_layer=layer + n_whole,
        links=links,
    )


class _Clocks:
    """The clock of each rank on its way through the layers."""

    def __init__(
        self, times: LayerTimes, paired: StepExchanges, slow: Slowdown, now_s: Floats
    ) -> None:
        self.now_s = now_s
        self._times = times
        self._paired = paired
        self._slow = slow

    def work(self, begin_s: Floats, work_s: Floats) -> Floats:
        """Return when computation ends that begins at some time. [s]."""
        end_s = np.empty(begin_s.size)
        finish_all(begin_s, work_s, self._slow.change_s, self._slow.compute, end_s)
        return end_s

    def run_layer(self, layer: int, parts_s: Floats) -> None:
        """Go through one layer, and add to the parts. [s]."""
        times, before_s = self._times, self.now_s
        ready_s = self.work(before_s, times.pre_s[layer])
        parts_s[StepPart.PRE] += ready_s - before_s
        held_s = self._exchange(StepPart.DISPATCH, layer, ready_s, parts_s)
        begin_s = ready_s if times.overlap_shared else held_s
        begin_s = np.maximum(self.work(begin_s, times.shared_s[layer]), held_s)
        parts_s[StepPart.SHARED] += begin_s - held_s
        done_s = self.work(begin_s, times.expert_s[layer])
        parts_s[StepPart.EXPERT] += done_s - begin_s
        self.now_s = self._exchange(StepPart.COMBINE, layer, done_s, parts_s)

    def _exchange(self, part: StepPart, layer: int, begin_s: Floats, parts_s: Floats) -> Floats:
        """Return when each rank holds its data. [s]."""
        is_combine = part is StepPart.COMBINE
        ports = self._times.combine if is_combine else self._times.dispatch
        if ports is None or not self._times.is_connected:
            return begin_s
        egress_s, ingress_s = ports.egress_s[layer], ports.ingress_s[layer]
        end_s, _ = self._paired.streams_s(
            begin_s,
            layer=layer,
            egress_s=egress_s,
            ingress_s=ingress_s,
            slowdown=self._slow,
            is_combine=is_combine,
        )
        held_s = end_s + ports.latency_s
        # its own wire time at the present speed; the rest is waiting for others
        row = int(np.searchsorted(self._slow.change_s, float(begin_s.min()), side="right"))
        busy_s = np.maximum(
            *self._paired.wire_s(
                layer,
                egress_s=egress_s,
                ingress_s=ingress_s,
                slowdown=self._slow,
                row=row,
                is_combine=is_combine,
            )
        )
        took_s = held_s - begin_s
        wire_s = np.minimum(busy_s + ports.latency_s, took_s)
        parts_s[part] += wire_s
        parts_s[part + 1] += took_s - wire_s
        return held_s
