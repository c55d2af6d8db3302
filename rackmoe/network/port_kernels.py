"""Compiled kernel of the port times of all layers and ranks, and its NumPy twin."""

from math import sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.startup import overlapped_s, ramped_s

__all__ = ["NO_COPIES", "NO_TOKENS", "added_s", "added_s_plain"]

Floats = NDArray[np.float64]

NO_COPIES = np.empty((0, 0))
"""Stands for a kind of port that is not used."""
NO_TOKENS = np.empty(0)
"""Stands for no pass over the own tokens."""


@njit(cache=True)
def _add_fourth_powers(copies: Floats, copy_s: float, total: Floats) -> None:
    for r in range(total.size):
        square = copies[r] * copy_s
        square = square * square
        total[r] += square * square


@njit(cache=True)
def added_s(
    token_s: Floats,
    port: Floats,
    port_copy_s: float,
    nic: Floats,
    nic_copy_s: float,
    latency_s: float,
    ramp: float,
) -> Floats:
    """Return what overlapping parts of an exchange add to its start-up time.

    Parameters
    ----------
    token_s : ndarray of shape (n_ranks,) or (0,)
        Time of the pass over the own tokens. [s]
    port, nic : ndarray of shape (n_layers, n_ranks) or (0, 0)
        Copies over each kind of port; at least one of them is used.
    port_copy_s, nic_copy_s : float
        Time of one copy. [s]
    latency_s : float
        Start-up time. [s]
    ramp : float
        How much of the start-up time a long transfer still pays.

    Returns
    -------
    ndarray of shape (n_layers, n_ranks)
        As `rackmoe.network.startup` joins the parts. [s]
    """
    shape = port.shape if port.size else nic.shape
    out = np.empty(shape)
    fourth = np.zeros(shape[1])
    total = np.empty(shape[1])
    if token_s.size:
        _add_fourth_powers(token_s, 1.0, fourth)
    n_parts = (token_s.size > 0) + (port.size > 0) + (nic.size > 0)
    start, slope = latency_s * latency_s, 2 * ramp * latency_s
    for layer in range(shape[0]):
        total[:] = fourth
        if n_parts == 1 and port.size:
            total[:] = port[layer] * port_copy_s
        elif n_parts == 1:
            total[:] = nic[layer] * nic_copy_s
        else:
            if port.size:
                _add_fourth_powers(port[layer], port_copy_s, total)
            if nic.size:
                _add_fourth_powers(nic[layer], nic_copy_s, total)
            for r in range(total.size):
                total[r] = sqrt(sqrt(total[r]))
        for r in range(total.size):
            out[layer, r] = sqrt(start + total[r] * (slope + total[r])) - latency_s
    return out


def added_s_plain(
    token_s: Floats,
    port: Floats,
    port_copy_s: Floats | float,
    nic: Floats,
    nic_copy_s: float,
    latency_s: float,
    ramp: float,
) -> Floats:
    """Return what `added_s` returns, in plain NumPy; time per copy may vary by rank.

    Parameters
    ----------
    token_s, port, port_copy_s, nic, nic_copy_s, latency_s, ramp : ndarray and float
        As for the compiled one; `port_copy_s` may be one time for each rank. [s]

    Returns
    -------
    ndarray of shape (n_layers, n_ranks)
        Durations. [s]
    """
    parts = [token_s] if token_s.size else []
    if port.size:
        parts.append(port * port_copy_s)
    if nic.size:
        parts.append(nic * nic_copy_s)
    total_s = ramped_s(overlapped_s(*parts), latency_s=latency_s, ramp=ramp)
    added: Floats = total_s - latency_s
    return added
