"""New rates after flows or capacities changed, for the links that feel the change."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.arbitration import Arbitration
from rackmoe.network.flow_table import FlowTable
from rackmoe.network.flow_updates import (
    AFTER,
    CAPACITY,
    CLASS,
    FINISH_PS,
    FIRST,
    FLOW_MARK,
    IS_WATCHED,
    LEFT,
    LINK_MARK,
    LINK_RATE,
    MAX_HOPS,
    N_HOPS,
    NEVER_PS,
    PS_PER_S,
    RATE,
    RESERVED,
    SINCE_PS,
    WEIGHT,
)
from rackmoe.network.sharing import TIE_FRAC

__all__ = ["RateSolver"]

_BY_FLOW, _BY_CLASS, _BY_PRIORITY = range(3)
_RULES = {
    Arbitration.PER_FLOW: _BY_FLOW,
    Arbitration.CLASSES: _BY_CLASS,
    Arbitration.PRIORITY: _BY_PRIORITY,
}

_ALL_CLASSES = -1
_FAR_PS = 4e18
"""Finishes later than this, 46 days, count as never. [ps]"""


class RateSolver:
    """Solve the rates of the flows of a table, only where a change can reach.

    Parameters
    ----------
    arbitration : Arbitration
        How classes of traffic share a link. Under `CLASSES` each class first
        gets its weighted share of each link, divided max-min fairly among its
        flows; what a class cannot use then rises max-min fairly for all.
        Under `PRIORITY` classes are filled one after the other.
    class_weight : ndarray of shape (n_classes,)
        Weights for `CLASSES`; the order of the classes is that of `PRIORITY`.
    """

    def __init__(self, arbitration: Arbitration, *, class_weight: NDArray[np.float64]) -> None:
        self._rule = _RULES[arbitration]
        self._class_weight = np.asarray(class_weight, np.float64)
        self.n_solves = 0

    def solve(
        self, table: FlowTable, *, changed: NDArray[np.int64], now_ps: int
    ) -> tuple[int, list[int]]:
        """Set new rates in the components of the changed links; leave all others alone.

        Parameters
        ----------
        table : FlowTable
            Links and flows, updated.
        changed : ndarray of shape (n_changed,)
            Links on which flows or capacities changed.
        now_ps : int
            Time. [ps]

        Returns
        -------
        next_ps : int
            Earliest finish of all flows. [ps]
        moved : list of int
            Watched links whose rate changed.
        """
        self.n_solves += 1
        moved = np.empty(table.link_counts.shape[1], np.int64)
        next_ps, n_moved = _solve(
            now_ps,
            self.n_solves,
            self._rule,
            changed,
            self._class_weight,
            table.link_values,
            table.link_counts,
            table.flow_values,
            table.flow_counts,
            table.hops,
            table.chain,
            table.active,
            moved,
        )
        return int(next_ps), moved[:n_moved].tolist()


@njit(cache=True)
def _component(
    mark: int,
    changed: NDArray[np.int64],
    link_counts: NDArray[np.int64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    links: NDArray[np.int64],
    flows: NDArray[np.int64],
) -> tuple[int, int]:
    # All links and flows that share links with the changed ones, directly or through others.
    n_links = 0
    n_flows = 0
    for m in changed:
        if link_counts[LINK_MARK, m] != mark:
            link_counts[LINK_MARK, m] = mark
            links[n_links] = m
            n_links += 1
    i = 0
    while i < n_links:
        crossing = link_counts[FIRST, links[i]]
        while crossing >= 0:
            f = crossing // MAX_HOPS
            if flow_counts[FLOW_MARK, f] != mark:
                flow_counts[FLOW_MARK, f] = mark
                flows[n_flows] = f
                n_flows += 1
                for j in range(flow_counts[N_HOPS, f]):
                    m = hops[f, j]
                    if link_counts[LINK_MARK, m] != mark:
                        link_counts[LINK_MARK, m] = mark
                        links[n_links] = m
                        n_links += 1
            crossing = chain[AFTER, crossing]
        i += 1
    return n_links, n_flows


@njit(cache=True)
def _close(
    m: int,
    lowest: float,
    link_counts: NDArray[np.int64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    left: NDArray[np.float64],
    open_weight: NDArray[np.float64],
    n_open: NDArray[np.int64],
    pull: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> None:
    # Link m is full: its open flows end their rise, and their other links know it.
    crossing = link_counts[FIRST, m]
    while crossing >= 0:
        f = crossing // MAX_HOPS
        if pull[f] > 0.0:
            rise = lowest * pull[f]
            rate[f] += rise
            for j in range(flow_counts[N_HOPS, f]):
                hop = hops[f, j]
                left[hop] = max(left[hop] - rise, 0.0)
                open_weight[hop] -= pull[f]
                n_open[hop] -= 1
            pull[f] = 0.0
        crossing = chain[AFTER, crossing]


@njit(cache=True)
def _fill(
    wanted: int,
    links: NDArray[np.int64],
    flows: NDArray[np.int64],
    class_weight: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    left: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> None:
    # Raise the rates of the flows of one class, or of all, until each meets a full link.
    n_open = np.zeros(left.size, np.int64)
    open_weight = np.zeros(left.size)
    pull = np.zeros(rate.size)
    for f in flows:
        if wanted in (_ALL_CLASSES, flow_counts[CLASS, f]):
            pull[f] = flow_values[WEIGHT, f] * class_weight[flow_counts[CLASS, f]]
            for j in range(flow_counts[N_HOPS, f]):
                open_weight[hops[f, j]] += pull[f]
                n_open[hops[f, j]] += 1
    todo = links.copy()
    n_todo = todo.size
    while n_todo:
        lowest = np.inf
        kept = 0
        for i in range(n_todo):
            m = todo[i]
            if n_open[m]:
                todo[kept] = m
                kept += 1
                lowest = min(lowest, left[m] / open_weight[m])
        n_todo = kept
        limit = lowest * (1.0 + TIE_FRAC)
        for i in range(n_todo):
            m = todo[i]
            if n_open[m] and left[m] / open_weight[m] <= limit:
                _close(
                    m,
                    lowest,
                    link_counts,
                    flow_counts,
                    hops,
                    chain,
                    left,
                    open_weight,
                    n_open,
                    pull,
                    rate,
                )


@njit(cache=True)
def _class_shares(
    links: NDArray[np.int64],
    class_weight: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    flow_counts: NDArray[np.int64],
    chain: NDArray[np.int64],
    left: NDArray[np.float64],
) -> NDArray[np.float64]:
    # Capacity of each link per unit of weight of the classes present on it.
    share = np.zeros(left.size)
    for m in links:
        weight = 0.0
        for c in range(class_weight.size):
            crossing = link_counts[FIRST, m]
            while crossing >= 0 and flow_counts[CLASS, crossing // MAX_HOPS] != c:
                crossing = chain[AFTER, crossing]
            if crossing >= 0:
                weight += class_weight[c]
        if weight > 0.0:
            share[m] = left[m] / weight
    return share


@njit(cache=True)
def _rates(
    rule: int,
    links: NDArray[np.int64],
    flows: NDArray[np.int64],
    class_weight: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    left: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> None:
    ones = np.ones(class_weight.size)
    tables = (link_counts, flow_values, flow_counts, hops, chain)
    if rule == _BY_PRIORITY:
        for c in range(class_weight.size):
            _fill(c, links, flows, ones, *tables, left, rate)
        return
    if rule == _BY_FLOW:
        _fill(_ALL_CLASSES, links, flows, ones, *tables, left, rate)
        return
    # classes: first what each is guaranteed, then together what is left over
    share = _class_shares(links, class_weight, link_counts, flow_counts, chain, left)
    for c in range(class_weight.size):
        guaranteed = share * class_weight[c]
        before = guaranteed.copy()
        _fill(c, links, flows, ones, *tables, guaranteed, rate)
        for m in links:
            left[m] = max(left[m] - (before[m] - guaranteed[m]), 0.0)
    _fill(_ALL_CLASSES, links, flows, class_weight, *tables, left, rate)


@njit(cache=True)
def _solve(
    now_ps: int,
    mark: int,
    rule: int,
    changed: NDArray[np.int64],
    class_weight: NDArray[np.float64],
    link_values: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    active: NDArray[np.int64],
    moved: NDArray[np.int64],
) -> tuple[int, int]:
    links = np.empty(link_counts.shape[1], np.int64)
    flows = np.empty(active[-1], np.int64)
    n_links, n_flows = _component(
        mark, changed, link_counts, flow_counts, hops, chain, links, flows
    )
    links = links[:n_links]
    flows = flows[:n_flows]
    left = np.maximum(link_values[CAPACITY] - link_values[RESERVED], 0.0)
    rate = np.zeros(flow_counts.shape[1])
    _rates(
        rule,
        links,
        flows,
        class_weight,
        link_counts,
        flow_values,
        flow_counts,
        hops,
        chain,
        left,
        rate,
    )
    for f in flows:
        _set_rate(f, rate[f], now_ps, flow_values, flow_counts)
    n_moved = _total_rates(
        links, flows, link_values, link_counts, flow_values, flow_counts, hops, moved
    )
    next_ps = NEVER_PS
    for i in range(active[-1]):
        next_ps = min(next_ps, flow_counts[FINISH_PS, active[i]])
    return next_ps, n_moved


@njit(cache=True)
def _set_rate(
    f: int,
    rate: float,
    now_ps: int,
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
) -> None:
    # An unchanged rate keeps its finish to the picosecond, however often others change.
    if rate == flow_values[RATE, f] and flow_counts[FINISH_PS, f] != NEVER_PS:
        return
    went_s = (now_ps - flow_counts[SINCE_PS, f]) / PS_PER_S
    left_bytes = max(flow_values[LEFT, f] - flow_values[RATE, f] * went_s, 0.0)
    flow_values[LEFT, f] = left_bytes
    flow_values[RATE, f] = rate
    flow_counts[SINCE_PS, f] = now_ps
    flow_counts[FINISH_PS, f] = NEVER_PS
    if left_bytes <= 0.0:
        flow_counts[FINISH_PS, f] = now_ps
    elif rate > 0.0:
        takes_ps = np.ceil(left_bytes / rate * PS_PER_S)
        if takes_ps < _FAR_PS:
            flow_counts[FINISH_PS, f] = now_ps + np.int64(takes_ps)


@njit(cache=True)
def _total_rates(
    links: NDArray[np.int64],
    flows: NDArray[np.int64],
    link_values: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    moved: NDArray[np.int64],
) -> int:
    total = np.zeros(link_counts.shape[1])
    for f in flows:
        for j in range(flow_counts[N_HOPS, f]):
            total[hops[f, j]] += flow_values[RATE, f]
    n_moved = 0
    for m in links:
        if link_counts[IS_WATCHED, m] and total[m] != link_values[LINK_RATE, m]:
            moved[n_moved] = m
            n_moved += 1
        link_values[LINK_RATE, m] = total[m]
    return n_moved
