"""What an exchange puts on the scale-up port and on the NICs of each rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LinkBusy", "LinkLoads"]

Floats = NDArray[np.float64]
_Sides = tuple[Floats, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkBusy:
    """How long exchanges keep the links of each rank busy.

    Parameters
    ----------
    near, far : tuple of two ndarray of shape (..., n_ranks)
        Scale-up port and NICs, out and in. [s]
    alone : tuple of two ndarray of shape (..., n_ranks)
        Time of ranks that use neither: passes over own tokens. [s]
    """

    near: _Sides
    far: _Sides
    alone: _Sides

    @property
    def rows(self) -> Floats:
        """All times as `rackmoe.network.link_ends.LinkTimes` has them, (..., 6, n_ranks). [s]."""
        kinds = (self.near, self.far)
        parts = [kind[side] for side in range(2) for kind in kinds]
        return np.ascontiguousarray(np.stack((*parts, *self.alone), axis=-2))

    def slowed(self, ports: _Sides, *, nics: _Sides) -> LinkBusy:
        """Return the times at other speeds.

        Parameters
        ----------
        ports, nics : tuple of two ndarray of shape (n_ranks,)
            Slowdown factors of scale-up ports and NICs, out and in.
        """
        return LinkBusy(
            near=(self.near[0] * ports[0], self.near[1] * ports[1]),
            far=(self.far[0] * nics[0], self.far[1] * nics[1]),
            alone=(self.alone[0] * ports[0], self.alone[1] * ports[1]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLoads:
    """Copies of a step over each kind of link, and which pairs send them.

    Parameters
    ----------
    near, far : tuple of two ndarray of shape (n_layers, n_ranks)
        Copies of a dispatch over scale-up ports and NICs, on the side of the tokens' owner
        and on that of the experts.
    near_mask, far_mask : ndarray of shape (n_ranks, n_ranks)
        Ones where a pair can use that kind of link; symmetric.
    near_frac : tuple of two float
        Time of a copy over a port over that over the NICs of a rank: dispatch, combine.
    """

    near: _Sides
    far: _Sides
    near_mask: Floats
    far_mask: Floats
    near_frac: tuple[float, float]

    def busy(
        self,
        layer: int | NDArray[np.int64],
        *,
        egress_s: Floats,
        ingress_s: Floats,
        is_combine: bool,
    ) -> LinkBusy:
        r"""Return how long each kind of link is busy in an exchange.

        Parameters
        ----------
        layer : int or ndarray of shape (n,)
            Which layer, or several; layers beyond the last one are like it.
        egress_s, ingress_s : ndarray of shape (n_ranks,) or (n, n_ranks)
            What the law of the kernel says of each rank. [s]
        is_combine : bool
            Whether copies go back to their owners.

        Returns
        -------
        LinkBusy
            The kind of link that takes a rank longer is busy for the time of the law.

        Notes
        -----
        With :math:`n` copies over the port, :math:`m` over the NICs, :math:`\rho` the time
        of the first over that of the second, and :math:`x` the calibrated time of the rank:

        .. math:: x_{near} = x\, \frac{\rho n}{\max(\rho n, m)}, \quad
                  x_{far} = x\, \frac{m}{\max(\rho n, m)}

        so that a healthy exchange whose ranks all wait for one kind of link takes exactly
        what was measured, start-up and SMs included.
        """
        frac = self.near_frac[is_combine]
        sides = []
        for side, time_s in enumerate((egress_s, ingress_s)):
            # what an owner sends at dispatch it gets back at combine
            whose = 1 - side if is_combine else side
            near = frac * _row(self.near[whose], layer)
            far = _row(self.far[whose], layer)
            most = np.maximum(near, far)
            per = np.divide(time_s, most, out=np.zeros(most.shape), where=most > 0.0)
            sides.append((near * per, far * per, np.where(most > 0.0, 0.0, time_s)))
        near_s, far_s, alone_s = zip(*sides, strict=True)
        return LinkBusy(near=near_s, far=far_s, alone=alone_s)

    def far_pairs(self, layer: int | NDArray[np.int64], *, is_combine: bool) -> Floats:
        """Return who sends how much to whom over NICs, from what each sends and receives.

        Parameters
        ----------
        layer : int or ndarray of shape (n,)
            Which layer, or several.
        is_combine : bool
            Whether copies go back to their owners.

        Returns
        -------
        ndarray of shape (..., n_ranks, n_ranks)
            Rows are proportional to what the receivers get in all; only their shape counts.
        """
        into = _row(self.far[0 if is_combine else 1], layer)
        return np.asarray(self.far_mask * into[..., None, :])


def _row(copies: Floats, layer: int | NDArray[np.int64]) -> Floats:
    return np.asarray(copies[np.minimum(layer, len(copies) - 1)], np.float64)
