"""When the ranks of an all-to-all hold all their data, at four levels of detail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError
from rackmoe.network.exchange import busy_ends, receive_ends
from rackmoe.network.fluid import flow_finish_s
from rackmoe.network.packet import packet_receive_ends_s
from rackmoe.network.sharing import FlowLinks
from rackmoe.network.slowdown import Slowdown

__all__ = [
    "BATCH_FRAC",
    "ExchangeTier",
    "PairExchange",
    "exchange_ends_s",
    "packets_of",
    "stream_ends_s",
]

_N_ORDERS, _N_SCRATCH = 3, 7
BATCH_FRAC = 0.01
"""Flows due within this share of the time so far end together: within 1 % of the exact end."""


class ExchangeTier(StrEnum):
    """How closely an exchange is looked at.

    `PHASE` waits for all ranks at a barrier, `PLAN` lets each start when it is ready, both
    by closed forms of what each port carries; `FLOW` shares links between the pairs of
    ranks, and `PACKET` sends every copy through first-in-first-out ports.
    """

    PHASE = "phase"
    PLAN = "plan"
    FLOW = "flow"
    PACKET = "packet"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairExchange:
    """What each rank sends to each other, and when and how fast.

    Parameters
    ----------
    payload_bytes : ndarray of shape (n_ranks, n_ranks)
        From rank (row) to rank (column); the diagonal stays where it is. [B]
    egress_bytes_per_s, ingress_bytes_per_s : ndarray of shape (n_ranks,)
        Port of each rank, one direction. [B/s]
    start_s : ndarray of shape (n_ranks,)
        When each rank starts to send. [s]
    copy_bytes : float
        Size of one copy of a token, the packet of `ExchangeTier.PACKET`. [B]

    Raises
    ------
    ShapeError
        If the shapes do not fit, or a copy has no size.
    """

    payload_bytes: NDArray[np.float64]
    egress_bytes_per_s: NDArray[np.float64]
    ingress_bytes_per_s: NDArray[np.float64]
    start_s: NDArray[np.float64]
    copy_bytes: float

    def __post_init__(self) -> None:
        n_ranks = self.start_s.size
        ports = (self.egress_bytes_per_s, self.ingress_bytes_per_s, self.start_s)
        is_fitting = all(array.shape == (n_ranks,) for array in ports)
        if self.payload_bytes.shape != (n_ranks, n_ranks) or not is_fitting:
            msg = (
                f"payload_bytes: shape {self.payload_bytes.shape}, ports "
                f"{[array.shape for array in ports]}; expected one row, one column, two ports "
                "and one start for each rank; give all for the same ranks"
            )
            raise ShapeError(msg)
        if not self.copy_bytes > 0.0:
            msg = (
                f"copy_bytes: {self.copy_bytes}; expected a positive size; give that of one token"
            )
            raise ShapeError(msg)

    @property
    def far_bytes(self) -> NDArray[np.float64]:
        """Payload without the diagonal, shape (n_ranks, n_ranks). [B]."""
        far = np.array(self.payload_bytes, np.float64)
        np.fill_diagonal(far, 0.0)
        return far


def exchange_ends_s(exchange: PairExchange, *, tier: ExchangeTier) -> NDArray[np.float64]:
    r"""Return when each rank has received everything, start-up latency apart.

    Parameters
    ----------
    exchange : PairExchange
        The payload and the ports.
    tier : ExchangeTier
        How closely to look.

    Returns
    -------
    ndarray of shape (n_ranks,)
        Ends; no rank ends before every rank has sent its last byte. [s]

    Notes
    -----
    Under `FLOW` each pair has a weight of its bytes, as senders give that work through
    their tokens in order, so that flows of equal starts finish at
    :math:`\max_l \sum_f b_f / C_l`, the bound of the busiest port (coflows, [1]_). With
    equal weights instead, skewed staggered exchanges end up to 10 % later than packets.

    References
    ----------
    .. [1] M. Chowdhury and I. Stoica, "Coflow: a networking abstraction for cluster
       applications," HotNets, 2012.
    """
    solve = {
        ExchangeTier.PHASE: _barrier_ends_s,
        ExchangeTier.PLAN: _staggered_ends_s,
        ExchangeTier.FLOW: _flow_ends_s,
        ExchangeTier.PACKET: _packet_ends_s,
    }[tier]
    return solve(exchange)


def stream_ends_s(
    start_s: NDArray[np.float64],
    *,
    egress_s: NDArray[np.float64],
    ingress_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return when the send stream of each rank is free for the next exchange.

    It is once the rank has sent everything and no port has a backlog any more: data of
    the next exchange would only queue behind it.

    Parameters
    ----------
    start_s, egress_s, ingress_s : ndarray of shape (n_ranks,)
        Starts, and times to send and to receive. [s]

    Returns
    -------
    ndarray of shape (n_ranks,)
        Ends, as of `rackmoe.network.two_batch.two_batch_step`. [s]
    """
    n_ranks = start_s.size
    slow, taken_s = Slowdown.none(n_ranks), np.empty(n_ranks)
    send_end_s = np.asarray(start_s + egress_s)
    busy_ends(
        np.ascontiguousarray(start_s, np.float64),
        send_end_s,
        np.ascontiguousarray(egress_s, np.float64),
        np.ascontiguousarray(ingress_s, np.float64),
        slow.change_s,
        slow.egress,
        slow.ingress,
        np.tile(np.arange(n_ranks), (_N_ORDERS, 1)),
        float(send_end_s.min()),
        taken_s,
        np.empty((_N_SCRATCH, n_ranks)),
    )
    return np.asarray(np.maximum(send_end_s, taken_s.max()))


def _port_times_s(exchange: PairExchange) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how long each port sends and receives. [s]."""
    far_bytes = exchange.far_bytes
    egress_s = far_bytes.sum(axis=1) / exchange.egress_bytes_per_s
    ingress_s = far_bytes.sum(axis=0) / exchange.ingress_bytes_per_s
    return egress_s, ingress_s


def _barrier_ends_s(exchange: PairExchange) -> NDArray[np.float64]:
    egress_s, ingress_s = _port_times_s(exchange)
    return np.asarray(exchange.start_s.max() + np.maximum(ingress_s, egress_s.max()))


def _staggered_ends_s(exchange: PairExchange) -> NDArray[np.float64]:
    n_ranks = exchange.start_s.size
    slow = Slowdown.none(n_ranks)
    end_s = np.empty(n_ranks)
    receive_ends(
        np.ascontiguousarray(exchange.start_s, np.float64),
        *_port_times_s(exchange),
        slow.change_s,
        slow.egress,
        slow.ingress,
        np.tile(np.arange(n_ranks), (_N_ORDERS, 1)),
        np.empty(n_ranks),
        end_s,
        np.empty((_N_SCRATCH, n_ranks)),
    )
    return end_s


def _flow_ends_s(exchange: PairExchange) -> NDArray[np.float64]:
    far_bytes = exchange.far_bytes
    source, destination = np.nonzero(far_bytes)
    n_ranks = exchange.start_s.size
    size_bytes = far_bytes[source, destination]
    finish_s = flow_finish_s(
        FlowLinks.of_crossbar(source, destination=destination, n_ranks=n_ranks),
        capacity_bytes_per_s=np.concatenate(
            (exchange.egress_bytes_per_s, exchange.ingress_bytes_per_s)
        ),
        size_bytes=size_bytes,
        start_s=exchange.start_s[source],
        weight=size_bytes,
        batch_frac=BATCH_FRAC,
    )
    return _received_s(exchange, destination=destination, arrival_s=finish_s)


def packets_of(
    payload_bytes: NDArray[np.float64], *, copy_bytes: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the packets of an exchange in the order in which their senders send them.

    Copies for all destinations are spread evenly over the tokens; ranks begin each round
    with another destination, as tokens in random order would.

    Parameters
    ----------
    payload_bytes : ndarray of shape (n_ranks, n_ranks)
        From rank (row) to rank (column). [B]
    copy_bytes : float
        Largest packet. [B]

    Returns
    -------
    tuple of three ndarray of shape (n_packets,)
        Source, destination and size. [B]
    """
    source, destination = np.nonzero(payload_bytes)
    counts = np.ceil(payload_bytes[source, destination] / copy_bytes).astype(np.int64)
    sizes_bytes = payload_bytes[source, destination] / counts
    pair = np.repeat(np.arange(counts.size), counts)
    place = np.arange(pair.size) - np.repeat(np.cumsum(counts) - counts, counts)
    turn = (place + 0.5) / counts[pair]
    shift = (destination - source)[pair] % len(payload_bytes)
    order = np.lexsort((shift, turn, source[pair]))
    ordered = pair[order]
    return source[ordered], destination[ordered], sizes_bytes[ordered]


def _packet_ends_s(exchange: PairExchange) -> NDArray[np.float64]:
    source, destination, sizes_bytes = packets_of(
        exchange.far_bytes, copy_bytes=exchange.copy_bytes
    )
    end_s = packet_receive_ends_s(
        source,
        destination=destination,
        size_bytes=sizes_bytes,
        egress_bytes_per_s=exchange.egress_bytes_per_s,
        ingress_bytes_per_s=exchange.ingress_bytes_per_s,
        start_s=exchange.start_s,
    )
    egress_s, _ = _port_times_s(exchange)
    return np.asarray(np.maximum(end_s, (exchange.start_s + egress_s).max()))


def _received_s(
    exchange: PairExchange, *, destination: NDArray[np.int64], arrival_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return when each rank holds everything: no earlier than the last byte is sent. [s]."""
    egress_s, _ = _port_times_s(exchange)
    end_s = np.full(exchange.start_s.size, float((exchange.start_s + egress_s).max()))
    np.maximum.at(end_s, destination, arrival_s)
    return end_s
