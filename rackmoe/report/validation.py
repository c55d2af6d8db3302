"""Which measured rows a validation leaves out, and how far the laws are from them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rackmoe.study.validation.kernels import KernelPoint

__all__ = ["excluded_frame"]


def excluded_frame(points: Sequence[KernelPoint]) -> pd.DataFrame:
    """Return the rows that a validation of kernels leaves out, by kernel and reason.

    Parameters
    ----------
    points : sequence of KernelPoint
        All rows.

    Returns
    -------
    DataFrame
        Columns ``operator``, ``source``, ``kernel``, ``dtype``, ``reason``, ``n_rows`` and
        ``error_median``, the median of the absolute relative error.
    """
    rows = [
        {
            "operator": one.operator,
            "source": one.source,
            "kernel": one.kernel,
            "dtype": one.dtype,
            "reason": one.reason,
            "error": _error(one),
        }
        for one in points
        if one.excluded
    ]
    names = ["operator", "source", "kernel", "dtype", "reason"]
    frame = pd.DataFrame(rows, columns=[*names, "error"])
    grouped = frame.groupby(names, as_index=False)
    return grouped.agg(n_rows=("error", "size"), error_median=("error", "median"))


def _error(point: KernelPoint) -> float:
    if point.predicted_s is None or not point.measured_s:
        return float(np.nan)
    return abs(point.predicted_s / point.measured_s - 1)
