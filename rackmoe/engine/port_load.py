"""How busy each link was: bytes in windows of time, at a bounded cost."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.engine.clock import PICOSECONDS_PER_S

__all__ = ["PortLoad", "spread_bytes", "spread_bytes_plain"]

_N_WINDOWS = 512
_FIRST_WINDOW_PS = int(PICOSECONDS_PER_S) // 1000
_P99 = 99.0


@njit(cache=True)
def spread_bytes(
    windows_bytes: NDArray[np.float64],
    links: NDArray[np.int64],
    n_bytes: NDArray[np.float64],
    start_ps: int,
    end_ps: int,
    width_ps: int,
) -> None:
    """Add bytes that move at a steady rate to the windows of their interval.

    Parameters
    ----------
    windows_bytes : ndarray of shape (n_windows, n_links)
        Added to. [B]
    links : ndarray of shape (n,)
        Different links.
    n_bytes : ndarray of shape (n,)
        What each carries. [B]
    start_ps, end_ps, width_ps : int
        The interval, and the length of a window. [ps]
    """
    for window in range(start_ps // width_ps, (end_ps - 1) // width_ps + 1):
        first = max(start_ps, window * width_ps)
        last = min(end_ps, (window + 1) * width_ps)
        share_frac = (last - first) / (end_ps - start_ps)
        for i in range(links.size):
            windows_bytes[window, links[i]] += share_frac * n_bytes[i]


def spread_bytes_plain(
    windows_bytes: NDArray[np.float64],
    links: NDArray[np.int64],
    n_bytes: NDArray[np.float64],
    start_ps: int,
    end_ps: int,
    width_ps: int,
) -> None:
    """Do what `spread_bytes` does, in plain NumPy.

    Parameters
    ----------
    windows_bytes, links, n_bytes, start_ps, end_ps, width_ps : ndarray and int
        As for the compiled one. [B] and [ps]
    """
    first, last = start_ps // width_ps, (end_ps - 1) // width_ps
    edges = np.arange(first, last + 2) * width_ps
    edges[0], edges[-1] = start_ps, end_ps
    share_frac = np.diff(edges) / (end_ps - start_ps)
    windows_bytes[first : last + 1, links] += share_frac[:, None] * n_bytes


class PortLoad:
    """Bytes that links carry, by window; windows double in length when they run out.

    Parameters
    ----------
    n_links : int
        Number of links.

    Attributes
    ----------
    width_ps : int
        Length of a window: 1 ms at first, between 1/512 and 1/256 of a long run. [ps]
    """

    def __init__(self, n_links: int) -> None:
        self.width_ps = _FIRST_WINDOW_PS
        self._bytes = np.zeros((_N_WINDOWS, n_links))

    def add(
        self,
        links: NDArray[np.int64],
        *,
        n_bytes: NDArray[np.float64],
        start_ps: int,
        end_ps: int,
    ) -> None:
        """Count bytes that moved at a steady rate.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Different links.
        n_bytes : ndarray of shape (n,)
            What each carried. [B]
        start_ps, end_ps : int
            The interval. [ps]
        """
        end_ps = max(end_ps, start_ps + 1)
        while end_ps > _N_WINDOWS * self.width_ps:
            self._merge()
        spread_bytes(self._bytes, links, n_bytes, start_ps, end_ps, self.width_ps)

    def rates_bytes_per_s(self, end_ps: int) -> NDArray[np.float64]:
        """Return the mean rate of each link in each window until the end of a run.

        Parameters
        ----------
        end_ps : int
            End of the run. [ps]

        Returns
        -------
        ndarray of shape (n_windows, n_links)
            Rates; the last window may be a short one. [B/s]
        """
        width = self.width_ps
        n_windows = max(1, min(_N_WINDOWS, -(-end_ps // width)))
        lengths_ps = np.full(n_windows, width)
        lengths_ps[-1] = max(end_ps - (n_windows - 1) * width, 1)
        return np.asarray(self._bytes[:n_windows] * (PICOSECONDS_PER_S / lengths_ps[:, None]))

    def p99_bytes_per_s(self, end_ps: int) -> NDArray[np.float64]:
        """Return the rate that each link stays below for 99 % of the windows.

        Parameters
        ----------
        end_ps : int
            End of the run. [ps]

        Returns
        -------
        ndarray of shape (n_links,)
            99th percentile over the windows. [B/s]
        """
        return np.asarray(np.percentile(self.rates_bytes_per_s(end_ps), _P99, axis=0))

    def _merge(self) -> None:
        half = _N_WINDOWS // 2
        self._bytes[:half] = self._bytes[0::2] + self._bytes[1::2]
        self._bytes[half:] = 0.0
        self.width_ps *= 2
