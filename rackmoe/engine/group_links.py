"""The NICs and leaves under one group of ranks: what is left of them, and what they carry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.ports import Flows
from rackmoe.network.link_state import LinkState
from rackmoe.network.paired_exchange import fitted_pairs

__all__ = ["GroupLinks"]

Floats = NDArray[np.float64]
_WAYS = 2
_SLACK = 1e-9
_LEAST_LEFT_FRAC = 0.5
"""Of an uplink, beside exchanges of other replicas (kind: assumed; fair between two)."""


class GroupLinks:
    """Links between the scale-up domains of one replica.

    Parameters
    ----------
    net : Interconnect
        The fabric.
    gpus : ndarray of shape (n_ranks,)
        The GPUs of the replica.
    far_mask : ndarray of shape (n_ranks, n_ranks)
        Ones where a pair of ranks exchanges over NICs.

    Attributes
    ----------
    nics : ndarray of shape (n_ranks, n_nics)
        NICs of each rank, by their numbers in the machine.
    leaves : ndarray of shape (n,)
        Leaves that its nodes are plugged into.
    """

    def __init__(self, net: Interconnect, *, gpus: NDArray[np.int64], far_mask: Floats) -> None:
        self._net = net
        self._gpus = gpus
        self._mask = far_mask
        links, per_gpu = net.links, net.links.nics_per_gpu
        self.nics = gpus[:, None] * per_gpu + np.arange(per_gpu)
        node = np.repeat(links.gpu_node, per_gpu)
        is_near = np.isin(node, np.unique(links.gpu_node[gpus]))
        self.leaves = np.unique(links.nic_leaf[is_near])
        nominal = links.capacity_bytes_per_s
        nics_bytes_per_s = nominal[links.nic[0, self.nics]].sum(axis=1).max()
        leaf_bytes_per_s = nominal[links.leaf]
        self._uplink_frac = np.divide(
            nics_bytes_per_s,
            leaf_bytes_per_s,
            out=np.full(leaf_bytes_per_s.shape, np.inf),
            where=leaf_bytes_per_s > 0.0,
        )

    @property
    def uplinks(self) -> NDArray[np.int64]:
        """Links up from its leaves, then down to them, shape (2 n,)."""
        return np.asarray(self._net.links.leaf[:, self.leaves].reshape(-1))

    def state(
        self, *, n_peers: int, flows: Flows | None = None, others_bytes_per_s: Floats | float = 0.0
    ) -> LinkState:
        """Return the links at this instant.

        Exchanges of other replicas over the same leaf take their mean rate, but no more than
        half of what is there.

        Parameters
        ----------
        n_peers : int
            Ranks that each rank exchanges data with at the same time.
        flows : sequence of (TrafficClass, tuple of int), optional
            As for `rackmoe.engine.ports.Ports.collective_slowdown`.
        others_bytes_per_s : float or ndarray of shape (2, n_leaves)
            Mean rate of other replicas' exchanges on the uplinks. [B/s]

        Returns
        -------
        LinkState
            Infinite where a link that the group needs is dead; zero for uplinks that cannot
            be its bottleneck.
        """
        ports, links = self._net.ports, self._net.links
        far = [
            ports.nic_slowdown(way, gpus=self._gpus, n_peers=n_peers, flows=flows)
            for way in range(_WAYS)
        ]
        leaf = self._leaf()
        is_used = self._shares(leaf, self._mask).any(axis=2)
        n_nics = np.bincount(leaf.reshape(-1), minlength=self._uplink_frac.shape[1])
        below = n_nics / leaf.shape[1]
        n_below = max(int(n_nics.max()), 1)
        slow = np.stack(
            [
                ports.collective_slowdown(links.leaf[way], n_peers=n_peers * n_below, flows=flows)
                for way in range(_WAYS)
            ]
        )
        present = links.capacity_bytes_per_s[links.leaf] / slow
        left = np.maximum(present - others_bytes_per_s, _LEAST_LEFT_FRAC * present)
        with np.errstate(invalid="ignore", divide="ignore"):
            frac = self._uplink_frac * links.capacity_bytes_per_s[links.leaf] / left
        needed = np.where(is_used, frac, 0.0)
        return LinkState(
            far_out=far[0],
            far_in=far[1],
            leaf=leaf,
            # those that carry all that the NICs below can send change nothing
            uplink_frac=np.where(below * needed > 1.0 + _SLACK, needed, 0.0),
        )

    def uplink_bytes(self, out_bytes: Floats, *, in_bytes: Floats) -> Floats:
        """Return what the uplinks carry of bytes that ranks exchange over their NICs.

        Parameters
        ----------
        out_bytes, in_bytes : ndarray of shape (n_ranks,)
            What each rank sends and receives, of equal sums. [B]

        Returns
        -------
        ndarray of shape (2 n,)
            By link, in the order of `uplinks`; as much goes up as comes down. [B]
        """
        leaf = self._leaf()
        if not self._shares(leaf, self._mask).any():
            return np.zeros(2 * self.leaves.size)
        pairs = fitted_pairs(self._mask[None], out=out_bytes[None], into=in_bytes[None])[0]
        moved = (self._shares(leaf, pairs) * pairs.sum(axis=1)).sum(axis=2)
        return np.asarray(moved[:, self.leaves].reshape(-1))

    def serving(self) -> NDArray[np.int64]:
        """Return the NIC that serves each NIC of `nics`; itself where none is left."""
        found = self._net.ports.serving_nic[self.nics]
        return np.where(found < 0, self.nics, found)

    def _leaf(self) -> NDArray[np.int64]:
        return np.asarray(self._net.links.nic_leaf[self.serving()], np.int64)

    def _shares(self, leaf: NDArray[np.int64], pairs: Floats) -> Floats:
        """Return the part of what each rank sends that crosses each uplink."""
        ones = np.ones(len(pairs))
        frac = np.ones((_WAYS, self._uplink_frac.shape[1]))
        state = LinkState(far_out=ones, far_in=ones, leaf=leaf, uplink_frac=frac)
        return state.uplink_shares(pairs)
