"""Fit the host times of a backend on a family of GPUs to measured serving points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from rackmoe.study.calibration.serving_surrogate import HostPoint, RowSurrogate
from rackmoe.study.validation.serving_score import row_errors, weighted_median

__all__ = ["HostFit", "fit_host", "held_out_errors", "median_error", "surrogate_errors"]

_MS: Final = 1e-3
# Largest values: idle between steps, per sequence, per layer, per request, and steps of a poll.
_LOW: Final = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
_HIGH: Final = np.array([6e-3, 8e-5, 2.5e-3, 0.5, 40.0])
_SCALE: Final = np.array([3e-4, 5e-6, 4e-4, 5e-2, 5.0])
# A first token counts less than the time per token: it depends on the client, too.
_TTFT_WEIGHT: Final = 0.4
_PRIOR_WEIGHT: Final = 0.01
_ROBUST_SCALE: Final = 0.1
_MAX_FOLDS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFit:
    """Fitted host times.

    Attributes
    ----------
    point : ndarray of shape (5,)
        In the order of `HOST_CONSTANTS`. [s]
    n_rows, n_curves : int
        What they rest on.
    """

    point: HostPoint
    n_rows: int
    n_curves: int


def fit_host(
    rows: Sequence[RowSurrogate], *, prior: HostPoint, cold_start_s: float = 0.0
) -> HostFit:
    r"""Return the host times that fit rows best.

    Parameters
    ----------
    rows : sequence of RowSurrogate
        The rows.
    prior : ndarray of shape (5,)
        Where nothing is measured. [s]
    cold_start_s : float
        Time without transfers at the start of a run. [s]

    Returns
    -------
    HostFit
        Constants of the group.

    Notes
    -----
    Robust least squares over :math:`\ln(t / t_{measured})` of times per token and to the
    first token, soft-L1 loss; the rows of a curve share the weight of one.
    """
    curves = [one.row.curve for one in rows]
    weights = [1.0 / np.sqrt(curves.count(curve)) for curve in curves]
    scored = [row_errors(one.row, figures={}) for one in rows]

    def residuals(scaled: HostPoint) -> HostPoint:
        point = scaled * _SCALE
        found = list(_PRIOR_WEIGHT * (scaled - prior / _SCALE))
        for one, weight, metrics in zip(rows, weights, scored, strict=True):
            if "tpot" in metrics:
                found.append(weight * np.log(one.tpot_at_s(point) / _measured_s(one, "tpot_ms")))
            if "ttft" in metrics:
                ttft_s = one.ttft_at_s(point, cold_start_s=cold_start_s)
                error = np.log(ttft_s / _measured_s(one, "ttft_ms"))
                found.append(_TTFT_WEIGHT * weight * error)
        return np.array(found)

    start = np.clip(prior, _LOW + 1e-3 * _SCALE, _HIGH - 1e-3 * _SCALE)
    fit = least_squares(
        residuals,
        start / _SCALE,
        bounds=(_LOW / _SCALE, _HIGH / _SCALE),
        loss="soft_l1",
        f_scale=_ROBUST_SCALE,
        diff_step=1e-3,
    )
    return HostFit(point=fit.x * _SCALE, n_rows=len(rows), n_curves=len(set(curves)))


def held_out_errors(
    rows: Sequence[RowSurrogate],
    *,
    prior: HostPoint,
    fallback: HostPoint,
    cold_start_s: float = 0.0,
) -> dict[str, dict[str, float]]:
    """Return the errors of rows whose whole curve the fit has not seen.

    Parameters
    ----------
    rows : sequence of RowSurrogate
        The rows of a group.
    prior : ndarray of shape (5,)
        As for `fit_host`. [s]
    fallback : ndarray of shape (5,)
        Constants of the nearest group, for a group of a single curve. [s]
    cold_start_s : float
        Time without transfers at the start of a run. [s]

    Returns
    -------
    dict of str to dict
        Signed relative errors by id and figure.
    """
    curves = sorted({one.row.curve for one in rows})
    n_folds = min(len(curves), _MAX_FOLDS)
    found: dict[str, dict[str, float]] = {}
    for fold in range(n_folds):
        left_out = set(curves[fold::n_folds])
        seen = [one for one in rows if one.row.curve not in left_out]
        point = fallback
        if seen:
            point = fit_host(seen, prior=prior, cold_start_s=cold_start_s).point
        for one in rows:
            if one.row.curve in left_out:
                found[one.row.id] = surrogate_errors(one, point=point, cold_start_s=cold_start_s)
    return found


def surrogate_errors(
    one: RowSurrogate, *, point: HostPoint, cold_start_s: float = 0.0
) -> dict[str, float]:
    """Return the errors of a row with other host times.

    Parameters
    ----------
    one : RowSurrogate
        The row.
    point : ndarray of shape (5,)
        Host times. [s]
    cold_start_s : float
        Time without transfers at the start of a run. [s]

    Returns
    -------
    dict of str to float
        Signed relative errors of ``tpot`` and ``ttft``, where scored.
    """
    times_s = {
        "tpot": one.tpot_at_s(point),
        "ttft": one.ttft_at_s(point, cold_start_s=cold_start_s),
    }
    metrics = row_errors(one.row, figures={})
    return {
        name: time_s / _measured_s(one, f"{name}_ms") - 1
        for name, time_s in times_s.items()
        if name in metrics
    }


def median_error(
    errors: dict[str, dict[str, float]], *, rows: Sequence[RowSurrogate], metric: str
) -> float:
    """Return the median absolute error of a figure; every curve weighs the same.

    Parameters
    ----------
    errors : dict of str to dict
        By id and figure.
    rows : sequence of RowSurrogate
        The rows.
    metric : str
        ``tpot`` or ``ttft``.

    Returns
    -------
    float
        NaN where nothing is scored.
    """
    known = [
        (one.row.curve, abs(errors[one.row.id][metric]))
        for one in rows
        if metric in errors[one.row.id]
    ]
    if not known:
        return float("nan")
    curves = [curve for curve, _ in known]
    weights = np.array([1.0 / curves.count(curve) for curve in curves])
    return weighted_median(np.array([size for _, size in known]), weights=weights)


def _measured_s(one: RowSurrogate, column: str) -> float:
    return (one.row.number(column) or np.nan) * _MS
