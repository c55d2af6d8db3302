"""When exchanges over several kinds of links end, by closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.exchange import busy_ends

__all__ = ["NEAR_IN", "NO_LINKS", "N_TIMES", "LinkTimes", "linked_ends"]

Floats = NDArray[np.float64]

# Rows of the times of one exchange: ports and NICs out, ports and NICs in, neither out and in.
NEAR_OUT, NEAR_IN, ALONE_OUT, ALONE_IN, N_TIMES = 0, 2, 4, 5, 6


class LinkTimes(NamedTuple):
    """How long one exchange of each layer keeps links busy, as compiled kernels take it.

    Attributes
    ----------
    busy_s : ndarray of shape (n_layers, 6, n_ranks)
        Scale-up ports and NICs out, the same in, and what uses neither, out and in. [s]
    uplink_s : ndarray of shape (n_layers, n_uplinks, n_ranks)
        Work of each rank on links that ranks share; the rank's NICs feed it. [s]
    waits : ndarray of shape (n_uplinks, n_ranks), bool
        Whether a rank holds everything only after that link is done.
    """

    busy_s: Floats
    uplink_s: Floats
    waits: NDArray[np.bool_]


NO_LINKS = LinkTimes(np.zeros((0, N_TIMES, 0)), np.zeros((0, 0, 0)), np.zeros((0, 0), np.bool_))
"""Stands for a group in one domain, whose ports are all that counts."""


@njit(cache=True)
def linked_ends(
    start_s: Floats,
    busy_s: Floats,
    uplink_s: Floats,
    waits: NDArray[np.bool_],
    orders: NDArray[np.int64],
    sent_s: Floats,
    end_s: Floats,
    free_s: Floats,
) -> None:
    """Compute when each rank holds everything and when its send stream is free.

    Parameters
    ----------
    start_s : ndarray of shape (n_ranks,)
        When each rank starts to send. [s]
    busy_s, uplink_s, waits : ndarray
        One layer of `LinkTimes`. [s]
    orders : ndarray of shape (2, 3, n_ranks)
        Permutations of the ranks for ports and NICs, best those that the last call left.
    sent_s, end_s, free_s : ndarray of shape (n_ranks,)
        Results: when each rank has sent all, when it holds everything, and when its send
        stream is free for the next exchange. [s]
    """
    n_ranks = start_s.size
    none, nominal = np.empty(0), np.ones((1, n_ranks))
    link_sent_s, arrived_s = np.empty(n_ranks), np.empty(n_ranks)
    scratch = np.empty((7, n_ranks))
    latest_s, taken_s = start_s.max(), start_s.min()
    for r in range(n_ranks):
        sent_s[r] = start_s[r] + busy_s[ALONE_OUT, r]
        end_s[r] = latest_s + busy_s[ALONE_IN, r]
    for kind in range(2):
        out_s, in_s = busy_s[NEAR_OUT + kind], busy_s[NEAR_IN + kind]
        if not (out_s.any() or in_s.any()):
            continue
        link_sent_s[:] = start_s + out_s
        busy_ends(
            start_s,
            link_sent_s,
            out_s,
            in_s,
            none,
            nominal,
            nominal,
            orders[kind],
            link_sent_s.min(),
            arrived_s,
            scratch,
        )
        for r in range(n_ranks):
            sent_s[r] = max(sent_s[r], link_sent_s[r])
            end_s[r] = max(end_s[r], arrived_s[r])
            taken_s = max(taken_s, arrived_s[r])
    for link in range(len(uplink_s)):
        done_s = _shared_end_s(start_s, busy_s[NEAR_OUT + 1], uplink_s[link])
        taken_s = max(taken_s, done_s)
        for r in range(n_ranks):
            if waits[link, r]:
                end_s[r] = max(end_s[r], done_s)
    last_s = sent_s.max()
    for r in range(n_ranks):
        end_s[r] = max(end_s[r], last_s)
        free_s[r] = max(sent_s[r], taken_s)


@njit(cache=True)
def _shared_end_s(start_s: Floats, feed_s: Floats, work_s: Floats) -> float:
    # When a link is done that works off what several ranks feed into it from their starts
    # on: the latest end of the work that is still to come at any start.
    done_s = -np.inf
    for k in range(start_s.size):
        left_s = 0.0
        for s in range(start_s.size):
            if work_s[s] > 0.0:
                share = (start_s[s] + feed_s[s] - start_s[k]) / feed_s[s]
                left_s += work_s[s] * min(1.0, max(0.0, share))
        if left_s > 0.0:
            done_s = max(done_s, start_s[k] + left_s)
    return done_s
