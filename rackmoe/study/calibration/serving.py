"""Refit the few constants of each backend that no kernel table tells, on serving points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rackmoe.backend.profile import BackendProfile, load_backend
from rackmoe.hardware.profile import load_machine
from rackmoe.study.calibration.serving_fit import (
    EngineFit,
    GroupKey,
    engine_of,
    fit_engines,
    row_misses,
)
from rackmoe.study.calibration.serving_folds import held_out_errors, median_error
from rackmoe.study.calibration.serving_profiles import (
    FAMILIES,
    GroupFit,
    MetricErrors,
    fitted_profiles,
)
from rackmoe.study.calibration.serving_surrogate import (
    Point,
    RowSurrogate,
    assumed_point,
    row_surrogate,
)
from rackmoe.study.validation.serving_answers import Answer, RowProgress, answer_rows
from rackmoe.study.validation.serving_baselines import nearest_points, roofline_points
from rackmoe.study.validation.serving_rows import (
    ServingRow,
    read_serving_points,
    row_backend,
)
from rackmoe.study.validation.serving_score import (
    METRICS,
    ServingStratum,
    row_errors,
    score_strata,
)

__all__ = [
    "ServingCalibration",
    "calibrate_serving",
    "fit_answers",
]

_FITTED_TRUST: Final = ("A", "B")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCalibration:
    """A refit on a file of serving points.

    Attributes
    ----------
    file, date : str
        Name of the file, and when it was done.
    groups : mapping of GroupKey to GroupFit
        By backend and family of GPUs.
    rows : tuple of ServingRow
        What was simulated.
    errors : mapping of str to mapping
        Signed errors of each row by stage (those of `strata`), id and figure; None without
        an answer.
    strata : mapping of str to tuple of ServingStratum
        Errors of ``simulated`` rows before the last fit, of ``fitted`` ones, of rows whose
        whole curve was ``left_out``, and of two baselines, ``roofline`` and ``nearest``.
    profiles : mapping of str to BackendProfile
        The shipped profiles with the fitted constants.
    """

    file: str
    date: str
    groups: Mapping[GroupKey, GroupFit]
    rows: tuple[ServingRow, ...]
    errors: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    strata: Mapping[str, tuple[ServingStratum, ...]]
    profiles: Mapping[str, BackendProfile]


def calibrate_serving(
    points_csv: str | Path,
    *,
    date: str,
    n_rounds: int = 2,
    jobs: int = 2,
    cache_folder: str | Path | None = None,
    progress: RowProgress | None = None,
) -> ServingCalibration:
    """Fit the backends to measured points, simulating with each fit to check it.

    Parameters
    ----------
    points_csv : str or pathlib.Path
        A file with the columns of ``scenarios/calibration/serving_points.csv``.
    date : str
        Date that the profiles carry.
    n_rounds : int
        Simulations of the whole file, each followed by a fit.
    jobs : int
        Processes.
    cache_folder : path-like, optional
        Where answers are kept.
    progress : callable, optional
        Told about every row.

    Returns
    -------
    ServingCalibration
        Constants, errors and profiles of the last round.
    """
    file = Path(points_csv).name
    rows = [row for row in read_serving_points(points_csv) if row.text("trust") in _FITTED_TRUST]
    profiles = {name: load_backend(name) for name in sorted({row_backend(row) for row in rows})}
    for index in range(n_rounds):
        answers = answer_rows(
            rows, backends=profiles, jobs=jobs, cache_folder=cache_folder, progress=progress
        )
        if index < n_rounds - 1:
            engines = fit_engines(_surrogates(rows, answers, profiles), priors=_priors(profiles))
            profiles = fitted_profiles(
                profiles, engines=engines, groups={}, origin=f"{file}, {date}"
            )
    return fit_answers(rows, answers=answers, profiles=profiles, file=file, date=date)


def fit_answers(
    rows: Sequence[ServingRow],
    *,
    answers: Mapping[str, Answer],
    profiles: Mapping[str, BackendProfile],
    file: str,
    date: str,
) -> ServingCalibration:
    """Fit the constants to rows that were simulated.

    Parameters
    ----------
    rows : sequence of ServingRow
        The rows.
    answers : mapping of str to Answer
        By id, of simulations with `profiles`.
    profiles : mapping of str to BackendProfile
        By name.
    file, date : str
        Name of the file of the rows, and when this is done.

    Returns
    -------
    ServingCalibration
        Constants, errors and profiles.
    """
    members, priors = _surrogates(rows, answers, profiles), _priors(profiles)
    engines = fit_engines(members, priors=priors)
    stages = {
        "simulated": _misses(members, engines={}),
        "fitted": _misses(members, engines=engines),
        "left_out": held_out_errors(members, priors=priors),
    }
    groups = {
        key: _group(key, engines[engine_of(key[0])], rows=found, stages=stages)
        for key, found in members.items()
    }
    simple = {"roofline": roofline_points(rows), "nearest": nearest_points(rows)}
    errors = {
        name: {row.id: _scored(row, missed.get(row.id, {})) for row in rows}
        for name, missed in stages.items()
    } | {
        name: {row.id: row_errors(row, figures=found[row.id]) for row in rows}
        for name, found in simple.items()
    }
    return ServingCalibration(
        file=file,
        date=date,
        groups=groups,
        rows=tuple(rows),
        errors=errors,
        strata={name: score_strata(rows, errors=found) for name, found in errors.items()},
        profiles=fitted_profiles(
            profiles, engines=engines, groups=groups, origin=f"{file}, {date}"
        ),
    )


def _surrogates(
    rows: Sequence[ServingRow],
    answers: Mapping[str, Answer],
    profiles: Mapping[str, BackendProfile],
) -> dict[GroupKey, list[RowSurrogate]]:
    members: dict[GroupKey, list[RowSurrogate]] = {}
    for row in rows:
        backend, gpu = row_backend(row), load_machine(row.text("hardware")).gpu.name
        one = row_surrogate(row, answer=answers[row.id], profile=profiles[backend], gpu=gpu)
        if one is not None:
            members.setdefault((backend, FAMILIES.get(gpu, gpu)), []).append(one)
    return members


def _priors(profiles: Mapping[str, BackendProfile]) -> dict[str, Point]:
    """Return what is assumed of each engine; its last profile, by name, has the say."""
    return {engine_of(name): assumed_point(profiles[name]) for name in sorted(profiles)}


def _misses(
    members: Mapping[GroupKey, Sequence[RowSurrogate]], *, engines: Mapping[str, EngineFit]
) -> dict[str, dict[str, float]]:
    """Return the errors with fitted constants; of an engine without any, as simulated."""
    found = {}
    for key, rows in members.items():
        fit = engines.get(engine_of(key[0]))
        for one in rows:
            point = one.at if fit is None else fit.point(key, weights=one.weights)
            found[one.row.id] = row_misses(one, point=point)
    return found


def _group(
    key: GroupKey,
    fit: EngineFit,
    *,
    rows: Sequence[RowSurrogate],
    stages: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> GroupFit:
    errors = {}
    for metric in METRICS:
        medians = [
            median_error(stages[stage], rows=rows, metric=metric)
            for stage in ("simulated", "fitted", "left_out")
        ]
        errors[metric] = MetricErrors(before=medians[0], fitted=medians[1], held_out=medians[2])
    return GroupFit(
        backend=key[0],
        family=key[1],
        point=fit.point(key),
        n_rows=len(rows),
        n_curves=len({one.row.curve for one in rows}),
        errors=errors,
    )


def _scored(row: ServingRow, missed: Mapping[str, float]) -> dict[str, float | None]:
    return {metric: missed.get(metric) for metric in row_errors(row, figures={})}
