"""The compiled loop over the layers of one step."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.exchange import receive_ends
from rackmoe.network.link_ends import ALONE_IN, NEAR_IN, LinkTimes, linked_ends
from rackmoe.network.slowdown import finish_all

__all__ = ["compute_tail", "run_layers", "run_local_layers"]


@njit(cache=True)
def _exchange(
    begin_s: NDArray[np.float64],
    layer: int,
    links: tuple[LinkTimes, LinkTimes] | None,
    operation: int,
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
    latency_s: float,
    change_s: NDArray[np.float64],
    egress_factor: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    orders: NDArray[np.int64],
    scratch: NDArray[np.float64],
    sent_s: NDArray[np.float64],
    received_s: NDArray[np.float64],
    held_s: NDArray[np.float64],
    parts_s: NDArray[np.float64],
) -> None:
    # One exchange; adds own wire time to row 0 and waiting for others to row 1 of parts_s.
    if links is not None and len(links[operation].busy_s):
        one = links[operation]
        _linked_exchange(begin_s, layer, one, latency_s, orders, sent_s, held_s, parts_s)
        return
    receive_ends(
        begin_s,
        egress_s,
        ingress_s,
        change_s,
        egress_factor,
        ingress_factor,
        orders[0],
        sent_s,
        held_s,
        scratch,
    )
    for r in range(begin_s.size):
        held_s[r] += latency_s
    if parts_s.shape[0] == 0:
        return
    finish_all(begin_s, ingress_s, change_s, ingress_factor, received_s)
    for r in range(begin_s.size):
        took_s = held_s[r] - begin_s[r]
        wire_s = max(sent_s[r], received_s[r]) - begin_s[r] + latency_s
        wire_s = min(wire_s, took_s)
        parts_s[0, r] += wire_s
        parts_s[1, r] += took_s - wire_s


@njit(cache=True)
def _linked_exchange(
    begin_s: NDArray[np.float64],
    layer: int,
    links: LinkTimes,
    latency_s: float,
    orders: NDArray[np.int64],
    sent_s: NDArray[np.float64],
    held_s: NDArray[np.float64],
    parts_s: NDArray[np.float64],
) -> None:
    # The same over several kinds of links, at steady speeds.
    busy_s, free_s = links.busy_s[layer], np.empty(begin_s.size)
    linked_ends(
        begin_s, busy_s, links.uplink_s[layer], links.waits, orders, sent_s, held_s, free_s
    )
    for r in range(begin_s.size):
        held_s[r] += latency_s
    if parts_s.shape[0] == 0:
        return
    for r in range(begin_s.size):
        took_s = held_s[r] - begin_s[r]
        received_s = max(busy_s[NEAR_IN, r], busy_s[NEAR_IN + 1, r], busy_s[ALONE_IN, r])
        wire_s = min(max(sent_s[r] - begin_s[r], received_s) + latency_s, took_s)
        parts_s[0, r] += wire_s
        parts_s[1, r] += took_s - wire_s


@njit(cache=True)
def _compute(
    begin_s: NDArray[np.float64],
    work_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    factor: NDArray[np.float64],
    end_s: NDArray[np.float64],
    parts_s: NDArray[np.float64],
) -> None:
    # Work of all ranks; adds its duration to the one row of parts_s.
    if parts_s.shape[0] == 0:
        finish_all(begin_s, work_s, change_s, factor, end_s)
        return
    parts_s[0] -= begin_s
    finish_all(begin_s, work_s, change_s, factor, end_s)
    parts_s[0] += end_s


@njit(cache=True)
def _shared(
    begin_s: NDArray[np.float64],
    work_s: NDArray[np.float64],
    held_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    factor: NDArray[np.float64],
    end_s: NDArray[np.float64],
    parts_s: NDArray[np.float64],
) -> None:
    # Shared expert beside the exchange that ends at held_s: only what outlasts it counts.
    finish_all(begin_s, work_s, change_s, factor, end_s)
    for r in range(held_s.size):
        end_s[r] = max(end_s[r], held_s[r])
    if parts_s.shape[0]:
        parts_s[0] += end_s - held_s


@njit(cache=True)
def run_layers(
    times_s: tuple[NDArray[np.float64], ...],
    latencies_s: tuple[float, float],
    overlap_shared: bool,  # noqa: FBT001  compiled kernels take their arguments in order
    connected: bool,  # noqa: FBT001  likewise
    change_s: NDArray[np.float64],
    compute_factor: NDArray[np.float64],
    egress_factor: NDArray[np.float64],
    ingress_factor: NDArray[np.float64],
    links: tuple[LinkTimes, LinkTimes] | None,
    clock_s: NDArray[np.float64],
    clocks_s: NDArray[np.float64],
    layer_end_s: NDArray[np.float64],
    parts_s: NDArray[np.float64],
) -> None:
    """Advance the clocks of all ranks through all layers, as `layered_step` describes.

    Parameters
    ----------
    times_s : tuple of seven ndarray of shape (n_layers, n_ranks)
        Nominal times as of `LayerTimes.rows`. [s]
    latencies_s : tuple of two float
        Latency of the dispatch and of the combine. [s]
    overlap_shared, connected : bool
        Whether the shared expert runs beside the dispatch; whether ranks exchange anything.
    change_s : ndarray of shape (n_changes,)
        Times at which factors change. [s]
    compute_factor, egress_factor, ingress_factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors.
    links : tuple of two LinkTimes, or None
        Dispatch and combine of a group over several domains, at steady speeds; None for a
        group in one domain, for which the kernel is compiled apart.
    clock_s : ndarray of shape (n_ranks,)
        Clock of each rank at entry, and at the end on return. [s]
    clocks_s : ndarray of shape (n_layers, n_ranks)
        Result: clock of each rank after each layer. [s]
    layer_end_s : ndarray of shape (n_layers,)
        Result: clock of the last rank after each layer. [s]
    parts_s : ndarray of shape (8, n_ranks) or (0, n_ranks)
        Time by part, added to. [s]
    """
    pre_s, shared_s, expert_s, out_s, in_s, back_out_s, back_in_s = times_s
    n_layers, n_ranks = pre_s.shape
    ready_s = np.empty(n_ranks)
    sent_s = np.empty(n_ranks)
    received_s = np.empty(n_ranks)
    held_s = np.empty(n_ranks)
    begin_s = np.empty(n_ranks)
    dispatch_orders, combine_orders = np.empty((2, 2, 3, n_ranks), np.int64)
    dispatch_orders[:] = np.arange(n_ranks)
    combine_orders[:] = np.arange(n_ranks)
    scratch = np.empty((7, n_ranks + change_s.size))
    pre_part_s, dispatch_parts_s, shared_part_s = parts_s[0:1], parts_s[1:3], parts_s[3:4]
    expert_part_s, combine_parts_s = parts_s[4:5], parts_s[5:7]
    for layer in range(n_layers):
        while change_s.size and change_s[0] <= clock_s.min():
            change_s = change_s[1:]
            compute_factor = compute_factor[1:]
            egress_factor = egress_factor[1:]
            ingress_factor = ingress_factor[1:]
        _compute(clock_s, pre_s[layer], change_s, compute_factor, ready_s, pre_part_s)
        if not connected:
            held_s[:] = ready_s
        else:
            _exchange(
                ready_s,
                layer,
                links,
                0,
                out_s[layer],
                in_s[layer],
                latencies_s[0],
                change_s,
                egress_factor,
                ingress_factor,
                dispatch_orders,
                scratch,
                sent_s,
                received_s,
                held_s,
                dispatch_parts_s,
            )
        _shared(
            ready_s if overlap_shared else held_s,
            shared_s[layer],
            held_s,
            change_s,
            compute_factor,
            begin_s,
            shared_part_s,
        )
        _compute(begin_s, expert_s[layer], change_s, compute_factor, clock_s, expert_part_s)
        if connected:
            _exchange(
                clock_s,
                layer,
                links,
                1,
                back_out_s[layer],
                back_in_s[layer],
                latencies_s[1],
                change_s,
                egress_factor,
                ingress_factor,
                combine_orders,
                scratch,
                sent_s,
                received_s,
                held_s,
                combine_parts_s,
            )
            for r in range(n_ranks):
                clock_s[r] = held_s[r]
        latest_s = -np.inf
        for r in range(n_ranks):
            clocks_s[layer, r] = clock_s[r]
            latest_s = max(latest_s, clock_s[r])
        layer_end_s[layer] = latest_s


@njit(cache=True)
def run_local_layers(
    pre_s: NDArray[np.float64],
    shared_s: NDArray[np.float64],
    expert_s: NDArray[np.float64],
    factor: NDArray[np.float64],
    clock_s: NDArray[np.float64],
    clocks_s: NDArray[np.float64],
    layer_end_s: NDArray[np.float64],
    parts_s: NDArray[np.float64],
) -> None:
    """Do what `run_layers` does for ranks that exchange nothing, at steady factors.

    Parameters
    ----------
    pre_s, shared_s, expert_s : ndarray of shape (n_layers, n_ranks)
        Nominal times. [s]
    factor : ndarray of shape (n_ranks,)
        Slowdown factors of compute.
    clock_s, clocks_s, layer_end_s, parts_s : ndarray
        As for `run_layers`. [s]
    """
    n_layers, n_ranks = pre_s.shape
    for layer in range(n_layers):
        latest_s = -np.inf
        for r in range(n_ranks):
            entry_s = clock_s[r]
            ready_s = entry_s + pre_s[layer, r] * factor[r]
            # nothing to run beside: whether the shared expert overlaps a dispatch is the same
            begin_s = max(ready_s + shared_s[layer, r] * factor[r], ready_s)
            end_s = begin_s + expert_s[layer, r] * factor[r]
            clock_s[r] = clocks_s[layer, r] = end_s
            latest_s = max(latest_s, end_s)
            if parts_s.shape[0]:
                parts_s[0, r] = parts_s[0, r] - entry_s + ready_s
                parts_s[3, r] += begin_s - ready_s
                parts_s[4, r] = parts_s[4, r] - begin_s + end_s
        layer_end_s[layer] = latest_s


@njit(cache=True)
def compute_tail(
    clock_s: NDArray[np.float64],
    tail_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    factor: NDArray[np.float64],
    parts_s: NDArray[np.float64],
) -> None:
    """Advance the clocks through the work after the last layer.

    Parameters
    ----------
    clock_s, tail_s : ndarray of shape (n_ranks,)
        Clocks, updated, and nominal work. [s]
    change_s : ndarray of shape (n_changes,)
        Times at which factors change. [s]
    factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors of compute.
    parts_s : ndarray of shape (1, n_ranks) or (0, n_ranks)
        Its duration, added to. [s]
    """
    _compute(clock_s, tail_s, change_s, factor, clock_s, parts_s)
