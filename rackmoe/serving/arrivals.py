"""When requests arrive: closed loop, Poisson, gamma and Weibull bursts, all at once."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.serving.renewal import weibull_shape

__all__ = [
    "batch_arrivals_s",
    "closed_loop_arrivals_s",
    "gamma_arrivals_s",
    "poisson_arrivals_s",
    "weibull_arrivals_s",
]

FloatArray = NDArray[np.float64]


def closed_loop_arrivals_s(n_requests: int) -> FloatArray:
    """Return arrivals that only the run decides.

    Parameters
    ----------
    n_requests : int
        Requests to send, one whenever another one is done.

    Returns
    -------
    ndarray of shape (n_requests,)
        NaN: sent as soon as the number of users allows it. [s]
    """
    return np.full(_checked_count(n_requests), np.nan)


def batch_arrivals_s(n_requests: int) -> FloatArray:
    """Return arrivals that all happen at once.

    Parameters
    ----------
    n_requests : int
        Requests to send.

    Returns
    -------
    ndarray of shape (n_requests,)
        Zeros. [s]
    """
    return np.zeros(_checked_count(n_requests))


def poisson_arrivals_s(
    rng: np.random.Generator,
    *,
    rate_requests_per_s: float,
    n_requests: int | None = None,
    duration_s: float | None = None,
) -> FloatArray:
    """Return the arrivals of a Poisson process.

    Parameters
    ----------
    rng : Generator
        The stream named ``arrivals``.
    rate_requests_per_s : float
        Mean rate. [1/s]
    n_requests : int, optional
        Stop after this many requests.
    duration_s : float, optional
        Stop before this time. [s]

    Returns
    -------
    ndarray of shape (n_arrivals,)
        Arrival times, ascending; the first one is one gap after 0. [s]

    Raises
    ------
    ConfigError
        If the rate is not positive or neither limit is given.
    """
    return gamma_arrivals_s(
        rng,
        rate_requests_per_s=rate_requests_per_s,
        cv=1.0,
        n_requests=n_requests,
        duration_s=duration_s,
    )


def gamma_arrivals_s(
    rng: np.random.Generator,
    *,
    rate_requests_per_s: float,
    cv: float,
    n_requests: int | None = None,
    duration_s: float | None = None,
) -> FloatArray:
    r"""Return the arrivals of a renewal process with gamma-distributed gaps.

    A coefficient of variation above 1 gives bursts, 1 is Poisson, and 0 a
    metronome.

    Parameters
    ----------
    rng : Generator
        The stream named ``arrivals``.
    rate_requests_per_s : float
        Mean rate. [1/s]
    cv : float
        Coefficient of variation of the gaps, standard deviation / mean.
    n_requests : int, optional
        Stop after this many requests.
    duration_s : float, optional
        Stop before this time. [s]

    Returns
    -------
    ndarray of shape (n_arrivals,)
        Arrival times, ascending; the first one is one gap after 0. [s]

    Raises
    ------
    ConfigError
        If the rate is not positive, `cv` is negative or neither limit is given.

    Notes
    -----
    A gamma variable of shape :math:`1/c^2` and scale :math:`c^2/\lambda` has
    mean :math:`1/\lambda` and coefficient of variation :math:`c`.
    """
    mean_gap_s = 1 / _checked_rate(rate_requests_per_s)
    if not 0 <= cv < math.inf:
        raise ConfigError(f"arrivals.cv: {cv}; expected 0 or more; write for example 2")

    def draw_gaps_s(n_gaps: int) -> FloatArray:
        if cv > 0:
            return rng.standard_gamma(1 / cv**2, size=n_gaps) * (cv**2 * mean_gap_s)
        return np.full(n_gaps, mean_gap_s)

    return _renewal_arrivals_s(
        draw_gaps_s, mean_gap_s=mean_gap_s, n_requests=n_requests, duration_s=duration_s
    )


def weibull_arrivals_s(
    rng: np.random.Generator,
    *,
    rate_requests_per_s: float,
    cv: float,
    n_requests: int | None = None,
    duration_s: float | None = None,
) -> FloatArray:
    r"""Return the arrivals of a renewal process with Weibull-distributed gaps.

    Of equal coefficient of variation above 1, Weibull gaps have more very long
    ones than gamma gaps and fewer very short ones.

    Parameters
    ----------
    rng : Generator
        The stream named ``arrivals``.
    rate_requests_per_s : float
        Mean rate. [1/s]
    cv : float
        Coefficient of variation of the gaps, standard deviation / mean.
    n_requests : int, optional
        Stop after this many requests.
    duration_s : float, optional
        Stop before this time. [s]

    Returns
    -------
    ndarray of shape (n_arrivals,)
        Arrival times, ascending; the first one is one gap after 0. [s]

    Raises
    ------
    ConfigError
        If the rate is not positive, no Weibull distribution has the `cv`, or
        neither limit is given.

    Notes
    -----
    A Weibull variable of shape :math:`k` and scale
    :math:`1 / (\lambda \Gamma(1 + 1/k))` has mean :math:`1/\lambda`.
    """
    mean_gap_s = 1 / _checked_rate(rate_requests_per_s)
    shape = weibull_shape(cv)
    scale_s = mean_gap_s / math.gamma(1 + 1 / shape)

    def draw_gaps_s(n_gaps: int) -> FloatArray:
        return rng.weibull(shape, size=n_gaps) * scale_s

    return _renewal_arrivals_s(
        draw_gaps_s, mean_gap_s=mean_gap_s, n_requests=n_requests, duration_s=duration_s
    )


def _renewal_arrivals_s(
    draw_gaps_s: Callable[[int], FloatArray],
    *,
    mean_gap_s: float,
    n_requests: int | None,
    duration_s: float | None,
) -> FloatArray:
    if n_requests is not None:
        arrival_s = np.cumsum(draw_gaps_s(_checked_count(n_requests)))
        return arrival_s if duration_s is None else arrival_s[arrival_s < duration_s]
    if duration_s is None or not 0 < duration_s < math.inf:
        raise ConfigError(
            f"workload.requests: missing, and workload.duration: {duration_s};"
            " expected a number of requests or a duration; write for example 'requests: 1000'"
        )
    chunk = max(16, math.ceil(duration_s / mean_gap_s))
    chunks = [np.cumsum(draw_gaps_s(chunk))]
    while chunks[-1][-1] < duration_s:
        chunks.append(chunks[-1][-1] + np.cumsum(draw_gaps_s(chunk)))
    arrival_s = np.concatenate(chunks)
    return arrival_s[arrival_s < duration_s]


def _checked_count(n_requests: int) -> int:
    if n_requests < 0:
        raise ConfigError(f"workload.requests: {n_requests}; expected 0 or more requests")
    return n_requests


def _checked_rate(rate_requests_per_s: float) -> float:
    if not 0 < rate_requests_per_s < math.inf:
        raise ConfigError(
            f"arrivals.rate: {rate_requests_per_s}; expected more than 0 requests per second;"
            " write for example '20 /s'"
        )
    return rate_requests_per_s
