"""When flows finish that share links fairly from their start to their end."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.sharing import FlowLinks, fill_levels, max_min_rates_bytes_per_s

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
        links.flow,
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
    is_active: NDArray[np.bool_],
    finish_s: NDArray[np.float64],
) -> int:
    while next_flow < order.size and start_s[order[next_flow]] <= at_s:
        f = order[next_flow]
        is_active[f] = left_bytes[f] > 0.0
        finish_s[f] = at_s
        next_flow += 1
    return next_flow


@njit(cache=True)
def _advance(
    step_s: float,
    limit_s: float,
    at_s: float,
    rate: NDArray[np.float64],
    left_bytes: NDArray[np.float64],
    is_active: NDArray[np.bool_],
    finish_s: NDArray[np.float64],
) -> int:
    n_done = 0
    for f in range(rate.size):
        if is_active[f]:
            if left_bytes[f] <= rate[f] * limit_s:
                is_active[f] = False
                finish_s[f] = at_s
                n_done += 1
            else:
                left_bytes[f] -= rate[f] * step_s
    return n_done


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
    n_flows = size_bytes.size
    left_bytes = size_bytes.copy()
    is_active = np.zeros(n_flows, np.bool_)
    rate = np.zeros(n_flows)
    next_flow = 0
    at_s = 0.0
    while True:
        next_flow = _admit(at_s, next_flow, order, start_s, left_bytes, is_active, finish_s)
        if not is_active.any():
            if next_flow == n_flows:
                return
            at_s = start_s[order[next_flow]]
            continue
        fill_levels(
            flow_start, link, load, link_start, flow, capacity_bytes_per_s, is_active, rate
        )
        step_s = np.inf
        for f in range(n_flows):
            if is_active[f]:
                rate[f] *= weight[f]
                step_s = min(step_s, left_bytes[f] / rate[f])
        limit_s = step_s * (1.0 + _ROUNDING_FRAC) + batch_frac * (at_s + step_s)
        if next_flow < n_flows and start_s[order[next_flow]] - at_s < step_s:
            step_s = start_s[order[next_flow]] - at_s
            limit_s = -1.0
            at_s = start_s[order[next_flow]]
        else:
            at_s += step_s
        _advance(step_s, limit_s, at_s, rate, left_bytes, is_active, finish_s)
