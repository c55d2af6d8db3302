"""Which rates flows get that share links: weighted max-min fairness by progressive filling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.errors import ShapeError

__all__ = ["TIE_FRAC", "FlowLinks", "max_min_rates_bytes_per_s", "raise_levels"]

TIE_FRAC = 1e-12
"""Links whose fair shares differ by less than this are bottlenecks together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLinks:
    """Which links each flow crosses, by flow and by link (compressed sparse rows).

    Parameters
    ----------
    flow_start : ndarray of shape (n_flows + 1,)
        Where the links of each flow begin in `link`.
    link : ndarray of shape (n_crossings,)
        Links in order of the flows.
    crossing_frac : ndarray of shape (n_crossings,)
        Share of the flow's bytes that crosses this link; 1 unless striped.
    link_start : ndarray of shape (n_links + 1,)
        Where the flows of each link begin in `flow`.
    flow : ndarray of shape (n_crossings,)
        Flows in order of the links.
    """

    flow_start: NDArray[np.int64]
    link: NDArray[np.int64]
    crossing_frac: NDArray[np.float64]
    link_start: NDArray[np.int64]
    flow: NDArray[np.int64]

    @classmethod
    def of_paths(
        cls,
        paths: Sequence[Sequence[int]],
        *,
        n_links: int,
        crossing_frac: Sequence[Sequence[float]] | None = None,
    ) -> FlowLinks:
        """Return the incidence of flows with given paths.

        Parameters
        ----------
        paths : sequence of sequence of int
            Links of each flow.
        n_links : int
            Number of links.
        crossing_frac : sequence of sequence of float, optional
            Share of each flow's bytes on each link of its path; 1 by default.
        """
        lengths = np.array([len(path) for path in paths], np.int64)
        link = np.array([hop for path in paths for hop in path], np.int64)
        if crossing_frac is None:
            frac = np.ones(link.size)
        else:
            frac = np.array([part for parts in crossing_frac for part in parts], np.float64)
        if frac.size != link.size or not lengths.all():
            msg = (
                f"paths: {link.size} links, {frac.size} shares, shortest path "
                f"{int(lengths.min(initial=0))} links; expected one share per link and at least "
                "one link per flow; leave out flows that stay on one GPU"
            )
            raise ShapeError(msg)
        return cls._sorted(np.concatenate(([0], np.cumsum(lengths))), link, frac, n_links)

    @classmethod
    def of_crossbar(
        cls, source: NDArray[np.int64], *, destination: NDArray[np.int64], n_ranks: int
    ) -> FlowLinks:
        """Return the incidence for a non-blocking switch: links are egress then ingress ports.

        Parameters
        ----------
        source, destination : ndarray of shape (n_flows,)
            Ranks; egress port `source`, ingress port `n_ranks + destination`.
        n_ranks : int
            Number of ranks.
        """
        link = np.empty(2 * source.size, np.int64)
        link[0::2] = source
        link[1::2] = n_ranks + destination
        start = np.arange(0, link.size + 1, 2)
        return cls._sorted(start, link, np.ones(link.size), 2 * n_ranks)

    @classmethod
    def of_table(
        cls, link: NDArray[np.int64], *, crossing_frac: NDArray[np.float64], n_links: int
    ) -> FlowLinks:
        """Return the incidence of flows that cross few links each.

        Parameters
        ----------
        link : ndarray of shape (n_flows, n_most)
            Links of each flow; -1 where it has fewer.
        crossing_frac : ndarray of shape (n_flows, n_most)
            Shares of the bytes.
        n_links : int
            Number of links.
        """
        is_there = link >= 0
        start = np.concatenate(([0], np.cumsum(is_there.sum(axis=1))))
        return cls._sorted(start, link[is_there], crossing_frac[is_there], n_links)

    @classmethod
    def _sorted(
        cls,
        flow_start: NDArray[np.int64],
        link: NDArray[np.int64],
        frac: NDArray[np.float64],
        n_links: int,
    ) -> FlowLinks:
        flow = np.repeat(np.arange(flow_start.size - 1), np.diff(flow_start))
        counts = np.bincount(link, minlength=n_links)
        return cls(
            flow_start=flow_start,
            link=link,
            crossing_frac=frac,
            link_start=np.concatenate(([0], np.cumsum(counts))),
            flow=flow[np.argsort(link, kind="stable")],
        )


@njit(cache=True)
def _close(
    m: int,
    lowest: float,
    flow_start: NDArray[np.int64],
    link: NDArray[np.int64],
    load: NDArray[np.float64],
    link_start: NDArray[np.int64],
    link_end: NDArray[np.int64],
    flow: NDArray[np.int64],
    left: NDArray[np.float64],
    weight: NDArray[np.float64],
    n_open: NDArray[np.int64],
    level: NDArray[np.float64],
) -> None:
    # Link m is full: its open flows keep the lowest level, and their other links know it.
    for k in range(link_start[m], link_end[m]):
        f = flow[k]
        if level[f] < 0.0:
            level[f] = lowest
            for j in range(flow_start[f], flow_start[f + 1]):
                hop = link[j]
                left[hop] = max(left[hop] - lowest * load[j], 0.0)
                weight[hop] -= load[j]
                n_open[hop] -= 1
            if n_open[m] == 0:
                return


@njit(cache=True)
def raise_levels(
    flow_start: NDArray[np.int64],
    link: NDArray[np.int64],
    load: NDArray[np.float64],
    link_start: NDArray[np.int64],
    link_end: NDArray[np.int64],
    flow: NDArray[np.int64],
    left: NDArray[np.float64],
    weight: NDArray[np.float64],
    n_open: NDArray[np.int64],
    level: NDArray[np.float64],
) -> None:
    """Compute max-min fair levels by progressive filling, from what the open flows weigh.

    All levels rise together; where a link is full its flows keep their level
    and the others go on.

    Parameters
    ----------
    flow_start, link, link_start, flow : ndarray
        Incidence as in `FlowLinks`.
    link_end : ndarray of shape (n_links,)
        Where the flows of each link end in `flow`.
    load : ndarray of shape (n_crossings,)
        What a flow takes of a link per unit of level: weight times share.
    left : ndarray of shape (n_links,)
        Capacities, used up on return. [B/s]
    weight : ndarray of shape (n_links,)
        Sum of `load` of the open flows on each link, used up on return.
    n_open : ndarray of shape (n_links,)
        Open flows on each link, zeros on return.
    level : ndarray of shape (n_flows,)
        Negative for open flows, which get their level; others are left alone.
        [B/s per unit of weight]
    """
    todo = np.flatnonzero(n_open)
    fair = np.empty(todo.size)
    n_todo = todo.size
    while n_todo:
        lowest = np.inf
        kept = 0
        for i in range(n_todo):
            m = todo[i]
            if n_open[m]:
                todo[kept] = m
                fair[kept] = left[m] / weight[m]
                lowest = min(lowest, fair[kept])
                kept += 1
        n_todo = kept
        limit = lowest * (1.0 + TIE_FRAC)
        for i in range(n_todo):
            # what is full closes; a fair share can only have grown since the first look
            m = todo[i]
            if fair[i] <= limit and n_open[m] and left[m] / weight[m] <= limit:
                _close(
                    m,
                    lowest,
                    flow_start,
                    link,
                    load,
                    link_start,
                    link_end,
                    flow,
                    left,
                    weight,
                    n_open,
                    level,
                )


def max_min_rates_bytes_per_s(
    links: FlowLinks,
    *,
    capacity_bytes_per_s: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    r"""Return weighted max-min fair rates.

    Parameters
    ----------
    links : FlowLinks
        Links of each flow.
    capacity_bytes_per_s : ndarray of shape (n_links,)
        Capacities. [B/s]
    weight : ndarray of shape (n_flows,), optional
        Weights; ones by default.

    Returns
    -------
    ndarray of shape (n_flows,)
        Rates: no flow can have more without a flow of lower rate per weight
        having less. [B/s]

    Notes
    -----
    Progressive filling [1]_: each round finds the links with the least
    :math:`\lambda_l = C_l^{left} / \sum_f w_f a_{lf}` and gives their open
    flows the rate :math:`w_f \lambda_l`.

    References
    ----------
    .. [1] D. Bertsekas and R. Gallager, "Data Networks," 2nd ed., section
       6.5.2, Prentice Hall, 1992.

    Examples
    --------
    Two flows share link 0; one of them alone uses link 1 of half its size:

    >>> links = FlowLinks.of_paths([[0], [0, 1]], n_links=2)
    >>> max_min_rates_bytes_per_s(links, capacity_bytes_per_s=np.array([8.0, 2.0]))
    array([6., 2.])
    """
    n_flows = links.flow_start.size - 1
    weights = np.ones(n_flows) if weight is None else weight
    load = links.crossing_frac * np.repeat(weights, np.diff(links.flow_start))
    left = np.array(capacity_bytes_per_s, np.float64)
    level = np.full(n_flows, -1.0)
    raise_levels(
        links.flow_start,
        links.link,
        load,
        links.link_start,
        links.link_start[1:],
        links.flow,
        left,
        np.bincount(links.link, weights=load, minlength=left.size).astype(np.float64),
        np.diff(links.link_start),
        level,
    )
    return np.asarray(weights * level)
