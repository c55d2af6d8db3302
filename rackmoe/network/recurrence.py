"""When each rank finishes each layer of one step, and where its time went."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError
from rackmoe.network.layer_times import ExchangeTimes, LayerTimes
from rackmoe.network.layers import compute_tail, run_layers, run_local_layers
from rackmoe.network.link_ends import NO_LINKS, LinkTimes
from rackmoe.network.slowdown import Slowdown

__all__ = ["ExchangeTimes", "LayerTimes", "StepPart", "StepPlan", "layered_step", "resume_step"]


class StepPart(IntEnum):
    """Rows of `StepPlan.parts_s`: where the time of a rank went."""

    PRE = 0
    DISPATCH = 1
    DISPATCH_WAIT = 2
    SHARED = 3
    EXPERT = 4
    COMBINE = 5
    COMBINE_WAIT = 6
    TAIL = 7


# plain numbers index faster than members
_N_PARTS, _TAIL = len(StepPart), int(StepPart.TAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """The clocks of all ranks in one step.

    Parameters
    ----------
    start_s : ndarray of shape (n_ranks,)
        When each rank started. [s]
    clock_s : ndarray of shape (n_layers, n_ranks)
        When each rank finished each layer. [s]
    layer_end_s : ndarray of shape (n_layers,)
        When the last rank finished each layer. [s]
    tail_s : ndarray of shape (n_ranks,)
        Nominal work after the last layer. [s]
    end_s : ndarray of shape (n_ranks,)
        When each rank finished the step. [s]
    parts_s : ndarray of shape (8, n_ranks) or (0, n_ranks)
        Time of each rank by `StepPart`; sums to `end_s - start_s` over the
        layers that were computed. Without rows where it was not asked for. [s]
    """

    start_s: NDArray[np.float64]
    clock_s: NDArray[np.float64]
    layer_end_s: NDArray[np.float64]
    tail_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    parts_s: NDArray[np.float64]


def layered_step(
    times: LayerTimes,
    *,
    start_s: NDArray[np.float64] | None = None,
    tail_s: NDArray[np.float64] | None = None,
    slowdown: Slowdown | None = None,
    first_layer: int = 0,
    last_layer: int | None = None,
    with_parts: bool = True,
    links: tuple[LinkTimes, LinkTimes] = (NO_LINKS, NO_LINKS),
) -> StepPlan:
    r"""Return the clocks of all ranks through a step of one batch.

    Parameters
    ----------
    times : LayerTimes
        Nominal durations, arrays of shape (n_layers, n_ranks). [s]
    start_s : ndarray of shape (n_ranks,), optional
        Clock of each rank when it enters `first_layer`; zeros by default. [s]
    tail_s : ndarray of shape (n_ranks,), optional
        Work after the last layer, done only if the range reaches it. [s]
    slowdown : Slowdown, optional
        Slowdown factors over the step; nominal by default.
    first_layer, last_layer : int
        Range of layers, the last one excluded; all by default.
    with_parts : bool
        Whether to say where the time went, for about a third more cost.
    links : tuple of two LinkTimes
        Dispatch and combine of a group over several domains at the steady factors of the
        slowdown, of all layers from layer 0 on; none for a group in one domain.

    Returns
    -------
    StepPlan
        Its `clock_s` and `layer_end_s` hold the layers of the range only.

    Raises
    ------
    ShapeError
        If the arrays do not have one shape.

    Notes
    -----
    Per layer and rank, with :math:`D` the receive ends of
    `rackmoe.network.exchange.receive_ends` and :math:`\lambda` the latency:

    .. math::

        a_r &= t_r + \mathrm{pre}_r \\
        b_r &= \max(D_r(a) + \lambda_d,\, a_r + \mathrm{shared}_r) + \mathrm{expert}_r \\
        t_r &\leftarrow D_r(b) + \lambda_c

    No rank waits at a barrier; where all ranks are equal it is the barrier
    form. Against max-min fluid and packets: see tests/unit/network.
    """
    n_layers, n_ranks = times.shape
    last = n_layers if last_layer is None else last_layer
    begin_s = np.zeros(n_ranks) if start_s is None else np.ascontiguousarray(start_s, np.float64)
    rest_s = np.zeros(n_ranks) if tail_s is None else np.ascontiguousarray(tail_s, np.float64)
    slow = Slowdown.none(n_ranks) if slowdown is None else slowdown
    shape = (n_ranks,)
    if begin_s.shape != shape or rest_s.shape != shape or slow.compute.shape[1:] != shape:
        given = {"start_s": begin_s, "tail_s": rest_s, "compute": slow.compute[0]}
        for name, array in given.items():
            if array.shape != shape:
                msg = f"{name}: shape {array.shape}; expected {shape}; give one value per rank"
                raise ShapeError(msg)
    clock_s = np.empty((last - first_layer, n_ranks))
    layer_end_s = np.empty(last - first_layer)
    end_s = begin_s.copy()
    parts_s = np.zeros((_N_PARTS if with_parts else 0, n_ranks))
    rows = times.rows(first=first_layer, last=last)
    if slow.change_s.size == 0 and not times.is_connected:
        pre_s, shared_s, expert_s = rows[:3]
        run_local_layers(
            pre_s,
            shared_s,
            expert_s,
            slow.compute[0],
            end_s,
            clock_s,
            layer_end_s,
            parts_s,
        )
    else:
        run_layers(
            rows,
            times.latencies_s,
            times.overlap_shared,
            times.is_connected,
            slow.change_s,
            slow.compute,
            slow.egress,
            slow.ingress,
            links,
            end_s,
            clock_s,
            layer_end_s,
            parts_s,
        )
    if last == n_layers:
        compute_tail(end_s, rest_s, slow.change_s, slow.compute, parts_s[_TAIL:])
    return StepPlan(
        start_s=begin_s,
        clock_s=clock_s,
        layer_end_s=layer_end_s,
        tail_s=rest_s,
        end_s=end_s,
        parts_s=parts_s,
    )


def resume_step(
    times: LayerTimes, *, plan: StepPlan, slowdown: Slowdown, now_s: float
) -> StepPlan:
    """Return the plan of a step after its capacities changed at `now_s`.

    What is finished is kept. The layers that were in progress are computed
    again from their entry with the history of the factors, so that each port
    and each rank keeps exactly the work that it had done, and only the rest
    runs at the new speed.

    Parameters
    ----------
    times : LayerTimes
        Nominal durations of the whole step. [s]
    plan : StepPlan
        The plan of the whole step, from layer 0, so far.
    slowdown : Slowdown
        Its last change is the one at `now_s`.
    now_s : float
        Time on the clock of the step. [s]

    Returns
    -------
    StepPlan
        Clocks of the whole step, without parts: `layered_step` with the final
        slowdown gives them once the step is over.
    """
    front = min(int(plan.layer_end_s.searchsorted(now_s, side="right")), times.shape[0] - 1)
    entry_s = plan.clock_s[front - 1] if front else plan.start_s
    clock_s, layer_end_s = np.empty_like(plan.clock_s), plan.layer_end_s.copy()
    clock_s[:front] = plan.clock_s[:front]
    end_s = entry_s.copy()
    parts_s = np.zeros((0, end_s.size))
    run_layers(
        times.rows(first=front, last=times.shape[0]),
        times.latencies_s,
        times.overlap_shared,
        times.is_connected,
        slowdown.change_s,
        slowdown.compute,
        slowdown.egress,
        slowdown.ingress,
        None,
        end_s,
        clock_s[front:],
        layer_end_s[front:],
        parts_s,
    )
    compute_tail(end_s, plan.tail_s, slowdown.change_s, slowdown.compute, parts_s)
    return StepPlan(
        start_s=plan.start_s,
        clock_s=clock_s,
        layer_end_s=layer_end_s,
        tail_s=plan.tail_s,
        end_s=end_s,
        parts_s=parts_s,
    )
