"""Exchanges between domains pair by pair, over NICs and the uplinks of leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.exchange_tiers import (
    BATCH_FRAC,
    ExchangeTier,
    PairExchange,
    exchange_ends_s,
    packets_of,
)
from rackmoe.network.fluid import flow_finish_s
from rackmoe.network.link_state import LinkState
from rackmoe.network.packet import packet_chain_ends_s
from rackmoe.network.sharing import FlowLinks

__all__ = ["Uplinks", "far_ends_s"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplinks:
    """The uplinks of all leaves in one exchange: up to the spines, then down from them.

    Parameters
    ----------
    work_s : ndarray of shape (..., n_uplinks, n_ranks)
        Time that each takes for what each rank sends. [s]
    copies_per_s : ndarray of shape (..., n_uplinks)
        Copies that each carries. [/s]
    waits : ndarray of shape (n_uplinks, n_ranks), bool
        Whether a rank holds everything only after that one is done.
    leaf : ndarray of shape (n_ranks, n_nics), int64
        Leaf of each NIC.
    """

    work_s: Floats
    copies_per_s: Floats
    waits: NDArray[np.bool_]
    leaf: NDArray[np.int64]

    @classmethod
    def of_state(cls, state: LinkState, *, pairs: Floats, far_s: Floats) -> Uplinks:
        """Return what the uplinks do in an exchange, or in several.

        Parameters
        ----------
        state : LinkState
            Where NICs are plugged in, and what uplinks carry.
        pairs : ndarray of shape (..., n_ranks, n_ranks)
            Copies between ranks over NICs.
        far_s : ndarray of shape (..., n_ranks)
            Time that the NICs of each rank send, at nominal speed. [s]
        """
        n_leaves = state.uplink_frac.shape[1]
        shares = state.uplink_shares(pairs)
        shape = (*pairs.shape[:-2], 2 * n_leaves, pairs.shape[-1])
        share_s = far_s[..., None, None, :] * state.uplink_frac[:, :, None]
        work_s = (shares * share_s).reshape(shape)
        copies = (shares * pairs.sum(axis=-1)[..., None, None, :]).reshape(shape).sum(axis=-1)
        took_s = work_s.sum(axis=-1)
        is_below = (state.leaf[None] == np.arange(n_leaves)[:, None, None]).any(axis=2)
        return cls(
            work_s=np.ascontiguousarray(work_s),
            copies_per_s=np.divide(
                copies, took_s, out=np.full(took_s.shape, np.inf), where=took_s > 0.0
            ),
            # all ranks wait until all have sent; those below a leaf until it has passed on all
            waits=np.concatenate((np.ones_like(is_below), is_below)),
            leaf=state.leaf,
        )

    def crossed(
        self, source: NDArray[np.int64], *, destination: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the uplinks between NICs of two ranks, -1 where they share a leaf.

        Parameters
        ----------
        source, destination : ndarray of shape (n,)
            Ranks.

        Returns
        -------
        ndarray of shape (n_nics, 2, n), int64
            Up and down, for each of their NICs.
        """
        one, other = self.leaf[source].T, self.leaf[destination].T
        n_leaves = self.work_s.shape[-2] // 2
        return np.where(
            (one != other)[:, None], np.stack((one, n_leaves + other), axis=1), -1
        ).astype(np.int64)


def far_ends_s(exchange: PairExchange, *, tier: ExchangeTier, uplinks: Uplinks | None) -> Floats:
    """Return when each rank has received what comes over NICs, start-up latency apart.

    Parameters
    ----------
    exchange : PairExchange
        Copies between ranks, with the speeds of their NICs.
    tier : ExchangeTier
        How closely to look.
    uplinks : Uplinks or None
        None where they cannot be the bottleneck.

    Returns
    -------
    ndarray of shape (n_ranks,)
        Ends. [s]
    """
    if uplinks is None or tier is ExchangeTier.PLAN:
        return exchange_ends_s(exchange, tier=tier)
    if tier is ExchangeTier.PHASE:
        through_s = float(uplinks.work_s.sum(axis=-1).max())
        end_s = exchange_ends_s(exchange, tier=tier)
        return np.asarray(np.maximum(end_s, exchange.start_s.max() + through_s))
    solve = _flow_ends_s if tier is ExchangeTier.FLOW else _packet_ends_s
    return solve(exchange, uplinks)


def _flow_ends_s(exchange: PairExchange, uplinks: Uplinks) -> Floats:
    source, destination = np.nonzero(exchange.payload_bytes)
    size = exchange.payload_bytes[source, destination]
    n_ranks, n_nics = uplinks.leaf.shape
    crossed = uplinks.crossed(source, destination=destination).reshape(2 * n_nics, -1)
    links = np.vstack((source, n_ranks + destination, crossed + 2 * n_ranks * (crossed >= 0))).T
    share = np.full(links.shape, 1.0 / n_nics)
    share[:, :2] = 1.0
    # a link that carries nothing is on no path
    speeds = np.where(np.isfinite(uplinks.copies_per_s), uplinks.copies_per_s, 1.0)
    finish_s = flow_finish_s(
        FlowLinks.of_table(links, crossing_frac=share, n_links=2 * n_ranks + speeds.size),
        capacity_bytes_per_s=np.concatenate(
            (exchange.egress_bytes_per_s, exchange.ingress_bytes_per_s, speeds)
        ),
        size_bytes=size,
        start_s=exchange.start_s[source],
        weight=size,
        batch_frac=BATCH_FRAC,
    )
    end_s = exchange.start_s.copy()
    np.maximum.at(end_s, destination, finish_s)
    return end_s


def _packet_ends_s(exchange: PairExchange, uplinks: Uplinks) -> Floats:
    source, destination, sizes = packets_of(exchange.payload_bytes, copy_bytes=exchange.copy_bytes)
    crossed = uplinks.crossed(source, destination=destination)
    packet = np.arange(source.size)
    middle = crossed[packet % len(crossed), :, packet].T
    end_s = packet_chain_ends_s(
        source,
        destination=destination,
        size_bytes=sizes,
        ports_bytes_per_s=(exchange.egress_bytes_per_s, exchange.ingress_bytes_per_s),
        middle=np.ascontiguousarray(middle),
        middle_bytes_per_s=uplinks.copies_per_s,
        start_s=exchange.start_s,
    )
    return np.asarray(np.maximum(end_s, exchange.start_s))
