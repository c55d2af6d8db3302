"""Tables of a validation on serving points."""

from collections.abc import Sequence

import pandas as pd

from rackmoe.study.validation.serving import ServingPoint, ServingValidation
from rackmoe.study.validation.serving_run import FIGURES
from rackmoe.study.validation.serving_score import METRICS, ServingStratum

__all__ = [
    "baseline_frame",
    "curve_frame",
    "figure_frame",
    "point_frame",
    "strata_frame",
    "unanswered_frame",
    "worst_frame",
]


def strata_frame(strata: Sequence[ServingStratum]) -> pd.DataFrame:
    """Return one row for each stratum.

    Parameters
    ----------
    strata : sequence of ServingStratum
        Scores.

    Returns
    -------
    DataFrame
        Points, curves, answers, and median, mean and bias of the relative error of each
        figure.
    """
    rows = []
    for one in strata:
        row: dict[str, object] = {
            "stratum": one.name,
            "points": one.n_points,
            "curves": one.n_curves,
            "answered": one.n_answered,
        }
        for metric in METRICS:
            score = getattr(one, metric)
            row |= {
                f"{metric}_median": score.median,
                f"{metric}_mean": score.mean,
                f"{metric}_bias": score.bias,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def baseline_frame(found: ServingValidation) -> pd.DataFrame:
    """Return the median errors of the simulator beside those of two simple methods.

    Parameters
    ----------
    found : ServingValidation
        A validation.

    Returns
    -------
    DataFrame
        One row for each stratum; columns by figure and method.
    """
    methods = {"rackmoe": found.strata, **found.baselines}
    rows: dict[str, dict[str, object]] = {one.name: {"stratum": one.name} for one in found.strata}
    for method, strata in methods.items():
        for one in strata:
            for metric in METRICS:
                rows[one.name][f"{metric}_{method}"] = getattr(one, metric).median
    return pd.DataFrame(list(rows.values()))


def curve_frame(found: ServingValidation) -> pd.DataFrame:
    """Return the mean errors of each curve, the worst first.

    Parameters
    ----------
    found : ServingValidation
        A validation.

    Returns
    -------
    DataFrame
        One row for each curve.
    """
    return pd.DataFrame(
        [
            {
                "curve": one.curve,
                "points": one.n_points,
                "answered": one.n_answered,
                "tpot_mean": one.tpot_error,
                "throughput_mean": one.throughput_error,
                "ttft_mean": one.ttft_error,
            }
            for one in found.curves
        ]
    )


def worst_frame(found: ServingValidation, *, metric: str, n: int = 10) -> pd.DataFrame:
    """Return the points that are farthest off.

    Parameters
    ----------
    found : ServingValidation
        A validation.
    metric : str
        ``tpot``, ``throughput`` or ``ttft``.
    n : int, optional
        How many.

    Returns
    -------
    DataFrame
        One row for each point, the worst first.
    """
    return pd.DataFrame(
        [
            {
                "id": one.id,
                "curve": one.curve,
                "measured": one.pair(metric)[0],
                "predicted": one.pair(metric)[1],
                f"{metric}_error": one.errors[metric],
            }
            for one in found.worst(metric, n=n)
        ]
    )


def unanswered_frame(found: ServingValidation) -> pd.DataFrame:
    """Return the rows that could not be simulated, which count as failures.

    Parameters
    ----------
    found : ServingValidation
        A validation.

    Returns
    -------
    DataFrame
        Columns ``id``, ``curve`` and ``reason``.
    """
    rows = [{"id": o.id, "curve": o.curve, "reason": o.reason} for o in found.unanswered]
    return pd.DataFrame(rows, columns=["id", "curve", "reason"])


def point_frame(found: ServingValidation) -> pd.DataFrame:
    """Return one row for each point of the file, ready for a table of cells.

    Parameters
    ----------
    found : ServingValidation
        A validation.

    Returns
    -------
    DataFrame
        ``id``, ``curve``, ``trust``, ``answered``, ``reason``, the predictions under the names
        of the file, then ``measured_*`` and signed relative ``error_*``.
    """
    return pd.DataFrame(
        [
            {
                "id": one.id,
                "curve": one.curve,
                "trust": one.trust,
                "answered": one.answered,
                "reason": one.reason,
                **{name: one.predicted.get(name) for name in FIGURES},
                **{f"measured_{name}": one.measured.get(name) for name in FIGURES},
                **{f"error_{name}": one.errors.get(name) for name in METRICS},
            }
            for one in found.points
        ]
    )


def figure_frame(point: ServingPoint) -> pd.DataFrame:
    """Return the figures of one point.

    Parameters
    ----------
    point : ServingPoint
        An answered point.

    Returns
    -------
    DataFrame
        Columns ``figure``, ``measured``, ``predicted`` and ``error``, signed and relative,
        whether it is scored or not.
    """
    rows = []
    for name in FIGURES:
        measured, predicted = point.measured.get(name), point.predicted.get(name)
        error = predicted / measured - 1 if measured and predicted is not None else None
        rows.append({"figure": name, "measured": measured, "predicted": predicted, "error": error})
    return pd.DataFrame(rows)
