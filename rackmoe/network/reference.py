"""What the compiled network laws compute, in plain NumPy: slow, and their oracle in tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.sharing import TIE_FRAC, FlowLinks
from rackmoe.network.slowdown import Slowdown

__all__ = [
    "layered_clocks_s",
    "max_min_rates_bytes_per_s",
    "packet_receive_ends_s",
    "receive_ends_s",
    "two_batch_clocks_s",
    "work_ends_s",
]

Floats = NDArray[np.float64]


def work_ends_s(start_s: Floats, *, work_s: Floats, change_s: Floats, factor: Floats) -> Floats:
    """Return when each rank's work ends at piecewise constant speed.

    Parameters
    ----------
    start_s, work_s : ndarray of shape (n_ranks,)
        Begin and nominal duration. [s]
    change_s : ndarray of shape (n_changes,)
        Times of the changes. [s]
    factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors.

    Returns
    -------
    ndarray of shape (n_ranks,)
        Ends. [s]
    """
    at_s, left_s = np.array(start_s, np.float64), np.array(work_s, np.float64)
    for k, until_s in enumerate(change_s):
        room_s = np.maximum(until_s - at_s, 0.0)
        done_s = np.minimum(left_s, room_s / factor[k])
        finished = left_s * factor[k] <= room_s
        at_s = np.where(finished, at_s + left_s * factor[k], np.maximum(at_s, until_s))
        left_s = np.where(finished, 0.0, left_s - done_s)
    return np.asarray(at_s + left_s * factor[-1])


def receive_ends_s(
    start_s: Floats, *, egress_s: Floats, ingress_s: Floats, slowdown: Slowdown
) -> tuple[Floats, Floats, Floats]:
    """Return when each rank has sent all, has taken all, and holds all.

    Parameters
    ----------
    start_s, egress_s, ingress_s : ndarray of shape (n_ranks,)
        Starts and nominal port times. [s]
    slowdown : Slowdown
        Factors of the ports.

    Returns
    -------
    tuple of three ndarray of shape (n_ranks,)
        Send ends; ends of the longest busy period that begins with a backlog,
        minus infinity without any; receive ends. [s]
    """
    change_s = slowdown.change_s
    sent_s = work_ends_s(start_s, work_s=egress_s, change_s=change_s, factor=slowdown.egress)
    ranks = np.arange(start_s.size)
    end_s, taken_s = np.full((2, ranks.size), -np.inf)
    edges_s = np.unique(np.concatenate((start_s, sent_s, change_s)))
    for d in range(ranks.size):
        weight_s = np.where(ranks == d, 0.0, egress_s)
        if weight_s.sum() == 0.0:
            end_s[d] = taken_s[d] = work_ends_s(
                start_s.max(keepdims=True),
                work_s=ingress_s[d : d + 1],
                change_s=change_s,
                factor=slowdown.ingress[:, d : d + 1],
            )[0]
            continue
        share = ingress_s[d] / weight_s.sum() * (ranks != d)
        end_s[d], taken_s[d] = _busy_ends_s(
            d, edges_s=edges_s, sending_s=(start_s, sent_s), share=share, slowdown=slowdown
        )
    return sent_s, taken_s, np.maximum(end_s, sent_s.max())


def _busy_ends_s(
    d: int, *, edges_s: Floats, sending_s: tuple[Floats, Floats], share: Floats, slowdown: Slowdown
) -> tuple[float, float]:
    """Follow the backlog of one port from edge to edge, as a fluid queue.

    Returns when the last backlog is worked off, and when the port would be done
    if from some backlog on it never idled, both minus infinity without any. [s].
    """
    change_s, ports = slowdown.change_s, slowdown.ingress[:, d : d + 1]
    backlog_s, end_s, taken_s = 0.0, -np.inf, -np.inf
    # by edge: arrivals in seconds of the port per second, and those still to come
    rows = np.searchsorted(change_s, edges_s, side="right")
    is_sending = (sending_s[0] <= edges_s[:, None]) & (edges_s[:, None] < sending_s[1])
    arriving = (share * is_sending / slowdown.egress[rows]).sum(axis=1)
    lasting_s = np.append(np.diff(edges_s), 0.0)
    coming_s = np.cumsum((arriving * lasting_s)[::-1])[::-1]
    least_s = float(coming_s[0] * np.finfo(np.float64).eps)
    for edge, begin_s in enumerate(edges_s):
        growth = float(arriving[edge] - 1.0 / ports[rows[edge], 0])
        if backlog_s <= least_s and growth > 0.0:
            busy_s = work_ends_s(
                np.array([begin_s]),
                work_s=coming_s[edge : edge + 1],
                change_s=change_s,
                factor=ports,
            )
            taken_s = max(taken_s, float(busy_s[0]))
        room_s = lasting_s[edge] if edge + 1 < edges_s.size else np.inf
        if backlog_s > least_s and growth < 0.0 and -backlog_s / growth <= room_s:
            end_s = float(begin_s - backlog_s / growth)
            backlog_s = 0.0
        elif backlog_s > least_s or growth > 0.0:
            backlog_s += growth * room_s
    return end_s, taken_s


def layered_clocks_s(
    times: LayerTimes, *, start_s: Floats, tail_s: Floats, slowdown: Slowdown
) -> Floats:
    """Return the end clock of each rank, as `rackmoe.network.recurrence.layered_step`.

    Parameters
    ----------
    times : LayerTimes
        Nominal durations. [s]
    start_s, tail_s : ndarray of shape (n_ranks,)
        Clocks at entry, and work after the last layer. [s]
    slowdown : Slowdown
        Factors over the step.

    Returns
    -------
    ndarray of shape (n_layers + 1, n_ranks)
        Clocks after each layer and after the tail. [s]
    """
    change_s, factor = slowdown.change_s, slowdown.compute
    n_layers, n_ranks = times.shape
    clocks_s = np.empty((n_layers + 1, n_ranks))
    clock_s = start_s
    latency_s = times.latencies_s
    rows = times.rows(first=0, last=n_layers)
    for layer in range(n_layers):
        pre_s, shared_s, expert_s, out_s, in_s, back_out_s, back_in_s = (
            row[layer] for row in rows
        )
        ready_s = work_ends_s(clock_s, work_s=pre_s, change_s=change_s, factor=factor)
        held_s = ready_s
        if times.is_connected:
            held_s = (
                latency_s[0]
                + receive_ends_s(ready_s, egress_s=out_s, ingress_s=in_s, slowdown=slowdown)[2]
            )
        begin_s = ready_s if times.overlap_shared else held_s
        begin_s = work_ends_s(begin_s, work_s=shared_s, change_s=change_s, factor=factor)
        begin_s = np.maximum(begin_s, held_s)
        clock_s = work_ends_s(begin_s, work_s=expert_s, change_s=change_s, factor=factor)
        if times.is_connected:
            clock_s = (
                latency_s[1]
                + receive_ends_s(
                    clock_s, egress_s=back_out_s, ingress_s=back_in_s, slowdown=slowdown
                )[2]
            )
        clocks_s[layer] = clock_s
    clocks_s[-1] = work_ends_s(clock_s, work_s=tail_s, change_s=change_s, factor=factor)
    return clocks_s


def two_batch_clocks_s(
    batches: tuple[LayerTimes, LayerTimes], *, slowdown: Slowdown
) -> tuple[Floats, NDArray[np.int64]]:
    """Return the end clocks and overlaps, as `rackmoe.network.two_batch.two_batch_step`.

    Parameters
    ----------
    batches : tuple of two LayerTimes
        Nominal durations; the overlap of the shared expert is that of the first. [s]
    slowdown : Slowdown
        Factors over the step.

    Returns
    -------
    end_s : ndarray of shape (n_ranks,)
        Ends without a tail. [s]
    overlaps : ndarray of shape (n_ranks,)
        Exchanges that found the port taken.
    """
    change_s, factor = slowdown.change_s, slowdown.compute
    n_layers, n_ranks = batches[0].shape
    rows = [batch.rows(first=0, last=n_layers) for batch in batches]
    compute_s, port_s = np.zeros(n_ranks), np.zeros(n_ranks)
    ready_s, arrived_s = np.zeros((2, n_ranks)), np.zeros((2, n_ranks))
    overlaps = np.zeros(n_ranks, np.int64)

    def work(duration_s: Floats) -> Floats:
        return work_ends_s(compute_s, work_s=duration_s, change_s=change_s, factor=factor)

    def exchange(egress_s: Floats, ingress_s: Floats) -> tuple[Floats, Floats]:
        overlaps[compute_s < port_s] += 1
        begin_s = np.maximum(compute_s, port_s)
        sent_s, busy_s, held_s = receive_ends_s(
            begin_s, egress_s=egress_s, ingress_s=ingress_s, slowdown=slowdown
        )
        return np.maximum(sent_s, busy_s.max()), held_s

    for layer in range(n_layers):
        for m, row in enumerate(rows):
            pre_s, shared_s, _, out_s, in_s, _, _ = (array[layer] for array in row)
            compute_s = np.maximum(compute_s, ready_s[m])
            compute_s = work(pre_s)
            port_s, held_s = exchange(out_s, in_s)
            arrived_s[m] = held_s + batches[m].latencies_s[0]
            compute_s = work(shared_s) if batches[0].overlap_shared else compute_s
        for m, row in enumerate(rows):
            _, shared_s, expert_s, _, _, out_s, in_s = (array[layer] for array in row)
            compute_s = np.maximum(compute_s, arrived_s[m])
            compute_s = compute_s if batches[0].overlap_shared else work(shared_s)
            compute_s = work(expert_s)
            port_s, held_s = exchange(out_s, in_s)
            ready_s[m] = held_s + batches[m].latencies_s[1]
    return np.maximum(compute_s, ready_s.max(axis=0)), overlaps


def max_min_rates_bytes_per_s(
    links: FlowLinks, *, capacity_bytes_per_s: Floats, weight: Floats
) -> Floats:
    """Return max-min fair rates with a dense incidence matrix.

    Parameters
    ----------
    links : FlowLinks
        Links of each flow.
    capacity_bytes_per_s : ndarray of shape (n_links,)
        Capacities. [B/s]
    weight : ndarray of shape (n_flows,)
        Weights.

    Returns
    -------
    ndarray of shape (n_flows,)
        Rates. [B/s]
    """
    n_flows = weight.size
    load = np.zeros((capacity_bytes_per_s.size, n_flows))
    flow = np.repeat(np.arange(n_flows), np.diff(links.flow_start))
    np.add.at(load, (links.link, flow), links.crossing_frac * weight[flow])
    level = np.zeros(n_flows)
    is_open = np.ones(n_flows, bool)
    while is_open.any():
        demand = load[:, is_open].sum(axis=1)
        left = capacity_bytes_per_s - load @ np.where(is_open, 0.0, level)
        has_open = (load[:, is_open] > 0.0).any(axis=1)
        share = np.full(left.size, np.inf)
        share[has_open] = np.maximum(left[has_open], 0.0) / demand[has_open]
        is_full = share <= share.min() * (1.0 + TIE_FRAC)
        closing = is_open & (load[is_full] > 0.0).any(axis=0)
        level[closing] = share.min()
        is_open &= ~closing
    return np.asarray(weight * level)


def packet_receive_ends_s(
    source: NDArray[np.int64],
    *,
    destination: NDArray[np.int64],
    size_bytes: Floats,
    egress_bytes_per_s: Floats,
    ingress_bytes_per_s: Floats,
    start_s: Floats,
) -> Floats:
    """Return when each rank has its last packet, port by port with a running maximum.

    Parameters
    ----------
    source, destination : ndarray of shape (n_packets,)
        Ranks of each packet, in sending order.
    size_bytes : ndarray of shape (n_packets,)
        Sizes. [B]
    egress_bytes_per_s, ingress_bytes_per_s : ndarray of shape (n_ranks,)
        Port bandwidths; ingress must not exceed egress. [B/s]
    start_s : ndarray of shape (n_ranks,)
        Starts. [s]

    Returns
    -------
    ndarray of shape (n_ranks,)
        Receive ends; minus infinity without packets. [s]
    """
    first_bit_s = np.empty(source.size)
    for s in np.unique(source):
        mine = source == s
        sent_bytes = np.concatenate(([0.0], np.cumsum(size_bytes[mine])[:-1]))
        first_bit_s[mine] = start_s[s] + sent_bytes / egress_bytes_per_s[s]
    end_s = np.full(start_s.size, -np.inf)
    for d in np.unique(destination):
        mine = destination == d
        order = np.argsort(first_bit_s[mine], kind="stable")
        arrival_s = first_bit_s[mine][order]
        service_s = size_bytes[mine][order] / ingress_bytes_per_s[d]
        before_s = np.cumsum(service_s) - service_s
        end_s[d] = service_s.sum() + (arrival_s - before_s).max()
    return end_s
