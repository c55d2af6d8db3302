"""How well fitted constants do on curves of serving points that the fit has not seen."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from rackmoe.study.calibration.serving_fit import GroupKey, engine_of, fit_engines, row_misses
from rackmoe.study.calibration.serving_surrogate import Point, RowSurrogate
from rackmoe.study.validation.serving_score import weighted_median

__all__ = ["held_out_errors", "median_error"]

# Engines have up to 12 curves beside most families: each of these is left out alone.
_MAX_FOLDS: Final = 12


def held_out_errors(
    groups: Mapping[GroupKey, Sequence[RowSurrogate]], *, priors: Mapping[str, Point]
) -> dict[str, dict[str, float]]:
    """Return the errors of rows whose whole curve no fit has seen.

    Parameters
    ----------
    groups : mapping of GroupKey to sequence of RowSurrogate
        The rows.
    priors : mapping of str to ndarray of shape (8,)
        As for `fit_engines`.

    Returns
    -------
    dict of str to dict
        Signed relative errors by id and figure. The curves of an engine beside a family are
        dealt to folds, whole, whatever dates their rows have. A group that has no curve left
        takes the constants of the nearest one (`EngineFit.point`).
    """
    found: dict[str, dict[str, float]] = {}
    for engine in sorted({engine_of(profile) for profile, _ in groups}):
        own = {key: rows for key, rows in groups.items() if engine_of(key[0]) == engine}
        folds = _folds(own)
        for fold in sorted(set(folds.values())):
            seen = {
                key: [one for one in rows if folds[key[1], one.row.curve] != fold]
                for key, rows in own.items()
            }
            fit = fit_engines(seen, priors=priors)[engine]
            for key, rows in own.items():
                for one in rows:
                    if folds[key[1], one.row.curve] == fold:
                        point = fit.point(key, weights=one.weights)
                        found[one.row.id] = row_misses(one, point=point)
    return found


def _folds(groups: Mapping[GroupKey, Sequence[RowSurrogate]]) -> dict[tuple[str, str], int]:
    """Return the fold of each curve beside each family."""
    curves: dict[str, set[str]] = {}
    for (_, family), rows in groups.items():
        curves.setdefault(family, set()).update(one.row.curve for one in rows)
    return {
        (family, curve): place % _MAX_FOLDS
        for family, names in curves.items()
        for place, curve in enumerate(sorted(names))
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
