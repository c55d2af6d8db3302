"""Small sums and rows of one step, in the form that costs least."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.network.recurrence import LayerTimes, StepPart, StepPlan
from rackmoe.network.two_batch import TwoBatchPlan

__all__ = ["add_counts", "in_all_layers", "mean_of", "mean_parts_s"]


@njit(cache=True)
def add_counts(total: NDArray[np.int64], counts: NDArray[np.int32]) -> None:
    """Add counts to their total; NumPy would convert all of them first.

    Parameters
    ----------
    total : ndarray of shape (n, m), int64
        Added to.
    counts : ndarray of shape (n, m), int32
        What is added.
    """
    for row in range(total.shape[0]):
        for column in range(total.shape[1]):
            total[row, column] += counts[row, column]


def in_all_layers(values: NDArray[np.float64], *, n_layers: int) -> NDArray[np.float64]:
    """Return rows that are all alike.

    Parameters
    ----------
    values : ndarray of shape (n,)
        One row.
    n_layers : int
        Rows.

    Returns
    -------
    ndarray of shape (n_layers, n)
        Contiguous, as compiled kernels take it.
    """
    out = np.empty((n_layers, len(values)))
    out[:] = values
    return out


def mean_of(values: NDArray[np.float64]) -> float:
    """Return the mean of a few numbers.

    Parameters
    ----------
    values : ndarray of shape (n,)
        At least one.

    Returns
    -------
    float
        Their mean.
    """
    # the method of the array costs more than the sum of so few
    return float(np.add.reduce(values)) / len(values)


def mean_parts_s(times: list[LayerTimes], *, plan: StepPlan | TwoBatchPlan) -> NDArray[np.float64]:
    """Return where the time of the ranks went, on average.

    Two overlapped micro-batches hide most of their communication; what is left
    beside the computation is booked as dispatch.

    Parameters
    ----------
    times : list of LayerTimes
        Nominal durations of each micro-batch. [s]
    plan : StepPlan or TwoBatchPlan
        Their clocks. [s]

    Returns
    -------
    ndarray of shape (8,)
        Time by `StepPart`. [s]
    """
    if isinstance(plan, StepPlan):
        parts: NDArray[np.float64] = np.add.reduce(plan.parts_s, axis=1) / len(plan.end_s)
        return parts
    parts = np.zeros(len(StepPart))
    for one in times:
        parts[StepPart.PRE] += one.pre_s.mean(axis=1).sum()
        parts[StepPart.SHARED] += one.shared_s.mean(axis=1).sum()
        parts[StepPart.EXPERT] += one.expert_s.mean(axis=1).sum()
    parts[StepPart.TAIL] = plan.tail_s.sum(axis=0).mean()
    parts[StepPart.DISPATCH] = plan.end_s.mean() - parts.sum()
    return parts
