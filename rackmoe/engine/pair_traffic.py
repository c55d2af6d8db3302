"""Who sends how many copies of tokens to whom in a step, as its routing says."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.collectives import Family
from rackmoe.hardware.machine import Machine
from rackmoe.network.dispatch import PortCopies, family_copies
from rackmoe.network.paired_exchange import fitted_pairs
from rackmoe.routing.step import StepRouting

__all__ = ["PairTraffic"]

Floats = NDArray[np.float64]

_DENSE = (None, Family.ALLGATHER_REDUCESCATTER)
_DENSE_COPIES = 64.0
"""Parts of a dense buffer between two ranks, the packets of `packet` (kind: assumed)."""


class PairTraffic:
    """Copies between the ranks of a group, by family of kernels.

    Parameters
    ----------
    family : Family or None
        The kernels; None where no copies of tokens are sent.
    n_ranks : int
        Ranks of the group.
    domain_ranks : int
        Ranks of a scale-up domain.
    port_frac : float
        Time of a copy over a scale-up port, over that of one over the NICs of a rank.
    """

    def __init__(
        self, family: Family | None, *, n_ranks: int, domain_ranks: int, port_frac: float = 1.0
    ) -> None:
        self.family = family
        self.n_ranks = n_ranks
        self.n_domains = -(-n_ranks // domain_ranks)
        self._port_frac = port_frac if self.n_domains > 1 else 1.0
        self._apart = 1.0 - np.eye(n_ranks)
        rank = np.arange(n_ranks)
        self._is_far = rank[:, None] // domain_ranks != rank // domain_ranks
        self._is_counterpart = self._is_far & (rank[:, None] % domain_ranks == rank % domain_ranks)

    @classmethod
    def on_machine(cls, family: Family | None, *, n_ranks: int, machine: Machine) -> "PairTraffic":
        """Return the traffic of a group on a machine.

        Parameters
        ----------
        family : Family or None
            The kernels.
        n_ranks : int
            Ranks of the group.
        machine : Machine
            Its domains and bandwidths.
        """
        out = machine.scale_out
        nics_bytes_per_s = out.nic_bandwidth_bytes_per_s * out.nics_per_gpu
        return cls(
            family,
            n_ranks=n_ranks,
            domain_ranks=machine.scale_up.domain_gpus,
            port_frac=min(1.0, nics_bytes_per_s / machine.scale_up.gpu_bandwidth_bytes_per_s),
        )

    def pairs(
        self, routed: StepRouting, *, sent_by: Callable[[int], StepRouting] | None = None
    ) -> Floats:
        """Return what each rank sends to each other at the dispatch of every layer.

        Parameters
        ----------
        routed : StepRouting
            The step; its arrays may be those that `sent_by` uses.
        sent_by : callable, optional
            The routing of the tokens of one rank alone, where tokens are followed; without
            it, or for tokens that are not followed, every sender has the same share of what
            a rank receives.

        Returns
        -------
        ndarray of shape (n_layers or 1, n_ranks, n_ranks)
            Copies of the slowest port. Rows and columns have the sums of the step.
        """
        if self.family in _DENSE or routed.copies_out.shape[1] != self.n_ranks:
            return _DENSE_COPIES * self._apart[None]
        kinds = [kind for kind in self._kinds() if kind[2].any()]
        whole = {name: self._sums(routed, name) for name, _, _ in kinds}
        shape = (len(routed.copies_out), self.n_ranks, self.n_ranks)
        followed = {name: np.zeros(shape) for name, _, _ in kinds}
        if sent_by is not None:
            for rank in range(self.n_ranks):
                one = sent_by(rank)
                for name, seeds in followed.items():
                    seeds[:, rank] = self._sums(one, name)[1]
        found = np.zeros(shape)
        for name, frac, mask in kinds:
            found += frac * _completed(followed[name] * mask, mask, *whole[name])
        return found

    def _kinds(self) -> tuple[tuple[str, float, Floats], ...]:
        """Return the kinds of ports: time of a copy, and the pairs that use them."""
        is_one = self.n_domains == 1
        if self.family is Family.DEEPEP_LOW_LATENCY_RDMA:
            return (("nic", 1.0, self._apart),)
        if self.family is Family.DEEPEP_NORMAL:
            forwards = np.zeros_like(self._apart) if is_one else 1.0 * self._is_counterpart
            return ("port", self._port_frac, self._apart), ("nic", 1.0, forwards)
        if self.family is Family.DEEPEP_LOW_LATENCY:
            near = self._apart * ~self._is_far
            return ("port", self._port_frac, near), ("nic", 1.0, 1.0 * self._is_far)
        return (("port", 1.0, self._apart),)

    def _sums(self, routed: StepRouting, name: str) -> tuple[Floats, Floats]:
        """Return copies out and in by layer and rank, in arrays of their own."""
        out, into = getattr(self._copies(routed), name)
        return np.array(out, np.float64), np.array(into, np.float64)

    def _copies(self, routed: StepRouting) -> PortCopies:
        if self.family is Family.IDEAL:
            return PortCopies(port=(routed.assignments_out, routed.assignments_in), nic=None)
        if self.family is None or self.family is Family.NCCL_ALLTOALL:
            return PortCopies(port=(routed.copies_out, routed.copies_in), nic=None)
        return family_copies(self.family, traffic=routed, n_domains=self.n_domains)


def _completed(followed: Floats, mask: Floats, out: Floats, into: Floats) -> Floats:
    """Return pairs with the sums of the step: those followed, and equal shares of the rest."""
    rest_out = np.maximum(out - followed.sum(axis=2), 0.0)
    rest_in = np.maximum(into - followed.sum(axis=1), 0.0)
    seeds = np.broadcast_to(mask, followed.shape)
    return fitted_pairs(
        followed + fitted_pairs(seeds, out=rest_out, into=rest_in), out=out, into=into
    )
