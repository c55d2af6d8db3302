r"""How start-up time, ports and processing of a collective add up to one duration.

Two laws serve all families. What a rank does at once (its port, its NIC, its SMs, its
pass over the own tokens) overlaps, and the slowest part dominates softly:

.. math:: x = (x_1^4 + x_2^4 + ...)^{1/4}

The start-up time :math:`\alpha` is the whole duration of an empty collective; of a long
one it is paid :math:`c` times, because the pipe fills while data already flows
(:math:`c < 1`) or must ramp up (:math:`c > 1`):

.. math:: t = \sqrt{\alpha^2 + 2 c \alpha x + x^2}

With :math:`c = 1` this is the latency-bandwidth model of [1]_; both forms need square
roots only, which keeps them cheap on arrays of layers x ranks. The forms are ours,
chosen because they leave half the error of :math:`\alpha + \max(x_i)` on measured rows.

References
----------
.. [1] R. W. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko
   CS-2," Parallel Computing, vol. 20, no. 3, pp. 389-398, 1994.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["overlapped_s", "ramped_s"]

Floats = NDArray[np.float64]


def overlapped_s(*parts_s: Floats | float) -> Floats:
    """Return how long parts take that run at the same time.

    Parameters
    ----------
    *parts_s : float or ndarray
        Time of each part alone; shapes broadcast. [s]

    Returns
    -------
    ndarray
        At least the longest part. [s]

    Examples
    --------
    >>> float(overlapped_s(3e-6, 0.0))
    3e-06
    """
    if len(parts_s) == 1:
        return np.asarray(parts_s[0], np.float64)
    squares = [np.square(part) for part in parts_s]
    total: Floats = np.sqrt(np.sqrt(sum(square * square for square in squares)))
    return total


def ramped_s(busy_s: Floats | float, *, latency_s: Floats | float, ramp: Floats | float) -> Floats:
    """Return the duration of a collective, start-up included.

    Parameters
    ----------
    busy_s : float or ndarray
        What the collective takes without start-up. [s]
    latency_s : float or ndarray
        Start-up time. [s]
    ramp : float or ndarray
        How much of the start-up time a long transfer still pays.

    Returns
    -------
    ndarray
        At least the start-up time. [s]

    Examples
    --------
    >>> float(ramped_s(30e-6, latency_s=10e-6, ramp=1.0))
    4e-05
    """
    start = np.asarray(latency_s, np.float64)
    total: Floats = np.sqrt(start * start + busy_s * (2 * ramp * start + busy_s))
    return total
