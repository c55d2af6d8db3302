"""When requests arrive at a rate that changes: ramps, and traffic that comes and goes."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError

__all__ = ["OnOffRate", "RateProfile", "modulated_arrivals_s", "ramp_profile"]

FloatArray = NDArray[np.float64]

_SPARE_DEVIATIONS = 4.0
_SPARE = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RateProfile:
    """A rate that is linear between instants, and may jump at them.

    Parameters
    ----------
    start_s : ndarray of shape (n_pieces,)
        Where each piece begins, ascending from 0; the last one never ends. [s]
    rate_requests_per_s : ndarray of shape (n_pieces,)
        Rate at the beginning of each piece. [1/s]
    slope : ndarray of shape (n_pieces,)
        Change of the rate; 0 in the last piece. [1/s2]
    """

    start_s: FloatArray
    rate_requests_per_s: FloatArray
    slope: FloatArray

    def expected_before(self) -> FloatArray:
        """Return the arrivals expected before each piece, shape (n_pieces,)."""
        length_s = np.diff(self.start_s)
        mean = self.rate_requests_per_s[:-1] + self.slope[:-1] * length_s / 2
        return np.concatenate(([0.0], np.cumsum(mean * length_s)))

    def expected_until(self, time_s: float) -> float:
        """Return the arrivals expected before a time.

        Parameters
        ----------
        time_s : float
            Time. [s]

        Returns
        -------
        float
            Requests.
        """
        piece = int(np.searchsorted(self.start_s, time_s, side="right")) - 1
        into_s = time_s - float(self.start_s[piece])
        rate = float(self.rate_requests_per_s[piece] + self.slope[piece] * into_s / 2)
        return float(self.expected_before()[piece]) + rate * into_s

    def instants_s(self, expected: FloatArray) -> FloatArray:
        r"""Return when so many arrivals are expected.

        Parameters
        ----------
        expected : ndarray of shape (n,)
            Ascending numbers of expected arrivals.

        Returns
        -------
        ndarray of shape (n,)
            Times; infinite where the rate ends before. [s]

        Notes
        -----
        Within a piece, :math:`r t + s t^2 / 2 = y` has the root
        :math:`t = 2 y / (r + \sqrt{r^2 + 2 s y})`, which also holds for :math:`s = 0`.
        """
        before = self.expected_before()
        piece = np.searchsorted(before, expected, side="right") - 1
        rest = expected - before[piece]
        rate, slope = self.rate_requests_per_s[piece], self.slope[piece]
        root = np.sqrt(np.maximum(rate**2 + 2 * slope * rest, 0))
        into_s = np.full(rest.shape, np.inf)
        np.divide(2 * rest, rate + root, out=into_s, where=rate + root > 0)
        times: FloatArray = self.start_s[piece] + into_s
        return times


def ramp_profile(at_s: FloatArray, *, rate_requests_per_s: FloatArray) -> RateProfile:
    """Return a rate that is linear between points and constant after the last.

    Parameters
    ----------
    at_s : ndarray of shape (n_points,)
        Times, the first one 0, ascending; of two equal ones the rate jumps. [s]
    rate_requests_per_s : ndarray of shape (n_points,)
        Rates at these times. [1/s]

    Returns
    -------
    RateProfile
        The rate.

    Raises
    ------
    ConfigError
        If the points do not begin at 0, go back, or are nowhere above 0.
    """
    if not at_s.size or at_s[0] != 0 or (np.diff(at_s) < 0).any():
        raise ConfigError(
            f"arrivals.ramp: times {at_s.tolist()}; expected ascending ones from 0 s;"
            " write for example [{at: 0 s, rate: 1 /s}, {at: 60 s, rate: 10 /s}]"
        )
    if not (rate_requests_per_s > 0).any():
        raise ConfigError(
            "arrivals.ramp: no rate above 0; expected one; write for example"
            " {at: 60 s, rate: 10 /s}"
        )
    length_s = np.diff(at_s)
    slope = np.zeros(at_s.size)
    np.divide(np.diff(rate_requests_per_s), length_s, out=slope[:-1], where=length_s > 0)
    return RateProfile(start_s=at_s, rate_requests_per_s=rate_requests_per_s, slope=slope)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnOffRate:
    """Traffic that comes and goes: an interrupted Poisson process.

    Parameters
    ----------
    on_rate_requests_per_s, off_rate_requests_per_s : float
        Rates while on, and while off. [1/s]
    on_s, off_s : float
        Mean length of either phase. [s]
    is_periodic : bool, optional
        Whether phases have exactly these lengths instead of exponential ones.
    """

    on_rate_requests_per_s: float
    off_rate_requests_per_s: float
    on_s: float
    off_s: float
    is_periodic: bool = False

    def __post_init__(self) -> None:
        rates = (self.on_rate_requests_per_s, self.off_rate_requests_per_s)
        if not (min(rates) >= 0 and 0 < max(rates) < math.inf):
            raise ConfigError(
                f"arrivals.on_off: rates {rates[0]} and {rates[1]}; expected one above 0;"
                " write for example 'on_rate: 40 /s'"
            )
        if not 0 < min(self.on_s, self.off_s) <= max(self.on_s, self.off_s) < math.inf:
            raise ConfigError(
                f"arrivals.on_off: on {self.on_s} s, off {self.off_s} s; expected more than 0 s;"
                " write for example 'on: 30 s'"
            )

    @property
    def mean_rate_requests_per_s(self) -> float:
        """Long-run mean rate. [1/s]."""
        total = self.on_rate_requests_per_s * self.on_s + self.off_rate_requests_per_s * self.off_s
        return total / (self.on_s + self.off_s)

    def profile(self, rng: np.random.Generator, *, until_s: float) -> RateProfile:
        """Draw the phases; the first one is on.

        Parameters
        ----------
        rng : Generator
            The stream named ``phases``.
        until_s : float
            Time that the phases have to cover. [s]

        Returns
        -------
        RateProfile
            Phases beyond that time included.
        """
        period_s = self.on_s + self.off_s
        n_periods = until_s / period_s
        n = _SPARE + math.ceil(n_periods + _SPARE_DEVIATIONS * math.sqrt(n_periods))
        lengths_s = self._phases_s(n, rng)
        while float(lengths_s.sum()) < until_s:
            lengths_s = np.concatenate([lengths_s, self._phases_s(n, rng)])
        start_s = np.concatenate(([0.0], np.cumsum(lengths_s)))
        rates = np.tile(
            [self.on_rate_requests_per_s, self.off_rate_requests_per_s], start_s.size // 2 + 1
        )[: start_s.size]
        return RateProfile(
            start_s=start_s, rate_requests_per_s=rates, slope=np.zeros(start_s.size)
        )

    def _phases_s(self, n_periods: int, rng: np.random.Generator) -> FloatArray:
        lengths_s = np.tile([self.on_s, self.off_s], n_periods)
        return (
            lengths_s if self.is_periodic else lengths_s * rng.standard_exponential(2 * n_periods)
        )


def modulated_arrivals_s(
    profile: RateProfile,
    *,
    rng: np.random.Generator,
    n_requests: int | None = None,
    duration_s: float | None = None,
) -> FloatArray:
    """Return the arrivals of a Poisson process whose rate changes.

    Parameters
    ----------
    profile : RateProfile
        The rate.
    rng : Generator
        The stream named ``arrivals``.
    n_requests : int, optional
        Stop after this many requests.
    duration_s : float, optional
        Stop before this time. [s]

    Returns
    -------
    ndarray of shape (n_arrivals,)
        Arrival times, ascending; fewer than `n_requests` where the rate ends at 0. [s]

    Raises
    ------
    ConfigError
        If neither limit is given.
    """
    if n_requests is None and duration_s is None:
        raise ConfigError(
            "workload.requests: missing, and workload.duration too; expected one of them;"
            " write for example 'requests: 1000'"
        )
    n_drawn = n_requests
    if n_drawn is None:
        expected = profile.expected_until(duration_s or 0.0)
        n_drawn = _SPARE + math.ceil(expected + _SPARE_DEVIATIONS**2 * math.sqrt(expected))
    times_s = profile.instants_s(np.cumsum(rng.standard_exponential(n_drawn)))
    return times_s[times_s < (math.inf if duration_s is None else duration_s)]
