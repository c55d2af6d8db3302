"""Who sends how many copies of tokens to whom in a step, as its routing says."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.collectives import Family
from rackmoe.hardware.machine import Machine
from rackmoe.network.build import MoeExchange
from rackmoe.network.dispatch import ExchangeLaw, family_copies
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.link_loads import LinkLoads
from rackmoe.network.linked_exchange import LinkedExchanges, StepExchanges
from rackmoe.network.paired_exchange import PairedExchanges, fitted_pairs
from rackmoe.routing.step import StepRouting

__all__ = ["PairTraffic"]

Floats = NDArray[np.float64]

_Pair = tuple[Floats, Floats]

_DENSE = (None, Family.ALLGATHER_REDUCESCATTER)
_BY_RAIL = (*_DENSE, Family.DEEPEP_NORMAL)
"""Kernels that cross domains between GPUs of one rail, and forward over scale-up ports."""
_MEASURED = (
    Family.NVLINK_ONE_SIDED,
    Family.NVLINK_TWO_SIDED,
    Family.DEEPEP_NORMAL,
    Family.DEEPEP_LOW_LATENCY,
    Family.DEEPEP_LOW_LATENCY_RDMA,
)
_DENSE_COPIES = 64.0
"""Parts of a dense buffer between two ranks, the packets of `packet` (kind: assumed)."""


class PairTraffic:
    """Copies between the ranks of a group, by family of kernels and kind of link.

    Parameters
    ----------
    family : Family or None
        The kernels; None where no copies of tokens are sent.
    n_ranks : int
        Ranks of the group.
    domain_ranks : int
        Ranks of a scale-up domain.
    near_frac : tuple of two float
        Time of a copy over a scale-up port, over that of one over the NICs of a rank, at
        dispatch and at combine.
    """

    def __init__(
        self,
        family: Family | None,
        *,
        n_ranks: int,
        domain_ranks: int,
        near_frac: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.family = family
        self.n_ranks = n_ranks
        self.n_domains = -(-n_ranks // domain_ranks)
        self._near_frac = near_frac
        self._apart = 1.0 - np.eye(n_ranks)
        rank = np.arange(n_ranks)
        is_far = rank[:, None] // domain_ranks != rank // domain_ranks
        is_counterpart = is_far & (rank[:, None] % domain_ranks == rank % domain_ranks)
        self._far = 1.0 * (is_counterpart if family in _BY_RAIL else is_far)
        self._near = self._apart if family in _BY_RAIL else self._apart * ~is_far
        if family is Family.DEEPEP_LOW_LATENCY_RDMA:
            self._near, self._far = np.zeros_like(self._apart), self._apart

    @classmethod
    def on_machine(
        cls,
        family: Family | None,
        *,
        n_ranks: int,
        machine: Machine,
        exchange: MoeExchange | None = None,
    ) -> "PairTraffic":
        """Return the traffic of a group on a machine.

        Parameters
        ----------
        family : Family or None
            The kernels.
        n_ranks : int
            Ranks of the group.
        machine : Machine
            Its domains and bandwidths.
        exchange : MoeExchange, optional
            The laws of the kernels, which know what a copy takes; peaks without them.
        """
        out = machine.scale_out
        nics_bytes_per_s = out.nic_bandwidth_bytes_per_s * out.nics_per_gpu
        peak = nics_bytes_per_s / machine.scale_up.gpu_bandwidth_bytes_per_s
        laws = () if exchange is None else (exchange.dispatch, exchange.combine)
        fracs = [law.near_frac if isinstance(law, ExchangeLaw) else peak for law in laws]
        return cls(
            family,
            n_ranks=n_ranks,
            domain_ranks=machine.scale_up.domain_gpus,
            near_frac=(fracs[0], fracs[1]) if fracs else (peak, peak),
        )

    @property
    def far_mask(self) -> Floats | None:
        """Ones where a pair of ranks exchanges over NICs; None for a group in one domain."""
        return self._far if self.n_domains > 1 else None

    def exchanges(
        self,
        routed: StepRouting,
        *,
        tier: ExchangeTier | None,
        sent_by: Callable[[int], StepRouting] | None = None,
    ) -> StepExchanges | None:
        """Return the exchanges of a step, as closely as they are to be looked at.

        Parameters
        ----------
        routed : StepRouting
            The step; its arrays may be those that `sent_by` uses.
        tier : ExchangeTier or None
            None for closed forms that nobody asks about.
        sent_by : callable, optional
            The routing of the tokens of one rank alone, where tokens are followed; without
            it, or for tokens that are not followed, every sender has the same share of what
            a rank receives.

        Returns
        -------
        StepExchanges or None
            None for a group in one domain that nobody asks about.
        """
        if self.n_ranks == 1 or (tier is None and self.n_domains == 1):
            return None
        if self.n_domains == 1:
            pairs = self.pairs(routed, sent_by=sent_by)
            return PairedExchanges(pairs=pairs[0] + pairs[1], tier=tier or ExchangeTier.PLAN)
        near, far = self._copies(routed)
        loads = LinkLoads(
            near=_own(near),
            far=_own(far),
            near_mask=self._near,
            far_mask=self._far,
            near_frac=self._near_frac,
        )
        return LinkedExchanges(
            loads=loads,
            tier=tier or ExchangeTier.PLAN,
            pairs=None if tier is None else self.pairs(routed, sent_by=sent_by),
        )

    def pairs(
        self, routed: StepRouting, *, sent_by: Callable[[int], StepRouting] | None = None
    ) -> _Pair:
        """Return what each rank sends to each other at the dispatch of every layer.

        Parameters
        ----------
        routed, sent_by : StepRouting and callable
            As for `exchanges`.

        Returns
        -------
        tuple of two ndarray of shape (n_layers, n_ranks, n_ranks)
            Copies over scale-up ports and over NICs. Rows and columns have the sums of the
            step.
        """
        if self.n_domains == 1 and (self.family in _DENSE or not self._is_routed(routed)):
            return _DENSE_COPIES * self._apart[None], np.zeros((1, *self._apart.shape))
        whole = [_own(kind) for kind in self._copies(routed)]
        masks = self._near, self._far
        shape = (len(whole[0][0]), self.n_ranks, self.n_ranks)
        followed = np.zeros((2, *shape))
        if sent_by is not None and self.family not in _DENSE and self._is_routed(routed):
            for rank in range(self.n_ranks):
                for seeds, kind in zip(followed, self._copies(sent_by(rank)), strict=True):
                    seeds[:, rank] = kind[1]
        near, far = (
            _completed(seeds * mask, mask, *sums) if mask.any() else np.zeros(shape)
            for seeds, mask, sums in zip(followed, masks, whole, strict=True)
        )
        return near, far

    def _is_routed(self, routed: StepRouting) -> bool:
        return int(routed.copies_out.shape[1]) == self.n_ranks

    def _copies(self, routed: StepRouting) -> tuple[_Pair, _Pair]:
        """Return copies out and in by layer and rank, over ports and over NICs."""
        if self.family in _DENSE or not self._is_routed(routed):
            return self._dense_copies()
        none = np.zeros_like(routed.copies_out)
        if self.family in _MEASURED:
            found = family_copies(self.family, traffic=routed, n_domains=self.n_domains)
            return found.port or (none, none), found.nic or (none, none)
        if self.family is Family.NCCL_ALLTOALL and self.n_domains == 1:
            return (routed.copies_out, routed.copies_in), (none, none)
        # each copy by itself, over NICs where it leaves the domain
        far = routed.remote_assignments_out, routed.remote_assignments_in
        return (routed.assignments_out - far[0], routed.assignments_in - far[1]), far

    def _dense_copies(self) -> tuple[_Pair, _Pair]:
        """Return what rings laid out by rail send: equal parts, around each domain and on."""
        n_far = self.n_domains - 1
        ones = np.full((1, self.n_ranks), _DENSE_COPIES)
        near, far = ones * (self.n_ranks - 1 - n_far), ones * n_far
        return (near, near), (far, far)


def _own(kind: _Pair) -> _Pair:
    """Return arrays of their own: those of a step may be used again."""
    return np.array(kind[0], np.float64), np.array(kind[1], np.float64)


def _completed(followed: Floats, mask: Floats, out: Floats, into: Floats) -> Floats:
    """Return pairs with the sums of the step: those followed, and equal shares of the rest."""
    rest_out = np.maximum(out - followed.sum(axis=2), 0.0)
    rest_in = np.maximum(into - followed.sum(axis=1), 0.0)
    seeds = np.broadcast_to(mask, followed.shape)
    return fitted_pairs(
        followed + fitted_pairs(seeds, out=rest_out, into=rest_in), out=out, into=into
    )
