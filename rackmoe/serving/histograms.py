"""Which token counts are drawn: many histograms sampled in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError

__all__ = ["Histograms", "build_histograms"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histograms:
    """Discrete distributions, one after the other.

    Parameters
    ----------
    offsets : ndarray of shape (n_histograms + 1,)
        Where the values of each start.
    values : ndarray of shape (n_values,)
        Token counts.
    levels : ndarray of shape (n_values,)
        Number of the histogram plus the probability of a value up to this one;
        ascending over all of them, so that one search serves every histogram.
    """

    offsets: IntArray
    values: IntArray
    levels: FloatArray

    def __len__(self) -> int:
        return int(self.offsets.size - 1)

    @property
    def is_empty(self) -> NDArray[np.bool_]:
        """Whether each histogram has no value, shape (n_histograms,)."""
        empty: NDArray[np.bool_] = np.diff(self.offsets) == 0
        return empty

    def sample(self, which: IntArray, *, rng: np.random.Generator) -> IntArray:
        """Draw one value from each of the named histograms.

        Parameters
        ----------
        which : ndarray of shape (n,)
            Histograms that are not empty, repeated at will.
        rng : Generator
            A stream of random numbers.

        Returns
        -------
        ndarray of shape (n,)
            Values.
        """
        at = np.searchsorted(self.levels, which + rng.random(which.size), side="right")
        # rounding of which + random may reach the next histogram
        return self.values[np.minimum(at, self.offsets[which + 1] - 1)]


def build_histograms(values: Sequence[IntArray], *, weights: Sequence[FloatArray]) -> Histograms:
    """Return histograms of given values and weights.

    Parameters
    ----------
    values : sequence of ndarray of shape (n_values,)
        Token counts of each histogram; empty ones are allowed.
    weights : sequence of ndarray of shape (n_values,)
        How often each value occurs, in any unit.

    Returns
    -------
    Histograms
        Probabilities are weights over their sum; values of weight 0 are dropped.

    Raises
    ------
    ShapeError
        If a weight is negative or not finite, all of them are 0, or there is not
        one for each value.
    """
    kept_values, levels = [], []
    for number, (own, weight) in enumerate(zip(values, weights, strict=True)):
        if own.shape != weight.shape:
            raise ShapeError(
                f"histogram {number}: {own.size} values and {weight.size} weights;"
                " expected as many of each"
            )
        total = float(weight.sum())
        if own.size and not (0 < total < np.inf and (weight >= 0).all()):
            raise ShapeError(
                f"histogram {number}: weights from {weight.min()} to {weight.max()};"
                " expected finite ones of 0 or more, not all 0"
            )
        kept = weight > 0
        kept_values.append(own[kept])
        levels.append(number + np.cumsum(weight[kept]) / total if own.size else weight)
    sizes = [one.size for one in kept_values]
    return Histograms(
        offsets=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        values=np.concatenate([*kept_values, np.zeros(0, np.int64)]).astype(np.int64),
        levels=np.concatenate([*levels, np.zeros(0)]),
    )
