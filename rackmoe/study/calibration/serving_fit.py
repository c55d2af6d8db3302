"""Fit the constants of backends to measured serving points, curve by curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rackmoe.study.calibration.serving_surrogate import (
    Point,
    RowSurrogate,
)
from rackmoe.study.validation.serving_score import measured_throughput, row_errors, weighted_median

__all__ = [
    "GroupKey",
    "PointFit",
    "fit_groups",
    "held_out_errors",
    "median_error",
    "nearest_point",
    "row_misses",
]

GroupKey = tuple[str, str]
"""Backend and family of GPUs."""

_MS: Final = 1e-3
# Smallest and largest values, in the order of CONSTANTS.
_LOW: Final = np.array([0.0, 0.0, 0.0, 0.0, 0.85, 0.85, 0.3, 0.0])
_HIGH: Final = np.array([6e-3, 8e-5, 1.5e-3, 0.4, 1.6, 2.0, 0.95, 0.4])
# How far a constant of a backend may lie from what is assumed (kind: assumed): a strong prior
# keeps constants that few points tell from running away.
_BACKEND_SPREAD: Final = np.array([1e-3, 1e-5, 3e-4, 0.05, 0.1, 0.15, 0.15, 0.05])
# How far hosts beside other GPUs lie from the rest of a backend; what all share stays.
_FAMILY_SPREAD: Final = np.array([6e-4, 6e-6, 2e-4, 0.04, 0.07, 0.1, 0.0, 0.0])
# Errors that are taken for noise of the world: releases and nights differ by as much.
_NOISE: Final = {"tpot": 0.1, "throughput": 0.15, "ttft": 0.25}
# Of batches sent at once nobody tells the limits of batch and tokens that the engine had.
_BATCH_NOISE: Final = 0.3
_MAX_FOLDS: Final = 8
# Step of numerical slopes, in units of the spread of a constant.
_STEP: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFit:
    """Fitted constants.

    Attributes
    ----------
    point : ndarray of shape (8,)
        In the order of `CONSTANTS`.
    n_rows, n_curves : int
        What they rest on.
    """

    point: Point
    n_rows: int
    n_curves: int


def fit_groups(
    groups: Mapping[GroupKey, Sequence[RowSurrogate]], *, priors: Mapping[str, Point]
) -> dict[GroupKey, PointFit]:
    r"""Return the constants of every backend beside every family of GPUs.

    Parameters
    ----------
    groups : mapping of GroupKey to sequence of RowSurrogate
        The rows.
    priors : mapping of str to ndarray of shape (8,)
        What is assumed of each backend where nothing is measured.

    Returns
    -------
    dict of GroupKey to PointFit
        By group.

    Notes
    -----
    Robust least squares (soft L1) over :math:`\ln(y / y_{measured}) / \sigma` of times per
    token, throughput and times to the first token; the rows of a curve share the weight of
    one. All rows of a backend are fitted first, with what is assumed as prior; the rows of a
    family then may move the constants of its hosts away from those of the backend.
    """
    found: dict[GroupKey, PointFit] = {}
    for name in sorted({backend for backend, _ in groups}):
        own = {key: rows for key, rows in groups.items() if key[0] == name}
        pooled = [one for rows in own.values() for one in rows]
        backend = _fit(pooled, prior=priors[name], spread=_BACKEND_SPREAD)
        for key, rows in own.items():
            found[key] = PointFit(
                point=_fit(rows, prior=backend, spread=_FAMILY_SPREAD),
                n_rows=len(rows),
                n_curves=len({one.row.curve for one in rows}),
            )
    return found


def _fit(rows: Sequence[RowSurrogate], *, prior: Point, spread: Point) -> Point:
    """Return the constants that fit rows best; those without spread stay."""
    prior = np.clip(prior, _LOW, _HIGH)
    free = spread > 0
    curves = [one.row.curve for one in rows]
    weights = [1.0 / np.sqrt(curves.count(curve)) for curve in curves]
    measured = [_measured(one) for one in rows]

    def point_at(scaled: NDArray[np.float64]) -> Point:
        point = prior.copy()
        point[free] += scaled * spread[free]
        return point

    def residuals(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        point = point_at(scaled)
        found = list(scaled)
        for one, weight, targets in zip(rows, weights, measured, strict=True):
            predicted = one.predict(point)
            is_batch = one.row.text("arrival") == "batch"
            found += [
                weight
                * np.log(predicted[name] / value)
                / (_BATCH_NOISE if is_batch else _NOISE[name])
                for name, value in targets.items()
                if name in predicted
            ]
        return np.array(found)

    def slopes(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        here = residuals(scaled)
        columns = []
        for index in range(len(scaled)):
            there = scaled.copy()
            # over kinks of medians and of steps that the host bounds, and within the bounds
            there[index] += _STEP if scaled[index] + _STEP < high[index] else -_STEP
            columns.append((residuals(there) - here) / (there[index] - scaled[index]))
        return np.stack(columns, axis=1)

    span = spread[free]
    low, high = (_LOW - prior)[free] / span, (_HIGH - prior)[free] / span
    fit = least_squares(
        residuals,
        np.clip(0.0, low + 1e-3, high - 1e-3),
        bounds=(low, high),
        jac=slopes,
        loss="soft_l1",
        max_nfev=40,
        xtol=1e-6,
        ftol=1e-5,
    )
    return point_at(fit.x)


def _measured(one: RowSurrogate) -> dict[str, float]:
    """Return what a row is scored on; times in seconds."""
    row = one.row
    values = {
        "tpot": (row.number("tpot_ms") or 0.0) * _MS,
        "ttft": (row.number("ttft_ms") or 0.0) * _MS,
        "throughput": row.number(measured_throughput(row) or "") or 0.0,
    }
    return {name: values[name] for name in row_errors(row, figures={}) if values[name] > 0}


def held_out_errors(
    groups: Mapping[GroupKey, Sequence[RowSurrogate]], *, priors: Mapping[str, Point]
) -> dict[str, dict[str, float]]:
    """Return the errors of rows whose whole curve no fit has seen.

    Parameters
    ----------
    groups : mapping of GroupKey to sequence of RowSurrogate
        The rows.
    priors : mapping of str to ndarray of shape (8,)
        As for `fit_groups`.

    Returns
    -------
    dict of str to dict
        Signed relative errors by id and figure. The curves of a group are dealt to folds;
        a group that has none left takes the constants of the nearest one.
    """
    folds = {
        (key, curve): place % _MAX_FOLDS
        for key, rows in groups.items()
        for place, curve in enumerate(sorted({one.row.curve for one in rows}))
    }
    found: dict[str, dict[str, float]] = {}
    for fold in range(_MAX_FOLDS):
        seen = {
            key: [one for one in rows if folds[key, one.row.curve] != fold]
            for key, rows in groups.items()
        }
        fits = fit_groups({key: rows for key, rows in seen.items() if rows}, priors=priors)
        for key, rows in groups.items():
            point = nearest_point(key, fits=fits, priors=priors)
            for one in rows:
                if folds[key, one.row.curve] == fold:
                    found[one.row.id] = row_misses(one, point=point)
    return found


def nearest_point(
    key: GroupKey, *, fits: Mapping[GroupKey, PointFit], priors: Mapping[str, Point]
) -> Point:
    """Return the constants of a group, or of the nearest one that was fitted.

    Parameters
    ----------
    key : GroupKey
        The group.
    fits : mapping of GroupKey to PointFit
        What was fitted.
    priors : mapping of str to ndarray of shape (8,)
        What is assumed of a backend.

    Returns
    -------
    ndarray of shape (8,)
        Of the same backend beside other GPUs if there is any, the one with most curves;
        else of another backend beside these GPUs; else what is assumed.
    """
    if key in fits:
        return fits[key].point
    same = [other for other in sorted(fits) if other[0] == key[0]]
    near = [other for other in sorted(fits) if other[1] == key[1]]
    for candidates in (same, near):
        if candidates:
            return fits[max(candidates, key=lambda other: fits[other].n_curves)].point
    return priors[key[0]]


def row_misses(one: RowSurrogate, *, point: Point) -> dict[str, float]:
    """Return the errors of a row with other constants.

    Parameters
    ----------
    one : RowSurrogate
        The row.
    point : ndarray of shape (8,)
        The constants.

    Returns
    -------
    dict of str to float
        Signed relative errors of ``tpot``, ``throughput`` and ``ttft``, where scored.
    """
    predicted = one.predict(point)
    return {
        name: predicted[name] / value - 1
        for name, value in _measured(one).items()
        if name in predicted
    }


def median_error(
    errors: Mapping[str, Mapping[str, float]], *, rows: Sequence[RowSurrogate], metric: str
) -> float:
    """Return the median absolute error of a figure; every curve weighs the same.

    Parameters
    ----------
    errors : mapping of str to mapping
        By id and figure.
    rows : sequence of RowSurrogate
        The rows.
    metric : str
        ``tpot``, ``throughput`` or ``ttft``.

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
