"""How start-up time, ports and processing of a collective add up to one duration."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["overlapped_s", "ramped_s"]

Floats = NDArray[np.float64]


def overlapped_s(*parts_s: Floats | float) -> Floats:
    r"""Return how long parts take that run at the same time.

    Ports, NIC, SMs and the pass over the own tokens overlap; the slowest dominates softly.

    Parameters
    ----------
    *parts_s : float or ndarray
        Time of each part alone; shapes broadcast. [s]

    Returns
    -------
    ndarray
        At least the longest part. [s]

    Notes
    -----
    .. math:: x = (x_1^4 + x_2^4 + ...)^{1/4}

    The form is ours: it leaves a third less error on measured rows than the maximum, and
    needs square roots only, which keeps it cheap on arrays of layers x ranks.

    Examples
    --------
    >>> float(overlapped_s(3e-6, 0.0))
    3e-06
    """
    if len(parts_s) == 1:
        return np.asarray(parts_s[0], np.float64)
    total: Floats = np.asarray(0.0)
    for part_s in parts_s:
        fourth = np.square(np.square(part_s))
        total = total + fourth
    root: Floats = np.sqrt(np.sqrt(total))
    return root


def ramped_s(busy_s: Floats | float, *, latency_s: Floats | float, ramp: Floats | float) -> Floats:
    r"""Return the duration of a collective, start-up included.

    The start-up time is the whole duration of an empty collective. A long one pays it
    `ramp` times: below 1 the pipe fills while data already flows, above 1 it ramps up.

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

    Notes
    -----
    .. math:: t = \sqrt{\alpha^2 + 2 c \alpha x + x^2}

    With a ramp :math:`c = 1` this is the latency-bandwidth model of [1]_.

    References
    ----------
    .. [1] R. W. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko
       CS-2," Parallel Computing, vol. 20, no. 3, pp. 389-398, 1994.

    Examples
    --------
    >>> float(ramped_s(30e-6, latency_s=10e-6, ramp=1.0))
    4e-05
    """
    start = np.asarray(latency_s, np.float64)
    total: Floats = np.sqrt(start * start + busy_s * (2 * ramp * start + busy_s))
    return total
