"""When flows finish that share links fairly from their start to their end."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.sharing import FlowLinks, max_min_rates_bytes_per_s, raise_levels

__all__ = ["flow_finish_s", "link_bound_s", "one_fill_finish_s"]

_ROUNDING_FRAC = 1e-9
"""Flows that would finish within this share of the next interval finish together."""


def flow_finish_s(
    links: FlowLinks,
    *,
    capacity_bytes_per_s: NDArray[np.float64],
    size_bytes: NDArray[np.float64],
    start_s: NDArray[np.float64] | None = None,
    weight: NDArray[np.float64] | None = None,
    batch_frac: float = 0.0,
) -> NDArray[np.float64]:
    """Return when each flow finishes under weighted max-min sharing.

    Rates are constant between two events, a start or a finish, and solved anew
    at each.

    Parameters
    ----------
    links : FlowLinks
        Links of each flow.
    capacity_bytes_per_s : ndarray of shape (n_links,)
        Capacities. [B/s]
    size_bytes : ndarray of shape (n_flows,)
        What each flow carries. [B]
    start_s : ndarray of shape (n_flows,), optional
        When each flow starts; zeros by default. [s]
    weight : ndarray of shape (n_flows,), optional
        Weights; ones by default.
    batch_frac : float
        Flows due within this share of the time of the next finish end with
        it: fewer solves for a bounded error; 0 is exact.

    Returns
    -------
    ndarray of shape (n_flows,)
        Finish of each flow. [s]
    """
    n_flows = size_bytes.size
    weights = np.ones(n_flows) if weight is None else weight
    begin_s = np.zeros(n_flows) if start_s is None else np.asarray(start_s, np.float64)
    finish_s = np.empty(n_flows)
    _run_flows(
        links.flow_start,
        links.link,
        links.crossing_frac * np.repeat(weights, np.diff(links.flow_start)),
        links.link_start,
        links.flow.copy(),
        np.asarray(capacity_bytes_per_s, np.float64),
        weights,
        np.asarray(size_bytes, np.float64),
        begin_s,
        np.argsort(begin_s, kind="stable"),
        batch_frac,
        finish_s,
    )
    return finish_s


def one_fill_finish_s(
    links: FlowLinks,
    *,
    capacity_bytes_per_s: NDArray[np.float64],
    size_bytes: NDArray[np.float64],
) -> NDArray[np.float64]:
    r"""Return when simultaneous flows finish whose weights equal their bytes.

    Senders that work through their tokens in order serve their destinations
    in proportion to the bytes, and then one filling gives every finish.

    Parameters
    ----------
    links : FlowLinks
        Links of each flow.
    capacity_bytes_per_s : ndarray of shape (n_links,)
        Capacities. [B/s]
    size_bytes : ndarray of shape (n_flows,)
        What each flow carries. [B]

    Returns
    -------
    ndarray of shape (n_flows,)
        Finish of each flow. [s]

    Notes
    -----
    :math:`T_f = b_f / r_f = 1 / \lambda_f`. On the bottleneck link of a flow
    every other flow has a level at most its own, so it ends no earlier, and
    what other links free later does not reach this one: no event changes the
    rate of a flow before its end. The slowest equals `link_bound_s`.
    """
    rate = max_min_rates_bytes_per_s(
        links, capacity_bytes_per_s=capacity_bytes_per_s, weight=size_bytes
    )
    return np.asarray(size_bytes / rate)


def link_bound_s(
    links: FlowLinks,
    *,
    capacity_bytes_per_s: NDArray[np.float64],
    size_bytes: NDArray[np.float64],
) -> float:
    r"""Return the least makespan that any schedule of simultaneous flows can have.

    Parameters
    ----------
    links : FlowLinks
        Links of each flow.
    capacity_bytes_per_s : ndarray of shape (n_links,)
        Capacities. [B/s]
    size_bytes : ndarray of shape (n_flows,)
        What each flow carries. [B]

    Returns
    -------
    float
        :math:`\max_l \sum_f a_{lf} b_f / C_l`. [s]
    """
    carried_bytes = links.crossing_frac * np.repeat(size_bytes, np.diff(links.flow_start))
    load_bytes = np.bincount(
        links.link, weights=carried_bytes, minlength=capacity_bytes_per_s.size
    )
    return float((load_bytes / capacity_bytes_per_s).max())


@njit(cache=True)
def _admit(
    at_s: float,
    next_flow: int,
    order: NDArray[np.int64],
    start_s: NDArray[np.float64],
    left_bytes: NDArray[np.float64],
    active: NDArray[np.int64],
    finish_s: NDArray[np.float64],
) -> int:
    # Append the flows that start until at_s to the active ones, whose number is the last element.
    while next_flow < order.size and start_s[order[next_flow]] <= at_s:
        f = order[next_flow]
        finish_s[f] = at_s
        if left_bytes[f] > 0.0:
            active[active[-1]] = f
            active[-1] += 1
        next_flow += 1
    return next_flow


@njit(cache=True)
def _count(
    f: int,
    sign: int,
    flow_start: NDArray[np.int64],
    link: NDArray[np.int64],
    load: NDArray[np.float64],
    weight: NDArray[np.float64],
    n_on: NDArray[np.int64],
) -> None:
    # Add a flow to its links or take it off; an empty link forgets its rounding errors.
    for j in range(flow_start[f], flow_start[f + 1]):
        m = link[j]
        n_on[m] += sign
        weight[m] = weight[m] + sign * load[j] if n_on[m] else 0.0


@njit(cache=True)
def _advance(
    step_s: float,
    limit_s: float,
    at_s: float,
    rate: NDArray[np.float64],
    left_bytes: NDArray[np.float64],
    active: NDArray[np.int64],
    is_done: NDArray[np.bool_],
    finish_s: NDArray[np.float64],
) -> int:
    # Move bytes for step_s; what needs at most limit_s is done and behind the active ones.
    # Returns the number of flows that were active before.
    n_active = active[-1]
    kept = 0
    for i in range(n_active):
        f = active[i]
        if left_bytes[f] <= rate[f] * limit_s:
            is_done[f] = True
            finish_s[f] = at_s
        else:
            left_bytes[f] -= rate[f] * step_s
            active[i] = active[kept]
            active[kept] = f
            kept += 1
    active[-1] = kept
    return int(n_active)


@njit(cache=True)
def _drop_done(
    is_done: NDArray[np.bool_],
    link_start: NDArray[np.int64],
    link_end: NDArray[np.int64],
    flow: NDArray[np.int64],
) -> None:
    # Shorten the list of each link to the flows that are not done.
    for m in range(link_end.size):
        kept = link_start[m]
        for k in range(link_start[m], link_end[m]):
            if not is_done[flow[k]]:
                flow[kept] = flow[k]
                kept += 1
        link_end[m] = kept


@njit(cache=True)
def _least_left_s(
    active: NDArray[np.int64],
    weight: NDArray[np.float64],
    left_bytes: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> float:
    # Turn levels into rates; the time until the first flow would finish.
    step_s = np.inf
    for i in range(active[-1]):
        f = active[i]
        rate[f] *= weight[f]
        step_s = min(step_s, left_bytes[f] / rate[f])
    return step_s


@njit(cache=True)
def _run_flows(
    flow_start: NDArray[np.int64],
    link: NDArray[np.int64],
    load: NDArray[np.float64],
    link_start: NDArray[np.int64],
    flow: NDArray[np.int64],
    capacity_bytes_per_s: NDArray[np.float64],
    weight: NDArray[np.float64],
    size_bytes: NDArray[np.float64],
    start_s: NDArray[np.float64],
    order: NDArray[np.int64],
    batch_frac: float,
    finish_s: NDArray[np.float64],
) -> None:
    # What is on each link is kept from event to event, so that one costs what is active.
    n_flows, n_links = size_bytes.size, capacity_bytes_per_s.size
    left_bytes = size_bytes.copy()
    active = np.zeros(n_flows + 1, np.int64)
    is_done = np.zeros(n_flows, np.bool_)
    rate = np.zeros(n_flows)
    link_end = link_start[1:].copy()
    link_weight = np.zeros(n_links)
    n_on = np.zeros(n_links, np.int64)
    next_flow, n_listed = 0, n_flows
    at_s = 0.0
    while True:
        n_before = active[-1]
        next_flow = _admit(at_s, next_flow, order, start_s, left_bytes, active, finish_s)
        for i in range(n_before, active[-1]):
            _count(active[i], 1, flow_start, link, load, link_weight, n_on)
        if active[-1] == 0:
            if next_flow == n_flows:
                return
            at_s = start_s[order[next_flow]]
            continue
        for i in range(active[-1]):
            rate[active[i]] = -1.0
        raise_levels(
            flow_start,
            link,
            load,
            link_start,
            link_end,
            flow,
            capacity_bytes_per_s.copy(),
            link_weight.copy(),
            n_on.copy(),
            rate,
        )
        step_s = _least_left_s(active, weight, left_bytes, rate)
        limit_s = step_s * (1.0 + _ROUNDING_FRAC) + batch_frac * (at_s + step_s)
        if next_flow < n_flows and start_s[order[next_flow]] - at_s < step_s:
            step_s = start_s[order[next_flow]] - at_s
            limit_s = -1.0
            at_s = start_s[order[next_flow]]
        else:
            at_s += step_s
        n_before = _advance(step_s, limit_s, at_s, rate, left_bytes, active, is_done, finish_s)
        for i in range(active[-1], n_before):
            _count(active[i], -1, flow_start, link, load, link_weight, n_on)
        if 2 * (n_flows - next_flow + active[-1]) < n_listed:
            n_listed = n_flows - next_flow + active[-1]
            _drop_done(is_done, link_start, link_end, flow)
