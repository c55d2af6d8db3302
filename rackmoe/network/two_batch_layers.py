"""The compiled loop over the layers of a step of two micro-batches."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.exchange import busy_ends
from rackmoe.network.link_ends import ALONE_IN, NEAR_IN, LinkTimes, linked_ends
from rackmoe.network.slowdown import finish_all, finish_s

__all__ = ["run_two_batches"]


@njit(cache=True)
def _exchange(
    ready_s: NDArray[np.float64],
    layer: int,
    links: LinkTimes,
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    latency_s: float,
    change_s: NDArray[np.float64],
    egress_factor: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    orders: NDArray[np.int64],
    scratch: NDArray[np.float64],
    port_s: NDArray[np.float64],
    busy_s: NDArray[np.float64],
    overlaps: NDArray[np.int64],
    arrived_s: NDArray[np.float64],
) -> None:
    n_ranks = ready_s.size
    begin_s = np.empty(n_ranks)
    for r in range(n_ranks):
        begin_s[r] = max(ready_s[r], port_s[r])
        if ready_s[r] < port_s[r]:
            overlaps[r] += 1
    send_end_s = np.empty(n_ranks)
    if len(links.busy_s):
        _linked_exchange(
            begin_s, layer, links, latency_s, orders, send_end_s, port_s, busy_s, arrived_s
        )
        return
    finish_all(begin_s, egress_s, change_s, egress_factor, send_end_s)
    sent_s, floor_s = -np.inf, np.inf
    for r in range(n_ranks):
        sent_s = max(sent_s, send_end_s[r])
        floor_s = min(floor_s, send_end_s[r])
    busy_ends(
        begin_s,
        send_end_s,
        egress_s,
        ingress_s,
        change_s,
        egress_factor,
        ingress_factor,
        orders[0],
        floor_s,
        arrived_s,
        scratch,
    )
    taken_s = -np.inf
    for r in range(n_ranks):
        taken_s = max(taken_s, arrived_s[r])
    for r in range(n_ranks):
        busy_s[0, r] += send_end_s[r] - begin_s[r]
        received_s = finish_s(begin_s[r], ingress_s[r], change_s, ingress_factor, r)
        busy_s[1, r] += received_s - begin_s[r]
        port_s[r] = max(send_end_s[r], taken_s)
        arrived_s[r] = max(arrived_s[r], sent_s) + latency_s


@njit(cache=True)
def _linked_exchange(
    begin_s: NDArray[np.float64],
    layer: int,
    links: LinkTimes,
    latency_s: float,
    orders: NDArray[np.int64],
    sent_s: NDArray[np.float64],
    port_s: NDArray[np.float64],
    busy_s: NDArray[np.float64],
    arrived_s: NDArray[np.float64],
) -> None:
    # The same over several kinds of links, at steady speeds.
    times_s = links.busy_s[layer]
    linked_ends(
        begin_s, times_s, links.uplink_s[layer], links.waits, orders, sent_s, arrived_s, port_s
    )
    for r in range(begin_s.size):
        busy_s[0, r] += sent_s[r] - begin_s[r]
        busy_s[1, r] += max(times_s[NEAR_IN, r], times_s[NEAR_IN + 1, r], times_s[ALONE_IN, r])
        arrived_s[r] += latency_s


@njit(cache=True)
def run_two_batches(
    times_s: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...],
    latency_s: NDArray[np.float64],
    modes: tuple[bool, bool],
    change_s: NDArray[np.float64],
    factors: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    links: tuple[tuple[LinkTimes, LinkTimes], tuple[LinkTimes, LinkTimes]],
    state_s: NDArray[np.float64],
    clocks_s: NDArray[np.float64],
    busy_s: NDArray[np.float64],
    overlaps: NDArray[np.int64],
) -> None:
    """Advance the clocks of two micro-batches, as `two_batch_step` describes.

    Parameters
    ----------
    times_s : tuple of seven pairs of ndarray of shape (n_layers, n_ranks)
        Nominal times of both as of `LayerTimes.rows`. [s]
    latency_s : ndarray of shape (2, 2)
        Latency of dispatch and combine of each. [s]
    modes : tuple of two bool
        Whether the shared expert runs beside the dispatch; whether ranks exchange anything.
    change_s : ndarray of shape (n_changes,)
        Times at which factors change. [s]
    factors : tuple of three ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors of compute, egress and ingress.
    links : tuple of two pairs of LinkTimes
        Dispatch and combine of each over several domains, at steady speeds; without layers
        for a group in one domain.
    state_s : ndarray of shape (4, n_ranks)
        Clocks at entry, and at the end on return: compute free, port free, each
        micro-batch ready. [s]
    clocks_s : ndarray of shape (n_layers, 4, n_ranks)
        Result: the same after each layer. [s]
    busy_s : ndarray of shape (2, n_ranks)
        Time that egress and ingress ports carry data, added to. [s]
    overlaps : ndarray of shape (n_ranks,)
        Exchanges that queued, by sender, added to.
    """
    pre_s, shared_s, expert_s, out_s, in_s, back_out_s, back_in_s = times_s
    compute_factor, egress_factor, ingress_factor = factors
    overlap_shared, connected = modes
    n_layers, _, n_ranks = clocks_s.shape
    compute_s, port_s = state_s[0], state_s[1]
    arrived_s = np.empty((2, n_ranks))
    orders = np.empty((2, 3, n_ranks), np.int64)
    orders[:] = np.arange(n_ranks)
    scratch = np.empty((7, n_ranks + change_s.size))
    for layer in range(n_layers):
        while change_s.size and change_s[0] <= compute_s.min():
            change_s = change_s[1:]
            compute_factor = compute_factor[1:]
            egress_factor = egress_factor[1:]
            ingress_factor = ingress_factor[1:]
        for m in range(2):
            np.maximum(compute_s, state_s[2 + m], compute_s)
            finish_all(compute_s, pre_s[m][layer], change_s, compute_factor, compute_s)
            arrived_s[m] = compute_s
            if connected:
                _exchange(
                    compute_s,
                    layer,
                    links[m][0],
                    out_s[m][layer],
                    in_s[m][layer],
                    latency_s[m, 0],
                    change_s,
                    egress_factor,
                    ingress_factor,
                    orders,
                    scratch,
                    port_s,
                    busy_s,
                    overlaps,
                    arrived_s[m],
                )
            if overlap_shared:
                finish_all(compute_s, shared_s[m][layer], change_s, compute_factor, compute_s)
        for m in range(2):
            np.maximum(compute_s, arrived_s[m], compute_s)
            if not overlap_shared:
                finish_all(compute_s, shared_s[m][layer], change_s, compute_factor, compute_s)
            finish_all(compute_s, expert_s[m][layer], change_s, compute_factor, compute_s)
            state_s[2 + m] = compute_s
            if connected:
                _exchange(
                    compute_s,
                    layer,
                    links[m][1],
                    back_out_s[m][layer],
                    back_in_s[m][layer],
                    latency_s[m, 1],
                    change_s,
                    egress_factor,
                    ingress_factor,
                    orders,
                    scratch,
                    port_s,
                    busy_s,
                    overlaps,
                    state_s[2 + m],
                )
        clocks_s[layer] = state_s
