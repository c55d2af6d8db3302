"""How many values become one: means and percentiles, with their names."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rackmoe.errors import ShapeError

__all__ = [
    "LOWER_TAIL",
    "UPPER_TAIL",
    "statistic_name",
    "statistics",
    "weighted_percentile",
]

UPPER_TAIL = ("mean", "p50", "p90", "p95", "p99")
"""Statistics of a quantity of which less is better, such as a latency."""

LOWER_TAIL = ("mean", "p50", "p10", "p5", "p1")
"""Statistics of a quantity of which more is better, such as interactivity."""

_UNITS = ("_tokens_per_s", "_s")


def statistic_name(quantity: str, *, statistic: str) -> str:
    """Return the name of a statistic: it sits before the unit.

    Parameters
    ----------
    quantity : str
        Name of a quantity with its unit.
    statistic : str
        ``mean``, ``p50``, ...

    Returns
    -------
    str
        Name of the figure.

    Examples
    --------
    >>> statistic_name("ttft_s", statistic="p99")
    'ttft_p99_s'
    """
    unit = next((unit for unit in _UNITS if quantity.endswith(unit)), "")
    return f"{quantity.removesuffix(unit)}_{statistic}{unit}"


def statistics(
    quantity: str,
    *,
    values: ArrayLike,
    weights: ArrayLike | None = None,
    which: Sequence[str] = UPPER_TAIL,
) -> dict[str, float]:
    """Return the statistics of a sample under their names.

    Parameters
    ----------
    quantity : str
        Name of the quantity with its unit, for example ``ttft_s``.
    values : array_like of shape (n,)
        The sample; NaN stands for undefined and is left out.
    weights : array_like of int of shape (n,), optional
        How often each value occurs; once each by default.
    which : sequence of str
        ``mean`` or ``pNN``.

    Returns
    -------
    dict of str to float
        In the unit of the quantity; NaN for an empty sample.

    Notes
    -----
    Percentiles interpolate linearly between the two nearest order statistics,
    NumPy's default: percentile p of n sorted values lies at position
    (n - 1) p / 100.
    """
    sample = np.asarray(values, np.float64)
    counts = np.ones(sample.shape, np.int64) if weights is None else np.asarray(weights, np.int64)
    kept = ~np.isnan(sample) & (counts > 0)
    sample, counts = sample[kept], counts[kept]
    figures = {}
    for statistic in which:
        name = statistic_name(quantity, statistic=statistic)
        if not sample.size:
            figures[name] = float("nan")
        elif statistic == "mean":
            figures[name] = float((sample * counts).sum() / counts.sum())
        else:
            percent = float(statistic.removeprefix("p"))
            figures[name] = weighted_percentile(sample, weights=counts, percent=percent)
    return figures


def weighted_percentile(
    values: NDArray[np.float64], *, weights: NDArray[np.int64], percent: float
) -> float:
    """Return a percentile of values that occur several times.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Finite values in any order.
    weights : ndarray of shape (n,)
        How often each value occurs, at least once.
    percent : float
        0 to 100.

    Returns
    -------
    float
        What ``numpy.percentile(numpy.repeat(values, weights), percent)`` gives.

    Raises
    ------
    ShapeError
        If there is no value.

    Examples
    --------
    >>> weighted_percentile(np.array([1.0, 5.0]), weights=np.array([3, 1]), percent=100)
    5.0
    """
    if not values.size:
        raise ShapeError("values: empty sample; expected at least one value")
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(weights[order])
    position = (int(ends[-1]) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, int(ends[-1]) - 1)
    low, high = (
        float(values[order[np.searchsorted(ends, rank, side="right")]]) for rank in (below, above)
    )
    return low + (high - low) * (position - below)
