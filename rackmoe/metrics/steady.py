"""When a run has settled, and how certain its means are."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from rackmoe.metrics.latency import request_latencies
from rackmoe.metrics.throughput import emitted_tokens
from rackmoe.metrics.window import Window, arrived_within

__all__ = [
    "MeanEstimate",
    "batch_means",
    "mean_estimates",
    "settled_at",
    "settled_window",
    "steady_figures",
]

FloatArray = NDArray[np.float64]

MSER_BATCH = 5
"""Observations that MSER-5 averages before it looks for the end of the warm-up."""

LEAST_BATCHES = 5
MOST_BATCHES = 20
"""Numbers of batches: more than 30 gain nothing, few leave a wide interval (Schmeiser, 1982)."""

LEAST_PER_BATCH = 10
"""Observations of one batch, so that its mean forgets the batch before."""

# of the correlation of independent batches, whose standard deviation is 1 / sqrt(batches)
_NOTABLE_DEVIATIONS = 2.0

CONFIDENCE = 0.95
"""Share of intervals that hold the true mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanEstimate:
    """A mean over correlated observations, and how far it may be off.

    Parameters
    ----------
    mean : float
        Mean of the batch means, in the unit of the observations.
    half_width : float
        Half of its 95 % confidence interval, same unit; NaN of too few observations.
    correlation : float
        Correlation of neighboring batch means, -1 to 1; NaN of too few or equal ones.
    n_batches : int
        Batches.
    """

    mean: float
    half_width: float
    correlation: float
    n_batches: int

    @property
    def relative_half_width(self) -> float:
        """Half-width over mean; NaN where undefined."""
        return self.half_width / self.mean if self.mean else float("nan")

    @property
    def is_correlated(self) -> bool:
        """Whether batches remember each other, so that the interval is too narrow."""
        return bool(self.correlation * np.sqrt(self.n_batches) > _NOTABLE_DEVIATIONS)


def batch_means(values: FloatArray) -> MeanEstimate:
    r"""Estimate a mean from observations in the order of their time.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Observations, which may be correlated with their neighbors. A remainder that
        fills no batch is left out at the start.

    Returns
    -------
    MeanEstimate
        In the unit of the observations.

    Notes
    -----
    Means :math:`\bar x_j` of :math:`b` batches of equal size are nearly independent, so
    :math:`\bar x \pm t_{b-1} s / \sqrt b` is a confidence interval, :math:`s` their
    standard deviation and :math:`t` the quantile of Student's distribution [1]_.

    References
    ----------
    .. [1] A. M. Law, Simulation Modeling and Analysis, 5th ed., McGraw-Hill, 2015,
       section 9.5.3.
    """
    n_batches = min(values.size // LEAST_PER_BATCH, MOST_BATCHES)
    if n_batches < LEAST_BATCHES:
        mean = float(values.mean()) if values.size else float("nan")
        nan = float("nan")
        return MeanEstimate(mean=mean, half_width=nan, correlation=nan, n_batches=n_batches)
    size = values.size // n_batches
    return _estimate(
        values[values.size - size * n_batches :].reshape(n_batches, size).mean(axis=1)
    )


def _estimate(means: FloatArray) -> MeanEstimate:
    n_batches = means.size
    deviation = float(means.std(ddof=1))
    quantile = float(stdtrit(n_batches - 1, (1 + CONFIDENCE) / 2))
    centered = means - means.mean()
    power = float(centered @ centered)
    neighbors = float(centered[1:] @ centered[:-1])
    # batches equal up to rounding say nothing about their correlation
    is_flat = power <= (np.finfo(float).eps * float(np.abs(means).max())) ** 2 * n_batches
    return MeanEstimate(
        mean=float(means.mean()),
        half_width=quantile * deviation / float(np.sqrt(n_batches)),
        correlation=float("nan") if is_flat else neighbors / power,
        n_batches=n_batches,
    )


def settled_at(values: FloatArray) -> int | None:
    r"""Return where the warm-up of a series ends, by MSER-5.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Observations in the order of their time.

    Returns
    -------
    int or None
        First observation that counts; None if the series has not settled by its
        middle, or is too short to tell.

    Notes
    -----
    Of all starts :math:`d` in the first half, the one of least
    :math:`\sum_{j \geq d} (z_j - \bar z_d)^2 / (m - d)^2` leaves the most certain mean,
    :math:`z_j` being the means of five observations each and :math:`m` their number [1]_.

    References
    ----------
    .. [1] K. P. White, M. J. Cobb and S. C. Spratt, "A comparison of five steady-state
       truncation heuristics for simulation," Winter Simulation Conference, 2000,
       pp. 755-760.
    """
    n_batches = values.size // MSER_BATCH
    if n_batches < 2 * LEAST_BATCHES:
        return None
    kept = values[: n_batches * MSER_BATCH]
    means = kept.reshape(n_batches, MSER_BATCH).mean(axis=1)
    means = means - means.mean()  # keeps the digits of small deviations
    n_left = np.arange(n_batches, 0, -1)
    sums = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum(means[::-1] ** 2)[::-1]
    error = np.maximum(squares - sums**2 / n_left, 0) / n_left.astype(np.float64) ** 2
    half = n_batches // 2
    start = int(np.argmin(error[: half + 1]))
    return None if start == half else start * MSER_BATCH


def settled_window(requests: pd.DataFrame, *, window: Window) -> Window | None:
    """Return the part of a window after the warm-up that its TTFT shows.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    window : Window
        The measurement window.

    Returns
    -------
    Window or None
        None if the TTFT has not settled by its middle.
    """
    arrival_s, ttft_s = _observed(requests, name="ttft_s", window=window)
    start = settled_at(ttft_s)
    if start is None:
        return None
    start_s = window.start_s if start == 0 else float(arrival_s[start])
    return Window(start_s=start_s, end_s=window.end_s)


def mean_estimates(requests: pd.DataFrame, *, window: Window) -> dict[str, MeanEstimate]:
    """Return how certain the main figures of a window are.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    window : Window
        The measurement window.

    Returns
    -------
    dict of str to MeanEstimate
        ``output_tokens_per_s`` [1/s], from parts of equal length; ``ttft_s`` and
        ``tpot_s`` [s], from requests in the order of their arrival.
    """
    found = {
        name: batch_means(_observed(requests, name=name, window=window)[1])
        for name in ("ttft_s", "tpot_s")
    }
    n_batches = max(found["ttft_s"].n_batches, 1)
    edges_s = np.linspace(window.start_s, window.end_s, n_batches + 1).tolist()
    rates = np.array(
        [_rate(requests, start_s, end_s) for start_s, end_s in itertools.pairwise(edges_s)]
    )
    if n_batches < LEAST_BATCHES:
        nan = float("nan")
        throughput = MeanEstimate(
            mean=float(rates.mean()), half_width=nan, correlation=nan, n_batches=n_batches
        )
    else:
        throughput = _estimate(rates)
    return {"output_tokens_per_s": throughput, **found}


def steady_figures(requests: pd.DataFrame, *, window: Window) -> dict[str, float]:
    """Return the confidence intervals of the main figures, and when the run had settled.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    window : Window
        The measurement window.

    Returns
    -------
    dict of str to float
        See `METRICS`; NaN where a run is too short to tell.
    """
    estimates = mean_estimates(requests, window=window)
    settled = settled_window(requests, window=window)
    return {
        "output_ci95_tokens_per_s": estimates["output_tokens_per_s"].half_width,
        "ttft_mean_ci95_s": estimates["ttft_s"].half_width,
        "tpot_mean_ci95_s": estimates["tpot_s"].half_width,
        "settled_after_s": float("nan") if settled is None else settled.start_s - window.start_s,
    }


def _observed(
    requests: pd.DataFrame, *, name: str, window: Window
) -> tuple[FloatArray, FloatArray]:
    """Return arrival times and a latency of the requests of a window, in their order."""
    arrived = arrived_within(requests, window=window)
    values = request_latencies(arrived)[name].dropna()
    arrival_s = arrived.set_index("request_id")["arrival_s"].reindex(values.index)
    order = np.argsort(arrival_s.to_numpy(np.float64), kind="stable")
    return arrival_s.to_numpy(np.float64)[order], values.to_numpy(np.float64)[order]


def _rate(requests: pd.DataFrame, start_s: float, end_s: float) -> float:
    part = Window(start_s=start_s, end_s=end_s)
    return emitted_tokens(requests, window=part) / part.duration_s
