"""How long requests wait for one of several servers, without simulating them."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["erlang_c_frac", "mean_wait_s", "sampled_waits_s"]


def erlang_c_frac(n_servers: int, *, load: float) -> float:
    r"""Return the part of the arrivals that finds all servers of an M/M/k queue busy.

    Parameters
    ----------
    n_servers : int
        Servers k.
    load : float
        Offered load a, in servers; below `n_servers`.

    Returns
    -------
    float
        0 to 1.

    Notes
    -----
    From the blocking :math:`B_j = a B_{j-1} / (j + a B_{j-1})`, :math:`B_0 = 1` [1]_:

    .. math:: C = B_k / (1 - (a / k)(1 - B_k))

    References
    ----------
    .. [1] R. B. Cooper, "Introduction to queueing theory," 2nd ed., North Holland, 1981, ch. 3.

    Examples
    --------
    >>> erlang_c_frac(1, load=0.5), round(erlang_c_frac(2, load=1.0), 6)
    (0.5, 0.333333)
    """
    blocked = 1.0
    for server in range(1, n_servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return blocked / (1.0 - load / n_servers * (1.0 - blocked))


def mean_wait_s(
    n_servers: int,
    *,
    rate_requests_per_s: float,
    service_s: float,
    arrival_cv: float,
    service_cv: float,
) -> float:
    r"""Return the mean wait in a GI/G/k queue.

    Parameters
    ----------
    n_servers : int
        Servers k.
    rate_requests_per_s : float
        Arrival rate. [1/s]
    service_s : float
        Mean service time. [s]
    arrival_cv, service_cv : float
        Coefficients of variation of the gaps between arrivals and of the service.

    Returns
    -------
    float
        Infinite where the servers cannot keep up. [s]

    Notes
    -----
    The approximation of Allen and Cunneen [1]_, exact for M/M/k and M/G/1:

    .. math:: W = \frac{C(k, a)\, s}{k - a} \cdot \frac{c_a^2 + c_s^2}{2}, \qquad a = \lambda s

    References
    ----------
    .. [1] A. O. Allen, "Probability, statistics, and queueing theory," 2nd ed., Academic
       Press, 1990, sec. 5.3.

    Examples
    --------
    M/D/1 at half its capacity waits half a service on average.

    >>> mean_wait_s(1, rate_requests_per_s=0.5, service_s=1.0, arrival_cv=1.0, service_cv=0.0)
    0.5
    """
    load = rate_requests_per_s * service_s
    if load >= n_servers:
        return math.inf
    spread = (arrival_cv**2 + service_cv**2) / 2
    return erlang_c_frac(n_servers, load=load) * service_s / (n_servers - load) * spread


def sampled_waits_s(
    n_servers: int, *, load: float, mean_s: float, n_samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return waits of independent requests.

    Parameters
    ----------
    n_servers : int
        Servers.
    load : float
        Offered load, in servers.
    mean_s : float
        Mean wait of all requests, finite. [s]
    n_samples : int
        How many.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of shape (n_samples,)
        Exponential for the part of the requests that waits at all, as in M/M/k and, under
        heavy traffic, in GI/G/k [1]_. [s]

    References
    ----------
    .. [1] J. F. C. Kingman, "The single server queue in heavy traffic," Mathematical
       Proceedings of the Cambridge Philosophical Society, vol. 57, pp. 902-904, 1961.
    """
    waits_frac = erlang_c_frac(n_servers, load=load)
    waits = rng.random(n_samples) < waits_frac
    return np.asarray(waits * rng.exponential(mean_s / max(waits_frac, 1e-300), n_samples))
