"""How much slower than nominal each rank computes, sends and receives, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.errors import ShapeError
from rackmoe.network.link_state import LinkState

__all__ = ["Slowdown", "finish_all", "finish_s", "served_s", "served_until_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowdown:
    """Piecewise constant slowdown factors of the ranks of one group during one step.

    A factor is nominal over actual rate: 1 is nominal, 18/17 a port that lost
    one of 18 links, 2 a port of which foreign traffic takes half.

    Parameters
    ----------
    change_s : ndarray of shape (n_changes,)
        Times of the changes, ascending, on the clock of the step. [s]
    compute, egress, ingress : ndarray of shape (n_changes + 1, n_ranks)
        Factors before the first change (row 0) and after each change; `egress` and
        `ingress` of the ports that exchanges inside a scale-up domain use.
    links : tuple of LinkState
        The links between domains, one for each row; empty where they are nominal, or
        where the group is in one domain.
    """

    change_s: NDArray[np.float64]
    compute: NDArray[np.float64]
    egress: NDArray[np.float64]
    ingress: NDArray[np.float64]
    links: tuple[LinkState, ...] = ()

    @classmethod
    def none(cls, n_ranks: int) -> Slowdown:
        """Return nominal rates for all ranks, without a change."""
        return _nominal(n_ranks)

    @classmethod
    def steady(
        cls,
        n_ranks: int,
        *,
        compute: NDArray[np.float64] | float = 1.0,
        egress: NDArray[np.float64] | float = 1.0,
        ingress: NDArray[np.float64] | float = 1.0,
        links: LinkState | None = None,
    ) -> Slowdown:
        """Return constant factors, given per rank or as one number for all."""
        return cls(
            change_s=np.empty(0),
            compute=_row(compute, n_ranks=n_ranks, name="compute"),
            egress=_row(egress, n_ranks=n_ranks, name="egress"),
            ingress=_row(ingress, n_ranks=n_ranks, name="ingress"),
            links=() if links is None else (links,),
        )

    def link_state(self, row: int) -> LinkState:
        """Return the links between domains before the first change, or after one.

        Parameters
        ----------
        row : int
            0, or the number of the change.
        """
        return self.links[row] if self.links else LinkState.free(self.compute.shape[1])

    def steady_at(self, at_s: float) -> tuple[Slowdown, float]:
        """Return the constant factors of an instant, and until when they hold.

        Parameters
        ----------
        at_s : float
            Time on the clock of the step. [s]

        Returns
        -------
        tuple of (Slowdown, float)
            The time of the next change; infinite without any. [s]
        """
        row = int(np.searchsorted(self.change_s, at_s, side="right"))
        until_s = float(self.change_s[row]) if row < self.change_s.size else np.inf
        here = slice(row, row + 1)
        found = Slowdown(
            change_s=self.change_s[:0],
            compute=self.compute[here],
            egress=self.egress[here],
            ingress=self.ingress[here],
            links=self.links[here],
        )
        return found, until_s

    def changed(
        self,
        at_s: float,
        *,
        compute: NDArray[np.float64] | float | None = None,
        egress: NDArray[np.float64] | float | None = None,
        ingress: NDArray[np.float64] | float | None = None,
        links: LinkState | None = None,
    ) -> Slowdown:
        """Return the same history with other factors from `at_s` on.

        Parameters
        ----------
        at_s : float
            Time of the change on the clock of the step, not before the last one. [s]
        compute, egress, ingress : ndarray of shape (n_ranks,) or float, optional
            New factors; what is not given stays as it was.
        links : LinkState, optional
            New links between domains.
        """
        if self.change_s.size and at_s < self.change_s[-1]:
            msg = (
                f"slowdown: change at {at_s} s; expected a time at or after the last change at "
                f"{self.change_s[-1]} s; give the changes in order"
            )
            raise ShapeError(msg)
        n_rows = self.change_s.size + 1
        states = self.links
        if states or links is not None:
            before = [self.link_state(row) for row in range(n_rows)]
            states = (*before, before[-1] if links is None else links)
        return Slowdown(
            change_s=np.append(self.change_s, at_s),
            compute=self._appended(self.compute, compute, "compute"),
            egress=self._appended(self.egress, egress, "egress"),
            ingress=self._appended(self.ingress, ingress, "ingress"),
            links=states,
        )

    def then(self, at_s: float, *, after: Slowdown) -> Slowdown:
        """Return the same history with what holds at the end of another from `at_s` on.

        Parameters
        ----------
        at_s : float
            Time of the change, as for `changed`. [s]
        after : Slowdown
            Its last row counts.
        """
        return self.changed(
            at_s,
            compute=after.compute[-1],
            egress=after.egress[-1],
            ingress=after.ingress[-1],
            links=after.link_state(-1) if self.links or after.links else None,
        )

    def since(self, at_s: float) -> Slowdown:
        """Return the history without the changes at or before `at_s`.

        Parameters
        ----------
        at_s : float
            Time before which no work is computed any more. [s]
        """
        if not self.change_s.size or at_s < self.change_s[0]:
            return self
        first = int(np.searchsorted(self.change_s, at_s, side="right"))
        return Slowdown(
            change_s=self.change_s[first:],
            compute=self.compute[first:],
            egress=self.egress[first:],
            ingress=self.ingress[first:],
            links=self.links[first:],
        )

    @staticmethod
    def _appended(
        rows: NDArray[np.float64], new: NDArray[np.float64] | float | None, name: str
    ) -> NDArray[np.float64]:
        row = rows[-1:] if new is None else _row(new, n_ranks=rows.shape[1], name=name)
        return np.concatenate((rows, row))


@lru_cache(maxsize=64)
def _nominal(n_ranks: int) -> Slowdown:
    # every step of every replica asks for it
    ones = np.ones((1, n_ranks))
    return Slowdown(change_s=np.empty(0), compute=ones, egress=ones, ingress=ones)


def _row(factor: NDArray[np.float64] | float, *, n_ranks: int, name: str) -> NDArray[np.float64]:
    row = np.empty((1, n_ranks))
    row[0] = factor
    if not (np.isfinite(row).all() and (row > 0.0).all()):
        msg = (
            f"slowdown.{name}: {float(row.min())} to {float(row.max())}; expected finite positive "
            "factors; take a rank without any capacity out of the group"
        )
        raise ShapeError(msg)
    return row


@njit(cache=True)
def finish_s(
    start_s: float,
    work_s: float,
    change_s: NDArray[np.float64],
    factor: NDArray[np.float64],
    rank: int,
) -> float:
    """Return when work of a nominal duration is done at piecewise constant speed.

    Parameters
    ----------
    start_s : float
        When the work begins. [s]
    work_s : float
        Its duration at nominal speed. [s]
    change_s : ndarray of shape (n_changes,)
        Times of the changes. [s]
    factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors between the changes.
    rank : int
        Column of `factor`.

    Returns
    -------
    float
        Time of completion. [s]
    """
    for k in range(change_s.size):
        if start_s < change_s[k]:
            room_s = (change_s[k] - start_s) / factor[k, rank]
            if work_s <= room_s:
                return float(start_s + work_s * factor[k, rank])
            work_s -= room_s
            start_s = change_s[k]
    return float(start_s + work_s * factor[change_s.size, rank])


@njit(cache=True)
def finish_all(
    start_s: NDArray[np.float64],
    work_s: NDArray[np.float64],
    change_s: NDArray[np.float64],
    factor: NDArray[np.float64],
    end_s: NDArray[np.float64],
) -> None:
    """Compute `finish_s` for all ranks into `end_s`, which may be `start_s` itself.

    Parameters
    ----------
    start_s, work_s, end_s : ndarray of shape (n_ranks,)
        Begin, nominal duration and result. [s]
    change_s : ndarray of shape (n_changes,)
        Times of the changes. [s]
    factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors between the changes.
    """
    if change_s.size == 0:
        for r in range(start_s.size):
            end_s[r] = start_s[r] + work_s[r] * factor[0, r]
    else:
        for r in range(start_s.size):
            end_s[r] = finish_s(start_s[r], work_s[r], change_s, factor, r)


@njit(cache=True)
def served_s(
    at_s: float, change_s: NDArray[np.float64], factor: NDArray[np.float64], rank: int
) -> float:
    """Return the nominal work that a resource can serve from time 0 to `at_s`.

    It is negative before time 0.

    Parameters
    ----------
    at_s : float
        Time. [s]
    change_s : ndarray of shape (n_changes,)
        Times of the changes. [s]
    factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors between the changes.
    rank : int
        Column of `factor`.

    Returns
    -------
    float
        Integral of the speed over time. [s]
    """
    total_s = 0.0
    from_s = 0.0
    for k in range(change_s.size):
        if at_s <= change_s[k]:
            return float(total_s + (at_s - from_s) / factor[k, rank])
        if from_s < change_s[k]:
            total_s += (change_s[k] - from_s) / factor[k, rank]
            from_s = change_s[k]
    return float(total_s + (at_s - from_s) / factor[change_s.size, rank])


@njit(cache=True)
def served_until_s(
    work_s: float, change_s: NDArray[np.float64], factor: NDArray[np.float64], rank: int
) -> float:
    """Return the time at which `served_s` reaches `work_s`, its inverse.

    Parameters
    ----------
    work_s : float
        Nominal work. [s]
    change_s : ndarray of shape (n_changes,)
        Times of the changes. [s]
    factor : ndarray of shape (n_changes + 1, n_ranks)
        Slowdown factors between the changes.
    rank : int
        Column of `factor`.

    Returns
    -------
    float
        Time on the clock of the step. [s]
    """
    if work_s < 0.0:
        return float(work_s * factor[0, rank])
    return float(finish_s(0.0, work_s, change_s, factor, rank))
