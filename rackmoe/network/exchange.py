"""When each rank holds all its data in an all-to-all whose ranks start at different times."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.slowdown import finish_all, finish_s, served_s, served_until_s

__all__ = ["busy_ends", "receive_ends", "sort_order"]


@njit(cache=True)
def sort_order(key_s: NDArray[np.float64], order: NDArray[np.int64]) -> None:
    """Sort `order` in place by time; cheap when it is nearly sorted already.

    Ranks keep most of their order from layer to layer, so an insertion sort
    from the previous order beats a sort from scratch.

    Parameters
    ----------
    key_s : ndarray of shape (n_ranks,)
        Time of each rank. [s]
    order : ndarray of shape (n_ranks,)
        A permutation of the ranks.
    """
    for i in range(1, order.size):
        rank = order[i]
        key = key_s[rank]
        j = i
        while j > 0 and key_s[order[j - 1]] > key:
            order[j] = order[j - 1]
            j -= 1
        order[j] = rank


@njit(cache=True)
def _speed(
    at_s: float,
    start_s: NDArray[np.float64],
    send_end_s: NDArray[np.float64],
    factor: NDArray[np.float64],
) -> float:
    # Total speed of the ranks that send right after at_s.
    total = 0.0
    for s in range(start_s.size):
        if start_s[s] <= at_s < send_end_s[s]:
            total += 1.0 / factor[s]
    return total


@njit(cache=True)
def _moments(
    start_s: NDArray[np.float64],
    send_end_s: NDArray[np.float64],
    total_s: float,
    change_s: NDArray[np.float64],
    factor: NDArray[np.float64],
    orders: NDArray[np.int64],
    moments: NDArray[np.float64],
) -> None:
    # Rows of moments, one column per start and then per change: the time, what all
    # ranks together have yet to send, and their total speed before and after it.
    n_ranks = start_s.size
    order, end_order = orders[0], orders[1]
    sort_order(start_s, order)
    sort_order(send_end_s, end_order)
    n_changes = change_s.size
    starts, ends, changes = 0, 0, 0
    at_s, speed = -np.inf, 0.0
    left_s = total_s
    next_start_s, next_end_s = start_s[order[0]], send_end_s[end_order[0]]
    next_change_s = change_s[0] if n_changes else np.inf
    while starts < n_ranks or changes < n_changes:
        next_s = min(next_start_s, next_end_s)
        next_s = min(next_s, next_change_s)
        if speed > 0.0:
            left_s -= (next_s - at_s) * speed
            left_s = max(0.0, left_s)
        at_s = next_s
        before = speed
        if next_start_s == next_s:
            column = starts
            speed += 1.0 / factor[changes, order[starts]]
            starts += 1
            next_start_s = start_s[order[starts]] if starts < n_ranks else np.inf
        elif next_end_s == next_s:
            speed -= 1.0 / factor[changes, end_order[ends]]
            ends += 1
            next_end_s = send_end_s[end_order[ends]] if ends < n_ranks else np.inf
            continue
        else:
            column = n_ranks + changes
            changes += 1
            next_change_s = change_s[changes] if changes < n_changes else np.inf
            speed = _speed(at_s, start_s, send_end_s, factor[changes])
        moments[0, column] = at_s
        moments[1, column] = left_s
        moments[2, column] = before
        moments[3, column] = speed


@njit(cache=True)
def _keep_candidates(
    moments: NDArray[np.float64], n_moments: int, least: float, most: float
) -> int:
    # Move the moments at which the backlog of any port can begin to the front.
    n_kept = 0
    for k in range(n_moments):
        if moments[3, k] >= least and moments[2, k] < most:
            for row in range(4):
                moments[row, n_kept] = moments[row, k]
            n_kept += 1
    return n_kept


@njit(cache=True)
def _busy_end_s(
    begin_s: float,
    egress_s: float,
    speed: float,
    slope: float,
    low_rate: float,
    high_rate: float,
    moments: NDArray[np.float64],
    n_moments: int,
) -> float:
    # Latest end of a busy period of one port, or minus infinity without any.
    best_s = -np.inf
    for k in range(n_moments):
        if moments[3, k] >= low_rate and moments[2, k] < high_rate:
            sent_s = (moments[0, k] - begin_s) * speed
            own_speed = speed if 0.0 <= sent_s < egress_s else 0.0
            if moments[3, k] - own_speed >= low_rate:
                own_s = egress_s - min(max(sent_s, 0.0), egress_s)
                best_s = max(best_s, moments[0, k] + (moments[1, k] - own_s) * slope)
    return best_s


@njit(cache=True)
def _busy_end_varying_s(
    d: int,
    begin_s: float,
    egress_s: float,
    slope: float,
    low_rate: float,
    high_rate: float,
    moments: NDArray[np.float64],
    n_moments: int,
    change_s: NDArray[np.float64],
    egress_factor: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
) -> float:
    # The same for a port that changes speed: in its own time, in which it always
    # serves one second per second.
    best_s = -np.inf
    begun_s = served_s(begin_s, change_s, egress_factor, d)
    for k in range(n_moments):
        if moments[3, k] >= low_rate and moments[2, k] < high_rate:
            sent_s = served_s(moments[0, k], change_s, egress_factor, d) - begun_s
            row = np.searchsorted(change_s, moments[0, k], side="right")
            own_speed = 1.0 / egress_factor[row, d] if 0.0 <= sent_s < egress_s else 0.0
            if (moments[3, k] - own_speed) * slope * ingress_factor[row, d] >= 1.0:
                own_s = egress_s - min(max(sent_s, 0.0), egress_s)
                free_s = served_s(moments[0, k], change_s, ingress_factor, d)
                best_s = max(best_s, free_s + (moments[1, k] - own_s) * slope)
    if best_s > -np.inf:
        best_s = served_until_s(best_s, change_s, ingress_factor, d)
    return best_s


@njit(cache=True)
def _late_ports(
    start_s: float,
    total_s: float,
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    end_s: NDArray[np.float64],
    late: NDArray[np.int64],
) -> int:
    # Ports whose busy period, which holds at most all work, can end after end_s; it begins
    # at a start, or at a change.
    latest_s = max(start_s, change_s[-1]) if change_s.size else start_s
    n_late = 0
    for d in range(end_s.size):
        if change_s.size:
            bound_s = finish_s(latest_s, ingress_s[d], change_s, ingress_factor, d)
        else:
            bound_s = latest_s + ingress_s[d] * ingress_factor[0, d]
        if bound_s > end_s[d]:
            if total_s <= egress_s[d]:
                # data without a sender: all of it arrives with the last start
                alone_s = finish_s(start_s, ingress_s[d], change_s, ingress_factor, d)
                end_s[d] = max(end_s[d], alone_s)
            elif ingress_s[d] > 0.0:
                late[n_late] = d
                n_late += 1
    return n_late


@njit(cache=True)
def _backlog_rates(
    late: NDArray[np.int64],
    n_late: int,
    total_s: float,
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    egress_factor: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    rates: NDArray[np.float64],
) -> tuple[float, float]:
    # Rows of rates for each port: arrivals at nominal speed that fill it; least arrivals
    # after and most before the moment at which a backlog begins. Returns the extremes.
    least, most = np.inf, -np.inf
    for i in range(n_late):
        d = late[i]
        slowest, fastest, sender = ingress_factor[0, d], ingress_factor[0, d], egress_factor[0, d]
        for k in range(1, ingress_factor.shape[0]):
            slowest = max(slowest, ingress_factor[k, d])
            fastest = min(fastest, ingress_factor[k, d])
            sender = min(sender, egress_factor[k, d])
        rate = (total_s - egress_s[d]) / ingress_s[d]
        rates[0, i] = rate
        rates[1, i] = rate / slowest
        rates[2, i] = rate / fastest + 1.0 / sender
        least = min(least, rates[1, i])
        most = max(most, rates[2, i])
    return least, most


@njit(cache=True)
def busy_ends(
    start_s: NDArray[np.float64],
    send_end_s: NDArray[np.float64],
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    egress_factor: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    orders: NDArray[np.int64],
    floor_s: float,
    end_s: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> None:
    """Compute when each port has worked off its backlog, if later than `floor_s`.

    Parameters
    ----------
    start_s, send_end_s : ndarray of shape (n_ranks,)
        When each rank starts and ends to send. [s]
    egress_s, ingress_s : ndarray of shape (n_ranks,)
        Nominal time to send and to receive. [s]
    change_s : ndarray of shape (n_changes,)
        Times at which ports change speed. [s]
    egress_factor, ingress_factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors of the ports.
    orders : ndarray of shape (3, n_ranks)
        Two permutations of the ranks, by start and by end, best those that the
        previous call left, and room for a list of ranks.
    floor_s : float
        Ends at or before this time are not worth computing. [s]
    end_s : ndarray of shape (n_ranks,)
        Result: the end of the last busy period where later than `floor_s`,
        otherwise `floor_s` or earlier. [s]
    scratch : ndarray of shape (7, n_ranks + n_changes or more)
        Room to work in.
    """
    total_s, latest_s = 0.0, -np.inf
    for r in range(start_s.size):
        total_s += egress_s[r]
        latest_s = max(latest_s, start_s[r])
        end_s[r] = floor_s
    late, moments, rates = orders[2], scratch[:4], scratch[4:]
    n_late = _late_ports(
        latest_s, total_s, egress_s, ingress_s, change_s, ingress_factor, end_s, late
    )
    if n_late == 0:
        return
    least, most = _backlog_rates(
        late, n_late, total_s, egress_s, ingress_s, egress_factor, ingress_factor, rates
    )
    _moments(start_s, send_end_s, total_s, change_s, egress_factor, orders, moments)
    n_kept = _keep_candidates(moments, start_s.size + change_s.size, least, most)
    for i in range(n_late):
        d = late[i]
        if change_s.size == 0:
            end_s[d] = _busy_end_s(
                start_s[d],
                egress_s[d],
                1.0 / egress_factor[0, d],
                ingress_factor[0, d] / rates[0, i],
                rates[1, i],
                rates[2, i],
                moments,
                n_kept,
            )
        else:
            end_s[d] = _busy_end_varying_s(
                d,
                start_s[d],
                egress_s[d],
                1.0 / rates[0, i],
                rates[1, i],
                rates[2, i],
                moments,
                n_kept,
                change_s,
                egress_factor,
                ingress_factor,
            )


@njit(cache=True)
def receive_ends(
    start_s: NDArray[np.float64],
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    egress_factor: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    orders: NDArray[np.int64],
    send_end_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
    scratch: NDArray[np.float64],
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
    orders : ndarray of shape (3, n_ranks)
        Two permutations of the ranks, by start and by end, best those that the
        previous call left, and room for a list of ranks.
    send_end_s, end_s : ndarray of shape (n_ranks,)
        Results: when each rank has sent everything, and when each rank holds
        everything. [s]
    scratch : ndarray of shape (7, n_ranks + n_changes or more)
        Room to work in.

    Notes
    -----
    All ranks take part, even those with nothing to send, since receivers wait
    for their counts. Each rank sends at full speed from its start
    :math:`t_s` and serves its destinations in proportion to their bytes; the
    port of `d` works off what arrives, a fluid queue. With :math:`U_s(t)` what
    `s` has yet to send at `t`:

    .. math::

        D_d = \max\Bigl(\max_s (t_s + E_s),\;
              \max_k \bigl(t_k + \sum_{s \ne d} U_s(t_k)\, I_d / \sum_{s \ne d} E_s\bigr)\Bigr)

    The second term is the busy period that begins at the `k`-th start, as in
    the recursion of [1]_ in continuous time: arrivals grow faster only at
    starts, or where a port changes speed. Marginals stand for the matrix:
    good where every pair is active.

    References
    ----------
    .. [1] D. V. Lindley, "The theory of queues with a single server," Math.
       Proc. Cambridge Philos. Soc., vol. 48, no. 2, pp. 277-289, 1952.
    """
    finish_all(start_s, egress_s, change_s, egress_factor, send_end_s)
    sent_s = -np.inf
    for s in range(start_s.size):
        sent_s = max(sent_s, send_end_s[s])
    busy_ends(
        start_s,
        send_end_s,
        egress_s,
        ingress_s,
        change_s,
        egress_factor,
        ingress_factor,
        orders,
        sent_s,
        end_s,
        scratch,
    )
    for d in range(start_s.size):
        end_s[d] = max(end_s[d], sent_s)
