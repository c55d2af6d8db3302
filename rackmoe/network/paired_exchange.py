"""When the exchanges of a step end, looked at pair by pair instead of port by port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError
from rackmoe.network.exchange_tiers import (
    ExchangeTier,
    PairExchange,
    exchange_ends_s,
    stream_ends_s,
)
from rackmoe.network.slowdown import Slowdown

__all__ = ["PairedExchanges", "ends_over_changes", "fitted_pairs", "pair_exchange"]

_MOST_PACKETS = 200_000
"""Of one exchange; beyond it, packets are of several copies (kind: assumed; bounds the cost)."""

_LEAST_S = 1e-12
"""A port that takes no time serves within a tick of the clock. [s]"""

_MOST_FITS, _FIT_FRAC = 50, 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedExchanges:
    """Who sends how much to whom in the exchanges of a step, and how closely to look at them.

    The laws of the kernels say how long each port is busy; the pairs say with whom. Each
    port serves its pairs within its own time, so that all tiers move the same data at the
    same speeds and differ only in how the pairs get into each other's way.

    Parameters
    ----------
    pairs : ndarray of shape (n_layers, n_ranks, n_ranks)
        Copies of tokens from their owner (row) to their experts (column) at a dispatch,
        in copies of the slowest port; a combine sends them back. The diagonal is zero.
    tier : ExchangeTier
        How closely to look.

    Raises
    ------
    ShapeError
        If the last two axes differ.
    """

    pairs: Floats
    tier: ExchangeTier

    def __post_init__(self) -> None:
        shape = self.pairs.shape
        if len(shape) != 3 or shape[1] != shape[2]:  # noqa: PLR2004  layers, sources, targets
            raise ShapeError(
                f"pairs: shape {shape}; expected (n_layers, n_ranks, n_ranks); give a matrix for "
                "each layer"
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

        The stream is that of the recurrence of two micro-batches, whatever the tier: against
        events on one ordered stream per rank it is right to 1 %.

        Where a capacity changes, the share of the exchange that is done is kept, and the
        rest runs at the new speed.

        Parameters
        ----------
        start_s : ndarray of shape (n_ranks,)
            When each rank starts to send. [s]
        layer : int
            Which layer; layers beyond the last one are like it.
        egress_s, ingress_s : ndarray of shape (n_ranks,)
            Nominal time of the ports of each rank. [s]
        slowdown : Slowdown
            Factors of the ports.
        is_combine : bool
            Whether copies go back to their owners.

        Returns
        -------
        tuple of two ndarray of shape (n_ranks,)
            Ends, latency apart. [s]
        """
        pairs = self.pairs[min(layer, len(self.pairs) - 1)]
        if is_combine:
            pairs = pairs.T

        def solve(row: int) -> Floats:
            busy_s = egress_s * slowdown.egress[row], ingress_s * slowdown.ingress[row]
            return np.stack(_solve(pairs, start_s, busy_s, self.tier))

        return ends_over_changes(solve, start_s=start_s, change_s=slowdown.change_s)

    def wire_s(
        self,
        layer: int,  # noqa: ARG002  linked exchanges need it
        *,
        egress_s: Floats,
        ingress_s: Floats,
        slowdown: Slowdown,
        row: int,
        is_combine: bool = False,  # noqa: ARG002  likewise
    ) -> tuple[Floats, Floats]:
        """Return how long the ports of each rank send and receive at present speeds.

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
        return egress_s * slowdown.egress[row], ingress_s * slowdown.ingress[row]


def ends_over_changes(
    solve: Callable[[int], Floats], *, start_s: Floats, change_s: Floats
) -> tuple[Floats, Floats]:
    """Return ends of an exchange while speeds change: what is done is kept.

    Parameters
    ----------
    solve : callable
        From a row of the slowdown to ends at its speeds, shape (2, n_ranks). [s]
    start_s : ndarray of shape (n_ranks,)
        When each rank starts to send. [s]
    change_s : ndarray of shape (n_changes,)
        Times of the changes. [s]

    Returns
    -------
    tuple of two ndarray of shape (n_ranks,)
        When each rank holds everything, and when its send stream is free. [s]
    """
    begin_s = float(start_s.min())
    row = int(np.searchsorted(change_s, begin_s, side="right"))
    ends_s = solve(row)
    for at, now_s in enumerate(change_s[row:].tolist(), start=row + 1):
        if now_s >= float(ends_s.max()):
            break
        lasts_s = np.maximum(ends_s - begin_s, _LEAST_S)
        left_frac = np.clip(1.0 - (now_s - begin_s) / lasts_s, 0.0, 1.0)
        new_s = now_s + left_frac * np.maximum(solve(at) - begin_s, 0.0)
        ends_s = np.where(left_frac > 0.0, new_s, ends_s)
    return ends_s[0], ends_s[1]


def pair_exchange(
    pairs: Floats, *, start_s: Floats, busy_s: tuple[Floats, Floats]
) -> PairExchange:
    """Return an exchange whose ports are busy for given times with their pairs.

    Parameters
    ----------
    pairs : ndarray of shape (n_ranks, n_ranks)
        Copies from rank to rank.
    start_s : ndarray of shape (n_ranks,)
        When each rank starts to send. [s]
    busy_s : tuple of two ndarray of shape (n_ranks,)
        Times out and in. [s]

    Returns
    -------
    PairExchange
        In copies for bytes.
    """
    out, into = pairs.sum(axis=1), pairs.sum(axis=0)
    return PairExchange(
        payload_bytes=pairs,
        egress_bytes_per_s=_speed(out, busy_s[0]),
        ingress_bytes_per_s=_speed(into, busy_s[1]),
        start_s=start_s,
        copy_bytes=max(1.0, float(out.sum()) / _MOST_PACKETS),
    )


def _solve(
    pairs: Floats, start_s: Floats, busy_s: tuple[Floats, Floats], tier: ExchangeTier
) -> tuple[Floats, Floats]:
    """Return the streams of one exchange at steady speeds. [s]."""
    egress_s, ingress_s = busy_s
    # batched flows look back at the time so far: let it begin with the exchange
    first_s = float(start_s.min())
    since_s = start_s - first_s
    into = pairs.sum(axis=0)
    exchange = pair_exchange(pairs, start_s=since_s, busy_s=busy_s)
    end_s = exchange_ends_s(exchange, tier=tier)
    # ports can be busy without a pair: passes over own tokens, or data of unknown senders
    sent_s = since_s + egress_s
    end_s = np.maximum(end_s, sent_s.max())
    alone_s = np.where(into > 0.0, 0.0, since_s.max() + ingress_s)
    end_s = np.maximum(end_s, alone_s)
    if tier is ExchangeTier.PHASE:
        return first_s + end_s, np.full(end_s.size, first_s + float(end_s.max()))
    free_s = stream_ends_s(since_s, egress_s=egress_s, ingress_s=ingress_s)
    return first_s + end_s, first_s + free_s


def _speed(copies: Floats, busy_s: Floats) -> Floats:
    """Return the copies per second at which a port is busy for its time."""
    return np.where(copies > 0.0, copies / np.maximum(busy_s, _LEAST_S), 1.0)


def fitted_pairs(seeds: Floats, *, out: Floats, into: Floats) -> Floats:
    r"""Return the pairs nearest to the seeds that have given sums.

    Parameters
    ----------
    seeds : ndarray of shape (n_layers, n_ranks, n_ranks)
        First guess, for example ones where pairs are possible; zeros stay zeros.
    out, into : ndarray of shape (n_layers, n_ranks)
        What each rank sends and receives; of equal sums in each layer.

    Returns
    -------
    ndarray of shape (n_layers, n_ranks, n_ranks)
        Non-negative, with rows that sum to `out` and columns that sum to `into` as far as
        the seeds allow it.

    Notes
    -----
    Rows and columns are scaled in turn, :math:`B_{sd} = u_s S_{sd} v_d`, which converges
    to the matrix with the given sums of least relative entropy to the seeds [1]_.

    References
    ----------
    .. [1] R. Sinkhorn and P. Knopp, "Concerning nonnegative matrices and doubly stochastic
       matrices," Pacific Journal of Mathematics, vol. 21, no. 2, pp. 343-348, 1967.

    Examples
    --------
    >>> apart = 1.0 - np.eye(3)[None]
    >>> fitted_pairs(apart, out=np.array([[2.0, 2, 2]]), into=np.array([[2.0, 2, 2]]))[0, 0]
    array([0., 1., 1.])
    """
    found = np.array(seeds, np.float64)
    for _ in range(_MOST_FITS):
        found *= _ratio(out, found.sum(axis=2))[:, :, None]
        columns = found.sum(axis=1)
        if np.abs(columns - into).max(initial=0.0) <= _FIT_FRAC * into.max(initial=0.0):
            break
        found *= _ratio(into, columns)[:, None, :]
    return found


def _ratio(wanted: Floats, present: Floats) -> Floats:
    return np.divide(wanted, present, out=np.zeros(wanted.shape), where=present > 0.0)
