"""The links between the scale-up domains of a group at an instant: NICs, leaves and spines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError

__all__ = ["LinkState"]

_TIGHT = 1.0 + 1e-9
"""Ranks that a leaf serves, over those that its uplinks carry, from which uplinks can bind."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """What is left of the links between domains, and where they are plugged in.

    Parameters
    ----------
    far_out, far_in : ndarray of shape (n_ranks,)
        Slowdown factors of the NICs of each rank, nominal over present speed.
    leaf : ndarray of shape (n_ranks, n_nics), int64
        Leaf of each NIC of a rank, or of the NIC that serves for one that failed.
    uplink_frac : ndarray of shape (2, n_leaves)
        Bandwidth of all NICs of a rank over that of all uplinks of a leaf together, to the
        spines (row 0) and from them (row 1): the time that a byte takes there over the
        time that it takes in a healthy NIC. All uplinks of a leaf count as one link, as
        bytes are spread evenly over the spines.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    """

    far_out: Floats
    far_in: Floats
    leaf: NDArray[np.int64]
    uplink_frac: Floats

    def __post_init__(self) -> None:
        n_ranks = self.far_out.size
        is_fitting = self.far_in.shape == (n_ranks,) and len(self.leaf) == n_ranks
        if not is_fitting or self.uplink_frac.ndim != 2 or len(self.uplink_frac) != 2:  # noqa: PLR2004  two ways
            raise ShapeError(
                f"links: far_out {self.far_out.shape}, far_in {self.far_in.shape}, leaf "
                f"{self.leaf.shape}, uplink_frac {self.uplink_frac.shape}; expected one value for "
                "each rank, and two for each leaf; give all for the same group"
            )

    @classmethod
    def free(cls, n_ranks: int) -> LinkState:
        """Return nominal NICs under uplinks that never bind.

        Parameters
        ----------
        n_ranks : int
            Ranks of the group.
        """
        return _free(n_ranks)

    @property
    def tight(self) -> NDArray[np.int64]:
        """Leaves whose uplinks can be the bottleneck.

        Where uplinks carry as much as all NICs of the group below them, the busiest of these
        NICs is never done before the uplinks are.
        """
        n_nics = self.leaf.shape[1]
        below = np.bincount(self.leaf.reshape(-1), minlength=self.uplink_frac.shape[1]) / n_nics
        return np.flatnonzero(below * self.uplink_frac.max(axis=0) > _TIGHT)

    def uplink_shares(self, pairs: Floats) -> Floats:
        """Return which part of what each rank sends over its NICs crosses each leaf's uplinks.

        NIC `k` of a rank sends to NIC `k` of another; the two are on one leaf or the bytes
        go up to a spine and down to the other leaf.

        Parameters
        ----------
        pairs : ndarray of shape (..., n_ranks, n_ranks)
            What each rank sends over its NICs to each other, in any unit.

        Returns
        -------
        ndarray of shape (..., 2, n_leaves, n_ranks)
            Up from and down to each leaf; zero for ranks that send nothing.
        """
        n_leaves, n_nics = self.uplink_frac.shape[1], self.leaf.shape[1]
        out = pairs.sum(axis=-1, keepdims=True)
        share = np.divide(pairs, out, out=np.zeros(pairs.shape), where=out > 0.0) / n_nics
        found = np.zeros((*pairs.shape[:-2], 2, n_leaves, len(self.leaf)))
        for at in self.leaf.T:
            crossing = share * (at[:, None] != at)
            found[..., 0, at, np.arange(at.size)] += crossing.sum(axis=-1)
            for leaf in np.unique(at):
                found[..., 1, leaf, :] += crossing[..., at == leaf].sum(axis=-1)
        return found


@lru_cache(maxsize=64)
def _free(n_ranks: int) -> LinkState:
    ones = np.ones(n_ranks)
    return LinkState(
        far_out=ones,
        far_in=ones,
        leaf=np.zeros((n_ranks, 1), np.int64),
        uplink_frac=np.zeros((2, 1)),
    )
