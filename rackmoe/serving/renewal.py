"""When many independent senders send: stationary renewal processes in one pass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from rackmoe.errors import ConfigError

__all__ = ["RenewalProcesses", "sample_renewals", "weibull_shape"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# gaps drawn at once beyond the expected number: standard deviations of a count, and some more
_SPARE_DEVIATIONS = 3.0
_SPARE_GAPS = 8

_SHAPE_RANGE = (0.05, 200.0)
_BISECTIONS = 80


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenewalProcesses:
    """Senders whose gaps are independent draws from a distribution of their own.

    Parameters
    ----------
    rate_requests_per_s : ndarray of shape (n,)
        Mean rates, above 0. [1/s]
    shape : ndarray of shape (n,)
        Shape parameters, above 0; 1 is a Poisson process, less gives bursts.
    is_weibull : ndarray of shape (n,), bool
        Whether gaps have a Weibull instead of a gamma distribution.
    duration_s : ndarray of shape (n,)
        How long each sends. [s]
    """

    rate_requests_per_s: FloatArray
    shape: FloatArray
    is_weibull: NDArray[np.bool_]
    duration_s: FloatArray

    def __len__(self) -> int:
        return int(self.shape.size)

    def gaps_s(self, which: IntArray, *, rng: np.random.Generator) -> FloatArray:
        """Draw gaps between arrivals.

        Parameters
        ----------
        which : ndarray of shape (n_gaps,)
            Sender of each gap.
        rng : Generator
            A stream of random numbers.

        Returns
        -------
        ndarray of shape (n_gaps,)
            Gaps. [s]
        """
        is_weibull, shape = self.is_weibull[which], self.shape[which]
        draws = rng.standard_gamma(np.where(is_weibull, 1.0, shape))
        return self._scaled(which, np.where(is_weibull, draws ** (1 / shape), draws))

    def first_gaps_s(self, *, rng: np.random.Generator) -> FloatArray:
        r"""Draw the time from a random instant to the next arrival of every sender.

        Parameters
        ----------
        rng : Generator
            A stream of random numbers.

        Returns
        -------
        ndarray of shape (n,)
            Gaps. [s]

        Notes
        -----
        A random instant falls into long gaps more often: into one of density
        :math:`x f(x) / \mathrm{E} x`, at a uniform position. That of a gamma gap of
        shape :math:`k` is a gamma gap of shape :math:`k + 1`; that of a Weibull gap is
        the :math:`1/k`-th power of a gamma variable of shape :math:`1 + 1/k`.
        Starting with an ordinary gap would give too many or too few arrivals.
        """
        which = np.arange(len(self))
        longer = np.where(self.is_weibull, 1 + 1 / self.shape, self.shape + 1)
        draws = rng.standard_gamma(longer)
        draws = np.where(self.is_weibull, draws ** (1 / self.shape), draws)
        return rng.random(len(self)) * self._scaled(which, draws)

    def _scaled(self, which: IntArray, draws: FloatArray) -> FloatArray:
        """Give gaps of unit scale the mean that their rate asks for."""
        shape = self.shape[which]
        mean = np.where(self.is_weibull[which], np.exp(gammaln(1 + 1 / shape)), shape)
        scaled: FloatArray = draws / (mean * self.rate_requests_per_s[which])
        return scaled


def sample_renewals(
    processes: RenewalProcesses, *, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Return the arrivals of all senders.

    Parameters
    ----------
    processes : RenewalProcesses
        The senders.
    rng : Generator
        A stream of random numbers.

    Returns
    -------
    which : ndarray of shape (n_arrivals,)
        Sender of each arrival.
    time_s : ndarray of shape (n_arrivals,)
        Time since that sender began, less than its duration. [s]
    """
    which = active = np.arange(len(processes))
    time_s = now_s = processes.first_gaps_s(rng=rng)
    found = [(which, time_s)]
    while active.size:
        goes_on = now_s < processes.duration_s[active]
        active, now_s = active[goes_on], now_s[goes_on]
        left = processes.rate_requests_per_s[active] * (processes.duration_s[active] - now_s)
        n_gaps = np.ceil(left + _SPARE_DEVIATIONS * np.sqrt(left) + _SPARE_GAPS).astype(np.int64)
        which = np.repeat(active, n_gaps)
        # no gap needs to be longer than its process, and the sum keeps the digits of short ones
        gaps_s = np.minimum(processes.gaps_s(which, rng=rng), processes.duration_s[which])
        elapsed_s = np.cumsum(gaps_s)
        last = np.cumsum(n_gaps) - 1
        before_s = np.concatenate(([0.0], elapsed_s[last[:-1]]))[: active.size]
        time_s = elapsed_s + np.repeat(now_s - before_s, n_gaps)
        found.append((which, time_s))
        now_s = time_s[last]
    which = np.concatenate([one for one, _ in found])
    time_s = np.concatenate([one for _, one in found])
    kept = time_s < processes.duration_s[which]
    return which[kept], time_s[kept]


def weibull_shape(cv: float) -> float:
    r"""Return the shape of a Weibull distribution with a coefficient of variation.

    Parameters
    ----------
    cv : float
        Standard deviation / mean.

    Returns
    -------
    float
        Shape parameter, less than 1 for a `cv` above 1.

    Raises
    ------
    ConfigError
        If no shape between 0.05 and 200 has it.

    Notes
    -----
    .. math:: c^2 = \frac{\Gamma(1 + 2/k)}{\Gamma(1 + 1/k)^2} - 1

    falls with :math:`k`; solved by bisection of :math:`\ln k`.
    """
    low, high = np.log(_SHAPE_RANGE)
    smallest, largest = (float(np.exp(_log_cv(end))) for end in (high, low))
    if not smallest <= cv <= largest:
        raise ConfigError(
            f"arrivals.cv: {cv}; expected {smallest:.3g} to {largest:.3g} for Weibull gaps;"
            " write for example 2"
        )
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _log_cv(middle) > np.log(cv):
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def _log_cv(log_shape: float) -> float:
    inverse = np.exp(-log_shape)
    # expm1 keeps the digits of small coefficients
    return float(np.log(np.expm1(gammaln(1 + 2 * inverse) - 2 * gammaln(1 + inverse))) / 2)
