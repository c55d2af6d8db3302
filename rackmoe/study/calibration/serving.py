"""Refit the few constants of each backend that no kernel table tells, on serving points."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rackmoe.backend.profile import BackendProfile, load_backend
from rackmoe.hardware.profile import load_machine
from rackmoe.schema.shipped import shipped_path
from rackmoe.study.calibration.backend_yaml import backend_text, with_comments
from rackmoe.study.calibration.serving_fit import (
    GroupKey,
    PointFit,
    fit_groups,
    held_out_errors,
    median_error,
    row_misses,
)
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
from rackmoe.study.validation.serving_rows import BACKENDS, ServingRow, read_serving_points
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
    "write_backend_files",
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
    strata : mapping of str to tuple of ServingStratum
        Errors of ``simulated`` rows before the last fit, of ``fitted`` ones, of rows whose
        whole curve was ``left_out``, and of two baselines, ``roofline`` and ``nearest``.
    profiles : mapping of str to BackendProfile
        The shipped profiles with the fitted constants.
    """

    file: str
    date: str
    groups: Mapping[GroupKey, GroupFit]
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
    profiles = {name: load_backend(name) for name in sorted(set(BACKENDS.values()))}
    for index in range(n_rounds):
        answers = answer_rows(
            rows, backends=profiles, jobs=jobs, cache_folder=cache_folder, progress=progress
        )
        if index < n_rounds - 1:
            fits = fit_groups(_surrogates(rows, answers, profiles), priors=_priors(profiles))
            groups = {
                key: GroupFit(backend=key[0], family=key[1], fit=fit, errors={})
                for key, fit in fits.items()
            }
            profiles = fitted_profiles(
                profiles, groups=groups, priors=_priors(profiles), origin=f"{file}, {date}"
            )
    return fit_answers(rows, answers=answers, profiles=profiles, file=file, date=date)


def write_backend_files(found: ServingCalibration, *, folder: str | Path) -> tuple[Path, ...]:
    """Write the profiles of a calibration, and its errors beside them.

    Parameters
    ----------
    found : ServingCalibration
        The calibration.
    folder : path-like
        Where to; made if it is not there.

    Returns
    -------
    tuple of Path
        One file for each profile, and ``serving_accuracy.json``.
    """
    paths = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, profile in found.profiles.items():
        path = Path(folder) / f"{name}.yaml"
        title = "Fitted constants are written by `rackmoe calibrate serving`; the rest by people."
        shipped = shipped_path("scenarios/backends", name=name).read_text(encoding="utf-8")
        text = with_comments(backend_text(profile, title=title), of=shipped)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    accuracy = Path(folder) / "serving_accuracy.json"
    strata = {name: [asdict(one) for one in strata] for name, strata in found.strata.items()}
    data = {"file": found.file, "date": found.date, "strata": strata}
    accuracy.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return (*paths, accuracy)


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
    fits = fit_groups(members, priors=priors)
    all_of = [(key, one) for key, found in members.items() for one in found]
    stages = {
        "simulated": {one.row.id: row_misses(one, point=one.at) for _, one in all_of},
        "fitted": {one.row.id: row_misses(one, point=fits[key].point) for key, one in all_of},
        "left_out": held_out_errors(members, priors=priors),
    }
    groups = {key: _group(key, fits[key], rows=members[key], stages=stages) for key in fits}
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
        strata={name: score_strata(rows, errors=found) for name, found in errors.items()},
        profiles=fitted_profiles(profiles, groups=groups, priors=priors, origin=f"{file}, {date}"),
    )


def _surrogates(
    rows: Sequence[ServingRow],
    answers: Mapping[str, Answer],
    profiles: Mapping[str, BackendProfile],
) -> dict[GroupKey, list[RowSurrogate]]:
    members: dict[GroupKey, list[RowSurrogate]] = {}
    for row in rows:
        backend, gpu = BACKENDS[row.text("engine")], load_machine(row.text("hardware")).gpu.name
        one = row_surrogate(row, answer=answers[row.id], profile=profiles[backend], gpu=gpu)
        if one is not None:
            members.setdefault((backend, FAMILIES.get(gpu, gpu)), []).append(one)
    return members


def _priors(profiles: Mapping[str, BackendProfile]) -> dict[str, Point]:
    return {name: assumed_point(profile) for name, profile in profiles.items()}


def _group(
    key: GroupKey,
    fit: PointFit,
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
    return GroupFit(backend=key[0], family=key[1], fit=fit, errors=errors)


def _scored(row: ServingRow, missed: Mapping[str, float]) -> dict[str, float | None]:
    return {metric: missed.get(metric) for metric in row_errors(row, figures={})}
