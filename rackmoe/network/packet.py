"""When an all-to-all of single packets ends: the exact reference for the closed forms."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["packet_chain_ends_s", "packet_receive_ends_s"]


def packet_receive_ends_s(
    source: NDArray[np.int64],
    *,
    destination: NDArray[np.int64],
    size_bytes: NDArray[np.float64] | float,
    egress_bytes_per_s: NDArray[np.float64],
    ingress_bytes_per_s: NDArray[np.float64],
    start_s: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    r"""Return when each rank has received its last packet through FIFO ports.

    Each source sends its packets in the order of the list, back to back from
    its start; each destination port takes packets in the order in which they
    begin to arrive, with cut-through and unlimited buffers.

    Parameters
    ----------
    source, destination : ndarray of shape (n_packets,)
        Ranks of each packet, in sending order.
    size_bytes : ndarray of shape (n_packets,) or float
        Size of each packet. [B]
    egress_bytes_per_s, ingress_bytes_per_s : ndarray of shape (n_ranks,)
        Bandwidth of each port, one direction. [B/s]
    start_s : ndarray of shape (n_ranks,), optional
        When each rank starts to send; zeros by default. [s]

    Returns
    -------
    ndarray of shape (n_ranks,)
        Receive ends; minus infinity for a rank that receives nothing. [s]

    Notes
    -----
    The network is feed-forward, so a sort and a running maximum replace an
    event loop. For packet `i` at port `d`, in order of arrival, the Lindley
    recursion [1]_:

    .. math:: c_i = \max(\max(c_{i-1}, a_i) + b_i / C_d,\, e_i)

    with :math:`a_i` and :math:`e_i` when its first and last bit leave the source.

    References
    ----------
    .. [1] D. V. Lindley, "The theory of queues with a single server," Math.
       Proc. Cambridge Philos. Soc., vol. 48, no. 2, pp. 277-289, 1952.
    """
    n_ranks = egress_bytes_per_s.size
    sizes_bytes = np.broadcast_to(np.asarray(size_bytes, np.float64), source.shape)
    begin_s = np.zeros(n_ranks) if start_s is None else np.asarray(start_s, np.float64)
    sizes_bytes = np.ascontiguousarray(sizes_bytes)
    first_bit_s = np.empty(source.size)
    last_bit_s = np.empty(source.size)
    _send(source, sizes_bytes, egress_bytes_per_s, begin_s.copy(), first_bit_s, last_bit_s)
    # stable, so that packets that arrive together keep the order of the list
    order = np.argsort(first_bit_s, kind="stable")
    end_s = np.full(n_ranks, -np.inf)
    _receive(order, destination, sizes_bytes, ingress_bytes_per_s, first_bit_s, last_bit_s, end_s)
    return end_s


def packet_chain_ends_s(
    source: NDArray[np.int64],
    *,
    destination: NDArray[np.int64],
    size_bytes: NDArray[np.float64],
    ports_bytes_per_s: tuple[NDArray[np.float64], NDArray[np.float64]],
    middle: NDArray[np.int64],
    middle_bytes_per_s: NDArray[np.float64],
    start_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the same where packets cross further links between their two ports.

    The network stays feed-forward: every link of one stage is passed before any of the
    next, so that the recursion of `packet_receive_ends_s` runs stage by stage.

    Parameters
    ----------
    source, destination : ndarray of shape (n_packets,)
        Ranks of each packet, in sending order.
    size_bytes : ndarray of shape (n_packets,)
        Size of each packet. [B]
    ports_bytes_per_s : tuple of two ndarray of shape (n_ranks,)
        Bandwidth of the ports out and in. [B/s]
    middle : ndarray of shape (n_stages, n_packets)
        Link of each packet at each stage in between; -1 for none.
    middle_bytes_per_s : ndarray of shape (n_links,)
        Bandwidth of these links. [B/s]
    start_s : ndarray of shape (n_ranks,)
        When each rank starts to send. [s]

    Returns
    -------
    ndarray of shape (n_ranks,)
        Receive ends; minus infinity for a rank that receives nothing. [s]
    """
    first_bit_s, last_bit_s = np.empty((2, source.size))
    sizes_bytes = np.ascontiguousarray(size_bytes, np.float64)
    out, into = ports_bytes_per_s
    _send(source, sizes_bytes, out, np.array(start_s, np.float64), first_bit_s, last_bit_s)
    for link in middle:
        order = np.argsort(first_bit_s, kind="stable")
        free_s = np.full(middle_bytes_per_s.size, -np.inf)
        _pass_on(order, link, sizes_bytes, middle_bytes_per_s, free_s, first_bit_s, last_bit_s)
    order = np.argsort(first_bit_s, kind="stable")
    end_s = np.full(into.size, -np.inf)
    _receive(order, destination, sizes_bytes, into, first_bit_s, last_bit_s, end_s)
    return end_s


@njit(cache=True)
def _pass_on(
    order: NDArray[np.int64],
    link: NDArray[np.int64],
    size_bytes: NDArray[np.float64],
    bytes_per_s: NDArray[np.float64],
    free_s: NDArray[np.float64],
    first_bit_s: NDArray[np.float64],
    last_bit_s: NDArray[np.float64],
) -> None:
    # Turn the times at which bits reach a link into those at which they leave it.
    for i in order:
        m = link[i]
        if m >= 0:
            first_bit_s[i] = max(free_s[m], first_bit_s[i])
            taken_s = first_bit_s[i] + size_bytes[i] / bytes_per_s[m]
            last_bit_s[i] = max(taken_s, last_bit_s[i])
            free_s[m] = last_bit_s[i]


@njit(cache=True)
def _send(
    source: NDArray[np.int64],
    size_bytes: NDArray[np.float64],
    egress_bytes_per_s: NDArray[np.float64],
    free_s: NDArray[np.float64],
    first_bit_s: NDArray[np.float64],
    last_bit_s: NDArray[np.float64],
) -> None:
    for i in range(source.size):
        s = source[i]
        first_bit_s[i] = free_s[s]
        free_s[s] += size_bytes[i] / egress_bytes_per_s[s]
        last_bit_s[i] = free_s[s]


@njit(cache=True)
def _receive(
    order: NDArray[np.int64],
    destination: NDArray[np.int64],
    size_bytes: NDArray[np.float64],
    ingress_bytes_per_s: NDArray[np.float64],
    first_bit_s: NDArray[np.float64],
    last_bit_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
) -> None:
    for i in order:
        d = destination[i]
        taken_s = max(end_s[d], first_bit_s[i]) + size_bytes[i] / ingress_bytes_per_s[d]
        end_s[d] = max(taken_s, last_bit_s[i])
