"""The clocks of a planned step, by closed forms or pair by pair, and when capacities change."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.linked_exchange import StepExchanges
from rackmoe.network.paired_exchange import PairedExchanges
from rackmoe.network.paired_step import paired_step, resume_paired_step
from rackmoe.network.paired_two_batch import paired_two_batch, resume_paired_two_batch
from rackmoe.network.recurrence import StepPlan, layered_step, resume_step
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.two_batch import TwoBatchPlan, resume_two_batch, two_batch_step

__all__ = ["plan_clocks", "resume_clocks"]

Plan = StepPlan | TwoBatchPlan


def plan_clocks(
    times: Sequence[LayerTimes],
    *,
    tails_s: Sequence[NDArray[np.float64]],
    slowdown: Slowdown | None = None,
    paired: Sequence[StepExchanges] = (),
) -> Plan:
    """Return the clocks of all ranks in a step.

    Parameters
    ----------
    times : sequence of one or two LayerTimes
        The batch, or two micro-batches that overlap. [s]
    tails_s : sequence of ndarray of shape (n_ranks,)
        Work of each after the last layer. [s]
    slowdown : Slowdown, optional
        Steady factors; nominal by default.
    paired : sequence of StepExchanges
        Who sends how much to whom in each, where exchanges are looked at more closely
        than by closed forms.

    Returns
    -------
    StepPlan or TwoBatchPlan
        Of one batch, or of two.
    """
    is_closed = _is_closed(paired)
    if len(times) == 1:
        if is_closed:
            return layered_step(times[0], tail_s=tails_s[0], slowdown=slowdown)
        return paired_step(times[0], paired=paired[0], tail_s=tails_s[0], slowdown=slowdown)
    both, tail_s = (times[0], times[1]), np.stack(tails_s)
    if is_closed:
        return two_batch_step(both, tail_s=tail_s, slowdown=slowdown)
    return paired_two_batch(both, paired=(paired[0], paired[1]), tail_s=tail_s, slowdown=slowdown)


def resume_clocks(
    times: Sequence[LayerTimes],
    *,
    plan: Plan,
    slowdown: Slowdown,
    now_s: float,
    paired: Sequence[StepExchanges] = (),
) -> Plan:
    """Return the clocks after a capacity changed: what is finished is kept.

    Parameters
    ----------
    times : sequence of one or two LayerTimes
        The step as it was planned. [s]
    plan : StepPlan or TwoBatchPlan
        The plan so far.
    slowdown : Slowdown
        Its last change is the one now.
    now_s : float
        Time since the step started. [s]
    paired : sequence of StepExchanges
        As for `plan_clocks`.

    Returns
    -------
    StepPlan or TwoBatchPlan
        The rest runs at the new capacities.
    """
    is_closed = _is_closed(paired)
    if isinstance(plan, StepPlan):
        if is_closed:
            return resume_step(times[0], plan=plan, slowdown=slowdown, now_s=now_s)
        return resume_paired_step(
            times[0], paired=paired[0], plan=plan, slowdown=slowdown, now_s=now_s
        )
    both = (times[0], times[1])
    if is_closed:
        return resume_two_batch(both, plan=plan, slowdown=slowdown, now_s=now_s)
    return resume_paired_two_batch(
        both, paired=(paired[0], paired[1]), plan=plan, slowdown=slowdown, now_s=now_s
    )


def _is_closed(paired: Sequence[StepExchanges]) -> bool:
    """Return whether the ports of ranks are all that counts, by closed form."""
    return all(
        one.tier is ExchangeTier.PLAN and isinstance(one, PairedExchanges) for one in paired
    )
