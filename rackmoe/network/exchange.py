"""When each rank holds all its data in an all-to-all whose ranks start at different times."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.slowdown import finish_all, finish_s, served_s, served_until_s

__all__ = ["busy_ends", "receive_ends", "sort_starts"]


@njit(cache=True)
def sort_starts(start_s: NDArray[np.float64], order: NDArray[np.int64]) -> None:
    """Sort `order` in place by start time; cheap when it is nearly sorted already.

    Ranks keep most of their order from layer to layer, so an insertion sort
    from the previous order beats a sort from scratch.

    Parameters
    ----------
    start_s : ndarray of shape (n_ranks,)
        Start of each rank. [s]
    order : ndarray of shape (n_ranks,)
        A permutation of the ranks.
    """
    for i in range(1, order.size):
        rank = order[i]
        key = start_s[rank]
        j = i
        while j > 0 and start_s[order[j - 1]] > key:
            order[j] = order[j - 1]
            j -= 1
        order[j] = rank


@njit(cache=True)
def _early_sources(
    start_s: NDArray[np.float64],
    egress_s: NDArray[np.float64],
    slope: NDArray[np.float64],
    order: NDArray[np.int64],
    tail_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
) -> None:
    # Busy periods of d that begin with a source before d: maximum of the lines
    # start_k + tail_k * slope over the upper hull of the sources seen so far.
    n_ranks = order.size
    hull = np.empty(n_ranks, np.int64)
    size = 0
    for p in range(n_ranks):
        d = order[p]
        if slope[d] >= 0.0 and size:
            best_s = -np.inf
            for h in range(size):
                value_s = start_s[order[hull[h]]] + tail_s[hull[h]] * slope[d]
                if value_s < best_s:
                    break
                best_s = value_s
            end_s[d] = max(end_s[d], best_s - egress_s[d] * slope[d])
        while size:
            j = hull[size - 1]
            if tail_s[j] > tail_s[p]:
                if size == 1:
                    break
                i = hull[size - 2]
                rise_s = start_s[order[p]] - start_s[order[j]]
                gain_s = start_s[order[j]] - start_s[order[i]]
                if rise_s * (tail_s[i] - tail_s[j]) < gain_s * (tail_s[j] - tail_s[p]):
                    break
            size -= 1
        hull[size] = p
        size += 1


@njit(cache=True)
def _late_sources(
    start_s: NDArray[np.float64],
    slope: NDArray[np.float64],
    order: NDArray[np.int64],
    tail_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
) -> None:
    # Busy periods of d that begin with a source after d: the hull built from the last start on.
    n_ranks = order.size
    hull = np.empty(n_ranks, np.int64)
    size = 0
    for p in range(n_ranks - 1, -1, -1):
        d = order[p]
        if slope[d] >= 0.0:
            best_s = -np.inf
            for h in range(size - 1, -1, -1):
                value_s = start_s[order[hull[h]]] + tail_s[hull[h]] * slope[d]
                if value_s < best_s:
                    break
                best_s = value_s
            end_s[d] = max(end_s[d], best_s)
        if size and tail_s[p] <= tail_s[hull[size - 1]]:
            continue
        while size:
            j = hull[size - 1]
            fall_s = start_s[order[j]] - start_s[order[p]]
            if fall_s > 0.0:
                if size == 1:
                    break
                i = hull[size - 2]
                lost_s = start_s[order[i]] - start_s[order[j]]
                if fall_s * (tail_s[j] - tail_s[i]) > lost_s * (tail_s[p] - tail_s[j]):
                    break
            size -= 1
        hull[size] = p
        size += 1


@njit(cache=True)
def _busy_end_s(
    d: int,
    start_s: NDArray[np.float64],
    egress_s: NDArray[np.float64],
    slope: float,
    order: NDArray[np.int64],
    change_s: NDArray[np.float64],
    factor: NDArray[np.float64],
) -> float:
    # The same maximum for one destination whose port changes speed: in the
    # port's own time, in which it always serves one second per second.
    best_s = -np.inf
    tail_s = 0.0
    for p in range(order.size - 1, -1, -1):
        s = order[p]
        if s == d:
            continue
        tail_s += egress_s[s]
        best_s = max(best_s, served_s(start_s[s], change_s, factor, d) + tail_s * slope)
    return served_until_s(best_s, change_s, factor, d)


@njit(cache=True)
def busy_ends(
    start_s: NDArray[np.float64],
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    order: NDArray[np.int64],
    floor_s: float,
    end_s: NDArray[np.float64],
) -> None:
    """Compute when each port has taken all its data, if later than `floor_s`.

    Parameters
    ----------
    start_s : ndarray of shape (n_ranks,)
        When each rank starts to send. [s]
    egress_s, ingress_s : ndarray of shape (n_ranks,)
        Nominal time to send and to receive; sends serve as weights only. [s]
    change_s : ndarray of shape (n_changes,)
        Times at which ports change speed. [s]
    ingress_factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors of the ports.
    order : ndarray of shape (n_ranks,)
        A permutation of the ranks; sorted by start on return if it was needed.
    floor_s : float
        Ends at or before this time are not worth computing. [s]
    end_s : ndarray of shape (n_ranks,)
        Result: the end of the last busy period where later than `floor_s`,
        otherwise `floor_s` or earlier. [s]
    """
    n_ranks = start_s.size
    latest_s = start_s.max()
    total_s = egress_s.sum()
    slope = np.full(n_ranks, -1.0)
    n_late = 0
    for d in range(n_ranks):
        # no busy period ends later than one that holds all work after the last start
        if change_s.size:
            bound_s = finish_s(latest_s, ingress_s[d], change_s, ingress_factor, d)
        else:
            bound_s = latest_s + ingress_s[d] * ingress_factor[0, d]
        others_s = total_s - egress_s[d]
        end_s[d] = floor_s
        if bound_s > floor_s:
            if others_s > 0.0:
                slope[d] = ingress_s[d] / others_s
                end_s[d] = -np.inf
                n_late += 1
            else:
                end_s[d] = bound_s
    if n_late == 0:
        return
    sort_starts(start_s, order)
    if change_s.size == 0:
        slope *= ingress_factor[0]
        _busy_hulls(start_s, egress_s, slope, order, end_s)
        return
    for d in range(n_ranks):
        if slope[d] >= 0.0:
            end_s[d] = _busy_end_s(d, start_s, egress_s, slope[d], order, change_s, ingress_factor)


@njit(cache=True)
def _busy_hulls(
    start_s: NDArray[np.float64],
    egress_s: NDArray[np.float64],
    slope: NDArray[np.float64],
    order: NDArray[np.int64],
    end_s: NDArray[np.float64],
) -> None:
    n_ranks = order.size
    tail_s = np.empty(n_ranks)
    sum_s = 0.0
    for p in range(n_ranks - 1, -1, -1):
        sum_s += egress_s[order[p]]
        tail_s[p] = sum_s
    _early_sources(start_s, egress_s, slope, order, tail_s, end_s)
    _late_sources(start_s, slope, order, tail_s, end_s)


@njit(cache=True)
def receive_ends(
    start_s: NDArray[np.float64],
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    egress_factor: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    order: NDArray[np.int64],
    send_end_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
) -> None:
    r"""Compute when each port has received everything, start-up latency apart.

    Parameters
    ----------
    start_s : ndarray of shape (n_ranks,)
        When each rank starts to send. [s]
    egress_s, ingress_s : ndarray of shape (n_ranks,)
        Time that the port of each rank needs to send, and to receive, at
        nominal speed. [s]
    change_s : ndarray of shape (n_changes,)
        Times at which ports change speed. [s]
    egress_factor, ingress_factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors of the ports.
    order : ndarray of shape (n_ranks,)
        A permutation of the ranks, best the one that the previous call left;
        on return sorted by start if the order was needed.
    send_end_s, end_s : ndarray of shape (n_ranks,)
        Results: when each rank has sent everything, and when each rank holds
        everything. [s]

    Notes
    -----
    All ranks take part, even those with nothing to send, since receivers wait
    for their counts. With :math:`t_{(1)} \le \dots \le t_{(n)}`:

    .. math::

        D_d = \max\Bigl(\max_s (t_s + E_s),\;
              \max_k \bigl(t_{(k)} + \sum_{s \ne d:\, t_s \ge t_{(k)}} B_{sd}\bigr)\Bigr),
        \quad B_{sd} = I_d\, E_s / \sum_{s' \ne d} E_{s'}

    The second term is the busy period of port `d`, a Lindley recursion [1]_
    in which all work of a source arrives with its start. Marginals stand for
    the matrix: good where every pair is active. The maximum over `k` is taken
    on the upper hull of the lines in :math:`I_d`.

    References
    ----------
    .. [1] D. V. Lindley, "The theory of queues with a single server," Math.
       Proc. Cambridge Philos. Soc., vol. 48, no. 2, pp. 277-289, 1952.
    """
    finish_all(start_s, egress_s, change_s, egress_factor, send_end_s)
    sent_s = send_end_s.max()
    busy_ends(start_s, egress_s, ingress_s, change_s, ingress_factor, order, sent_s, end_s)
    for d in range(start_s.size):
        end_s[d] = max(end_s[d], sent_s)
