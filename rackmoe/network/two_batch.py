"""When two micro-batches that overlap compute with exchanges finish each layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.link_ends import NO_LINKS, LinkTimes
from rackmoe.network.slowdown import Slowdown, finish_all
from rackmoe.network.two_batch_layers import run_two_batches

__all__ = ["NETWORK_BOUND_FRAC", "TwoBatchPlan", "resume_two_batch", "two_batch_step"]

NETWORK_BOUND_FRAC = 0.4
"""Port busy share above which exchanges that queue for a port need a closer look.

Kind: measured; source: the recurrence against events on 8 and 16 ranks with ports of 25
to 900 GB/s. Against one ordered send stream per rank, the policy that it models, it stays
within 1 % at any share. Against max-min fair flows of all exchanges in flight it is off by
0.1 % at most below a share of 0.38, 0.9 % at 0.42, 2 % at 0.5, 3.5 % at 0.6, 5 % at 0.75 and
up to 15 % beyond: 0.4 is where 1 % is about to be lost.
"""

_N_BATCHES = 2
_NO_LINKS = (NO_LINKS, NO_LINKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoBatchPlan:
    """The clocks of all ranks in a step of two overlapped micro-batches.

    Parameters
    ----------
    start_s : ndarray of shape (4, n_ranks)
        Clocks at entry: compute free, port free, first and second micro-batch
        ready. [s]
    clocks_s : ndarray of shape (n_layers, 4, n_ranks)
        The same clocks after each layer. [s]
    layer_end_s : ndarray of shape (n_layers,)
        When the last rank finished both micro-batches of each layer. [s]
    tail_s : ndarray of shape (2, n_ranks)
        Nominal work after the last layer. [s]
    end_s : ndarray of shape (n_ranks,)
        When each rank finished the step. [s]
    port_busy_frac : ndarray of shape (2, n_ranks)
        Share of the step in which the egress and ingress ports carry data.
    overlaps : ndarray of shape (n_ranks,)
        Exchanges that were ready to start while the previous one still held
        the ports, by sender.
    """

    start_s: NDArray[np.float64]
    clocks_s: NDArray[np.float64]
    layer_end_s: NDArray[np.float64]
    tail_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    port_busy_frac: NDArray[np.float64]
    overlaps: NDArray[np.int64]

    @property
    def is_network_bound(self) -> bool:
        """Whether exchanges queue for ports that are busy for most of the step.

        If exchanges share the port instead of queueing, the recurrence is
        several per cent low: escalate to `flow`.
        """
        busiest_frac = float(self.port_busy_frac.max())
        return bool(self.overlaps.any()) and busiest_frac > NETWORK_BOUND_FRAC


def two_batch_step(
    batches: tuple[LayerTimes, LayerTimes],
    *,
    start_s: NDArray[np.float64] | None = None,
    tail_s: NDArray[np.float64] | None = None,
    slowdown: Slowdown | None = None,
    first_layer: int = 0,
    last_layer: int | None = None,
    links: tuple[tuple[LinkTimes, LinkTimes], ...] = (_NO_LINKS, _NO_LINKS),
) -> TwoBatchPlan:
    r"""Return the clocks of all ranks through a step of two micro-batches.

    Parameters
    ----------
    batches : tuple of two LayerTimes
        Nominal durations of each micro-batch, of one shape (n_layers, n_ranks). [s]
    start_s : ndarray of shape (n_ranks,) or (4, n_ranks), optional
        Clock of each rank, or a row of `TwoBatchPlan.clocks_s`, at entry of
        `first_layer`; zeros by default. [s]
    tail_s : ndarray of shape (2, n_ranks), optional
        Work after the last layer, done only if the range reaches it. [s]
    slowdown : Slowdown, optional
        Slowdown factors over the step; nominal by default.
    first_layer, last_layer : int
        Range of layers, the last one excluded; all by default.
    links : tuple of two tuple of two LinkTimes
        Dispatch and combine of each micro-batch, as for `layered_step`.

    Returns
    -------
    TwoBatchPlan
        Its arrays by layer hold the layers of the range only.

    Raises
    ------
    ShapeError
        If the two micro-batches do not have one shape.

    Notes
    -----
    Each rank computes in the order pre(0), pre(1), expert(0), expert(1); an
    exchange starts when its data are ready and the previous exchange has left
    the rank's port, whose send stream ends when its slowest receiver has taken
    the data. With compute clocks `c`, port clocks `n` and receive ends `D`:

    .. math::

        c_r &\leftarrow \max(c_r, \mathrm{ready}_{m,r}) + \mathrm{pre}_{m,r}, \quad
        t_r = \max(c_r, n_r) \\
        \mathrm{arrived}_{m,r} &= D_r(t) + \lambda_d, \quad
        n_r \leftarrow \max(t_r + E_r, \max_d w_d) \\
        c_r &\leftarrow \max(c_r, \mathrm{arrived}_{m,r}) + \mathrm{expert}_{m,r}

    and likewise for the combine, :math:`w_d` being the end of the busy period
    of port `d`. An overlapped shared expert takes compute after `pre` without
    delaying the dispatch.
    """
    n_layers, n_ranks = batches[0].shape
    if batches[1].shape != (n_layers, n_ranks):
        msg = (
            f"batches: shapes {batches[0].pre_s.shape} and {batches[1].pre_s.shape}; expected one "
            "shape; give each micro-batch all layers and ranks"
        )
        raise ShapeError(msg)
    last = n_layers if last_layer is None else last_layer
    slow = Slowdown.none(n_ranks) if slowdown is None else slowdown
    entry_s = np.zeros((2 + _N_BATCHES, n_ranks))
    if start_s is not None:
        entry_s[:] = start_s
    rest_s = np.zeros((_N_BATCHES, n_ranks)) if tail_s is None else tail_s
    state_s = entry_s.copy()
    clocks_s = np.empty((last - first_layer, 2 + _N_BATCHES, n_ranks))
    busy_s = np.zeros((2, n_ranks))
    overlaps = np.zeros(n_ranks, np.int64)
    first, second = (batch.rows(first=first_layer, last=last) for batch in batches)
    run_two_batches(
        tuple(zip(first, second, strict=True)),
        np.array([batch.latencies_s for batch in batches]),
        (batches[0].overlap_shared, batches[0].is_connected),
        slow.change_s,
        (slow.compute, slow.egress, slow.ingress),
        (links[0], links[1]),
        state_s,
        clocks_s,
        busy_s,
        overlaps,
    )
    end_s = state_s[0]
    if last == n_layers:
        for batch in range(_N_BATCHES):
            begin_s = np.maximum(end_s, state_s[2 + batch])
            finish_all(begin_s, rest_s[batch], slow.change_s, slow.compute, end_s)
    else:
        end_s = state_s.max(axis=0)
    took_s = max(float(end_s.max() - entry_s.min()), float(np.finfo(np.float64).tiny))
    return TwoBatchPlan(
        start_s=entry_s,
        clocks_s=clocks_s,
        layer_end_s=np.asarray(clocks_s[:, 2:].max(axis=(1, 2))),
        tail_s=rest_s,
        end_s=end_s,
        port_busy_frac=busy_s / took_s,
        overlaps=overlaps,
    )


def resume_two_batch(
    batches: tuple[LayerTimes, LayerTimes],
    *,
    plan: TwoBatchPlan,
    slowdown: Slowdown,
    now_s: float,
) -> TwoBatchPlan:
    """Return the plan after capacities changed at `now_s`, as `resume_step` does.

    Parameters
    ----------
    batches : tuple of two LayerTimes
        Nominal durations of the whole step. [s]
    plan : TwoBatchPlan
        The plan of the whole step, from layer 0, so far.
    slowdown : Slowdown
        Its last change is the one at `now_s`.
    now_s : float
        Time on the clock of the step. [s]

    Returns
    -------
    TwoBatchPlan
        Clocks of the whole step; busy shares and overlaps are those of the
        layers computed again.
    """
    front = int(np.searchsorted(plan.layer_end_s, now_s, side="right"))
    front = min(front, plan.layer_end_s.size - 1)
    entry_s = plan.clocks_s[front - 1] if front else plan.start_s
    rest = two_batch_step(
        batches,
        start_s=entry_s,
        tail_s=plan.tail_s,
        slowdown=slowdown.since(float(entry_s[0].min())),
        first_layer=front,
    )
    if not front:
        return rest
    return TwoBatchPlan(
        start_s=plan.start_s,
        clocks_s=np.concatenate((plan.clocks_s[:front], rest.clocks_s)),
        layer_end_s=np.concatenate((plan.layer_end_s[:front], rest.layer_end_s)),
        tail_s=plan.tail_s,
        end_s=rest.end_s,
        port_busy_frac=rest.port_busy_frac,
        overlaps=rest.overlaps,
    )
