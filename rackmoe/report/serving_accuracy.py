"""Tables of a calibration on serving points: constants, and the errors to expect."""

from collections.abc import Mapping

import pandas as pd

from rackmoe.report.text import TextTable
from rackmoe.study.calibration.serving import ServingCalibration
from rackmoe.study.calibration.serving_surrogate import CONSTANTS
from rackmoe.study.validation.serving_score import METRICS, STRATA, Score, ServingStratum

__all__ = ["accuracy_frame", "accuracy_table", "calibration_frame"]

# The stretches of formats are not those of a group.
_SHOWN = tuple(name for name in CONSTANTS if name != "weights_stretch")
_NO_SCORE = Score(n=0, n_failed=0, median=None, mean=None, bias=None)


def calibration_frame(found: ServingCalibration) -> pd.DataFrame:
    """Return the fitted constants and their errors, one row for each backend and family.

    Parameters
    ----------
    found : ServingCalibration
        A calibration.

    Returns
    -------
    DataFrame
        Constants in s, and median errors of simulation, fit and curves left out.
    """
    rows = []
    for one in found.groups.values():
        row: dict[str, object] = {
            "backend": one.backend,
            "gpus": one.family,
            "rows": one.n_rows,
            "curves": one.n_curves,
            **{name: one.point[CONSTANTS.index(name)] for name in _SHOWN},
        }
        for metric, errors in one.errors.items():
            row |= {
                f"{metric}_before": errors.before,
                f"{metric}_fitted": errors.fitted,
                f"{metric}_left_out": errors.held_out,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def accuracy_frame(found: ServingCalibration) -> pd.DataFrame:
    """Return the errors of every stratum and figure.

    Parameters
    ----------
    found : ServingCalibration
        A calibration.

    Returns
    -------
    DataFrame
        Points, curves, and median and mean absolute relative errors of curves left out, of
        the fit, of the simulation before it, and of both baselines; every curve weighs the
        same.
    """
    strata = {stage: _by_name(found, stage) for stage in found.strata}
    rows = []
    for name, one in strata["left_out"].items():
        for metric in METRICS:
            if getattr(one, metric).n:
                row: dict[str, object] = {
                    "stratum": name,
                    "figure": metric,
                    "points": getattr(one, metric).n,
                    "curves": one.n_curves,
                }
                for stage in ("left_out", "fitted", "simulated", "nearest", "roofline"):
                    score = _score(strata[stage], name, metric)
                    row |= {f"{stage}_median": score.median, f"{stage}_mean": score.mean}
                rows.append(row)
    return pd.DataFrame(rows)


def accuracy_table(found: ServingCalibration) -> TextTable:
    """Return the errors on curves left out beside those of two baselines, for people.

    Parameters
    ----------
    found : ServingCalibration
        A calibration.

    Returns
    -------
    TextTable
        One row for each headline stratum; median / mean in percent, medians of baselines.
    """
    strata = {stage: _by_name(found, stage) for stage in found.strata}
    rows = []
    for name in ("all", *STRATA):
        one = strata["left_out"].get(name)
        if one is None:
            continue
        cells = [name, f"{one.n_points} in {one.n_curves}"]
        cells += [_percents(_score(strata["left_out"], name, metric)) for metric in METRICS]
        cells += [
            " / ".join(_percent(_score(strata[stage], name, metric).median) for metric in METRICS)
            for stage in ("fitted", "nearest", "roofline")
        ]
        rows.append(tuple(cells))
    head = (
        *("stratum", "points in curves", "time per token", "throughput", "first token"),
        *("fitted, medians", "nearest point", "roofline"),
    )
    return TextTable(
        title="Errors on curves left out of the fit, median / mean; every curve weighs the same",
        head=head,
        rows=tuple(rows),
        is_numeric=(False,) * len(head),
    )


def _by_name(found: ServingCalibration, stage: str) -> dict[str, ServingStratum]:
    return {one.name: one for one in found.strata[stage]}


def _score(strata: Mapping[str, ServingStratum], name: str, metric: str) -> Score:
    found: Score = getattr(strata[name], metric) if name in strata else _NO_SCORE
    return found


def _percents(score: Score) -> str:
    return f"{_percent(score.median)} / {_percent(score.mean)}" if score.n else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}".replace("%", " %")
