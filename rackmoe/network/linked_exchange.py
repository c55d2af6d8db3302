"""When the exchanges of a group over several scale-up domains end, link by link."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.exchange_tiers import ExchangeTier, exchange_ends_s
from rackmoe.network.layer_times import ExchangeTimes, LayerTimes
from rackmoe.network.link_ends import (
    ALONE_IN,
    NEAR_IN,
    NEAR_OUT,
    NO_LINKS,
    LinkTimes,
    linked_ends,
)
from rackmoe.network.link_loads import LinkBusy, LinkLoads
from rackmoe.network.link_paths import Uplinks, far_ends_s
from rackmoe.network.link_state import LinkState
from rackmoe.network.paired_exchange import (
    PairedExchanges,
    ends_over_changes,
    pair_exchange,
)
from rackmoe.network.slowdown import Slowdown

__all__ = ["LinkedExchanges", "StepExchanges"]

Floats = NDArray[np.float64]
_Layers = int | NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedExchanges:
    r"""The exchanges of a step over scale-up ports, NICs, leaves and spines.

    The laws of the kernels say how long each rank is busy; `LinkLoads` says how that is
    divided between its port and its NICs. Bytes between domains take the NIC, the uplinks of
    the leaf where the two NICs are on different ones, and the other NIC; those inside, and
    those that the receiving domain forwards, the ports.

    Parameters
    ----------
    loads : LinkLoads
        Copies over each kind of link.
    tier : ExchangeTier
        How closely to look.
    pairs : tuple of two ndarray of shape (n_layers, n_ranks, n_ranks), or None
        Copies between ranks over ports and over NICs; None under `ExchangeTier.PLAN`.

    Notes
    -----
    Under `PLAN` each link works off what arrives, a fluid queue, as
    `rackmoe.network.exchange.receive_ends` describes, and an exchange ends with the last
    link: for a leaf `l` that carries :math:`w_{ls}` seconds of work of rank `s`, which sends
    from :math:`t_s` for :math:`F_s` seconds,

    .. math::

        D_l = \max_k \Bigl(t_k + \sum_s w_{ls}
              \min\bigl(1, \max(0, (t_s + F_s - t_k) / F_s)\bigr)\Bigr)
    """

    loads: LinkLoads
    tier: ExchangeTier
    pairs: tuple[Floats, Floats] | None = None

    def closed_links(
        self, times: LayerTimes, *, slowdown: Slowdown, first_layer: int = 0
    ) -> tuple[LinkTimes, LinkTimes]:
        """Return what compiled closed forms need of the exchanges of a step, at steady speeds.

        Parameters
        ----------
        times : LayerTimes
            What the laws of the kernels say of each layer and rank. [s]
        slowdown : Slowdown
            Its first row counts.
        first_layer : int
            Where to begin.

        Returns
        -------
        tuple of two LinkTimes
            Dispatch and combine, for `rackmoe.network.recurrence.layered_step`.
        """
        if times.dispatch is None or times.combine is None:
            return NO_LINKS, NO_LINKS
        dispatch, combine = (
            self._closed_times(
                one, slowdown=slowdown, first_layer=first_layer, is_combine=one is times.combine
            )
            for one in (times.dispatch, times.combine)
        )
        return dispatch, combine

    def _closed_times(
        self, exchange: ExchangeTimes, *, slowdown: Slowdown, first_layer: int, is_combine: bool
    ) -> LinkTimes:
        layers = np.arange(first_layer, len(exchange.egress_s))
        nominal = self.loads.busy(
            layers,
            egress_s=exchange.egress_s[first_layer:],
            ingress_s=exchange.ingress_s[first_layer:],
            is_combine=is_combine,
        )
        state = slowdown.link_state(0)
        times, _ = self._closed(nominal, slowdown, 0, layers, is_combine=is_combine)
        if not state.tight.size:
            return times
        is_used = times.uplink_s.any(axis=(0, 2))
        return LinkTimes(
            times.busy_s,
            np.ascontiguousarray(times.uplink_s[:, is_used]),
            np.ascontiguousarray(times.waits[is_used]),
        )

    def streams_s(
        self,
        start_s: Floats,
        *,
        layer: int,
        egress_s: Floats,
        ingress_s: Floats,
        slowdown: Slowdown,
        is_combine: bool = False,
    ) -> tuple[Floats, Floats]:
        """Return when each rank holds everything, and when its send stream is free again.

        As `rackmoe.network.paired_exchange.PairedExchanges.streams_s`.

        Parameters
        ----------
        start_s : ndarray of shape (n_ranks,)
            When each rank starts to send. [s]
        layer : int
            Which layer; layers beyond the last one are like it.
        egress_s, ingress_s : ndarray of shape (n_ranks,)
            Nominal time of each rank, by the law of the kernel. [s]
        slowdown : Slowdown
            Factors of the ports, and the links between domains.
        is_combine : bool
            Whether copies go back to their owners.

        Returns
        -------
        tuple of two ndarray of shape (n_ranks,)
            Ends, latency apart. [s]
        """
        nominal = self.loads.busy(
            layer, egress_s=egress_s, ingress_s=ingress_s, is_combine=is_combine
        )

        def solve(row: int) -> Floats:
            times, uplinks = self._closed(nominal, slowdown, row, layer, is_combine=is_combine)
            ends_s = _closed_ends_s(start_s, times)
            if self.tier is not ExchangeTier.PLAN and self.pairs is not None:
                self._look_closer(ends_s, start_s, times, layer, uplinks, is_combine=is_combine)
            return ends_s

        return ends_over_changes(solve, start_s=start_s, change_s=slowdown.change_s)

    def wire_s(
        self,
        layer: int,
        *,
        egress_s: Floats,
        ingress_s: Floats,
        slowdown: Slowdown,
        row: int,
        is_combine: bool = False,
    ) -> tuple[Floats, Floats]:
        """Return how long each rank's own busiest link sends and receives.

        Parameters
        ----------
        layer, egress_s, ingress_s, slowdown, is_combine : int, ndarray, Slowdown and bool
            As for `streams_s`. [s]
        row : int
            Which row of the slowdown.

        Returns
        -------
        tuple of two ndarray of shape (n_ranks,)
            Out and in. [s]
        """
        nominal = self.loads.busy(
            layer, egress_s=egress_s, ingress_s=ingress_s, is_combine=is_combine
        )
        busy = _slowed(nominal, slowdown, row)
        out, into = (
            np.maximum(np.maximum(busy.near[way], busy.far[way]), busy.alone[way])
            for way in range(2)
        )
        return out, into

    def _closed(
        self, nominal: LinkBusy, slowdown: Slowdown, row: int, layer: _Layers, *, is_combine: bool
    ) -> tuple[LinkTimes, Uplinks | None]:
        """Return the times of links at the speeds of an instant, and the uplinks if they bind."""
        busy_s = _slowed(nominal, slowdown, row).rows
        state = slowdown.link_state(row)
        if not state.tight.size:
            n_ranks = busy_s.shape[-1]
            uplink_s = np.zeros((*busy_s.shape[:-2], 0, n_ranks))
            return LinkTimes(busy_s, uplink_s, np.zeros((0, n_ranks), np.bool_)), None
        if self.pairs is None or not isinstance(layer, int):
            pairs = self.loads.far_pairs(layer, is_combine=is_combine)
        else:
            pairs = _at(self.pairs[1], layer, is_combine=is_combine)
        uplinks = Uplinks.of_state(state, pairs=pairs, far_s=nominal.far[0])
        return LinkTimes(busy_s, uplinks.work_s, uplinks.waits), uplinks

    def _look_closer(
        self,
        ends_s: Floats,
        start_s: Floats,
        times: LinkTimes,
        layer: int,
        uplinks: Uplinks | None,
        *,
        is_combine: bool,
    ) -> None:
        """Replace the ends of the closed form by those of pairs; streams stay. [s]."""
        near, far = (_at(kind, layer, is_combine=is_combine) for kind in self.pairs or ())
        first_s = float(start_s.min())
        # batched flows look back at the time so far: let it begin with the exchange
        since_s = start_s - first_s
        busy_s = times.busy_s
        ports = busy_s[NEAR_OUT], busy_s[NEAR_IN]
        nics = busy_s[NEAR_OUT + 1], busy_s[NEAR_IN + 1]
        sent_s = since_s + np.maximum.reduce((ports[0], nics[0], busy_s[ALONE_IN - 1]))
        parts_s = (
            exchange_ends_s(pair_exchange(near, start_s=since_s, busy_s=ports), tier=self.tier),
            far_ends_s(
                pair_exchange(far, start_s=since_s, busy_s=nics), tier=self.tier, uplinks=uplinks
            ),
            np.maximum(since_s.max() + busy_s[ALONE_IN], sent_s.max()),
        )
        ends_s[0] = first_s + np.maximum.reduce(parts_s)
        if self.tier is ExchangeTier.PHASE:
            ends_s[1] = ends_s[0].max()


StepExchanges = PairedExchanges | LinkedExchanges
"""The exchanges of a step: of a group in one domain, or over several."""


def _at(pairs: Floats, layer: int, *, is_combine: bool) -> Floats:
    one: Floats = pairs[min(layer, len(pairs) - 1)]
    return one.T if is_combine else one


def _slowed(nominal: LinkBusy, slowdown: Slowdown, row: int) -> LinkBusy:
    """Return the times of links at the speeds of an instant. [s]."""
    state: LinkState = slowdown.link_state(row)
    ports = slowdown.egress[row], slowdown.ingress[row]
    return nominal.slowed(ports, nics=(state.far_out, state.far_in))


def _closed_ends_s(start_s: Floats, times: LinkTimes) -> Floats:
    """Return ends and free send streams of one exchange, shape (2, n_ranks). [s]."""
    n_ranks = start_s.size
    orders = np.tile(np.arange(n_ranks), (2, 3, 1))
    sent_s, ends_s = np.empty(n_ranks), np.empty((2, n_ranks))
    begin_s = np.ascontiguousarray(start_s, np.float64)
    linked_ends(begin_s, *times, orders, sent_s, ends_s[0], ends_s[1])
    return ends_s
