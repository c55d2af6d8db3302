"""Refit the few constants of each backend that no kernel table tells, on serving points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from rackmoe.backend.profile import BackendProfile, load_backend
from rackmoe.hardware.profile import load_machine
from rackmoe.serving.speculation import mean_tokens
from rackmoe.study.calibration.backend_yaml import backend_text
from rackmoe.study.calibration.serving_fit import (
    HostFit,
    fit_host,
    held_out_errors,
    median_error,
    surrogate_errors,
)
from rackmoe.study.calibration.serving_profiles import (
    FAMILIES,
    BackendFit,
    GroupFit,
    fitted_profiles,
)
from rackmoe.study.calibration.serving_surrogate import (
    HostPoint,
    RowSurrogate,
    host_point,
    row_surrogate,
)
from rackmoe.study.validation.serving_answers import Answer, RowProgress, answer_rows
from rackmoe.study.validation.serving_rows import (
    BACKENDS,
    CLIENT_ROUNDS,
    DEFAULT_DRAFTS,
    ServingRow,
    read_serving_points,
)
from rackmoe.study.validation.serving_score import weighted_median

__all__ = [
    "ServingCalibration",
    "calibrate_serving",
    "fit_answers",
    "write_backend_files",
]

_MS: Final = 1e-3
_FITTED_TRUST: Final = ("A", "B")
# A shorter wait at the start is no cold start but noise of the first steps.
_LEAST_COLD_S: Final = 5.0
_MIN_COLD_ROWS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCalibration:
    """A refit on a file of serving points.

    Attributes
    ----------
    file, date : str
        Name of the file, and when it was done.
    groups : tuple of GroupFit
        By backend and family of GPUs.
    backends : tuple of BackendFit
        By backend.
    profiles : mapping of str to BackendProfile
        The shipped profiles with the fitted constants.
    """

    file: str
    date: str
    groups: tuple[GroupFit, ...]
    backends: tuple[BackendFit, ...]
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
    rows = [
        row
        for row in read_serving_points(points_csv)
        if row.text("trust") in _FITTED_TRUST and row.text("arrival") == "closed"
    ]
    profiles = {name: load_backend(name) for name in sorted(set(BACKENDS.values()))}
    groups: tuple[GroupFit, ...] = ()
    backends: tuple[BackendFit, ...] = ()
    for _ in range(n_rounds):
        answers = answer_rows(
            rows, backends=profiles, jobs=jobs, cache_folder=cache_folder, progress=progress
        )
        groups, backends = fit_answers(rows, answers=answers, profiles=profiles)
        profiles = fitted_profiles(
            profiles, groups=groups, backends=backends, origin=f"{file}, {date}"
        )
    return ServingCalibration(
        file=file, date=date, groups=groups, backends=backends, profiles=profiles
    )


def write_backend_files(found: ServingCalibration, *, folder: str | Path) -> tuple[Path, ...]:
    """Write the profiles of a calibration.

    Parameters
    ----------
    found : ServingCalibration
        The calibration.
    folder : path-like
        Where to; made if it is not there.

    Returns
    -------
    tuple of Path
        The files, one for each profile.
    """
    paths = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, profile in found.profiles.items():
        path = Path(folder) / f"{name}.yaml"
        title = "Host times are written by `rackmoe calibrate serving`; the rest by people."
        path.write_text(backend_text(profile, title=title), encoding="utf-8")
        paths.append(path)
    return tuple(paths)


def fit_answers(
    rows: Sequence[ServingRow],
    *,
    answers: Mapping[str, Answer],
    profiles: Mapping[str, BackendProfile],
) -> tuple[tuple[GroupFit, ...], tuple[BackendFit, ...]]:
    """Fit the constants to rows that were simulated.

    Parameters
    ----------
    rows : sequence of ServingRow
        The rows.
    answers : mapping of str to Answer
        By id, of simulations with `profiles`.
    profiles : mapping of str to BackendProfile
        By name.

    Returns
    -------
    tuple of tuple of GroupFit and tuple of BackendFit
        By backend and family, and by backend.
    """
    members: dict[tuple[str, str], list[RowSurrogate]] = {}
    drafts: dict[str, list[RowSurrogate]] = {}
    for row in rows:
        backend, gpu = BACKENDS[row.text("engine")], load_machine(row.text("hardware")).gpu.name
        one = row_surrogate(row, answer=answers[row.id], host=profiles[backend].host_on(gpu))
        if one is None:
            continue
        if row.text("mtp") == "on":
            drafts.setdefault(backend, []).append(one)
        else:
            members.setdefault((backend, FAMILIES[gpu]), []).append(one)
    colds = {
        name: _cold_start_s(members, backend=name, profile=profiles[name]) for name in profiles
    }
    priors = {name: host_point(profiles[name].host) for name in profiles}
    fits = {
        key: fit_host(found, prior=priors[key[0]], cold_start_s=colds[key[0]][0])
        for key, found in members.items()
    }
    groups = tuple(
        _group(key, members[key], fits=fits, prior=priors[key[0]], cold_start_s=colds[key[0]][0])
        for key in sorted(members)
    )
    backends = tuple(
        _backend(name, drafts.get(name, []), fits=fits, profile=profiles[name], cold=colds[name])
        for name in sorted(profiles)
    )
    return groups, backends


def _group(
    key: tuple[str, str],
    rows: Sequence[RowSurrogate],
    *,
    fits: Mapping[tuple[str, str], HostFit],
    prior: HostPoint,
    cold_start_s: float,
) -> GroupFit:
    before = {one.row.id: surrogate_errors(one, point=one.at) for one in rows}
    fitted = {
        one.row.id: surrogate_errors(one, point=fits[key].point, cold_start_s=cold_start_s)
        for one in rows
    }
    held_out = held_out_errors(
        rows, prior=prior, fallback=_nearest(key, fits, prior), cold_start_s=cold_start_s
    )
    medians = {
        f"{metric}_{name}": median_error(errors, rows=rows, metric=metric)
        for metric in ("tpot", "ttft")
        for name, errors in (("before", before), ("fitted", fitted), ("held_out", held_out))
    }
    return GroupFit(backend=key[0], family=key[1], fit=fits[key], held_out=held_out, **medians)


def _nearest(
    key: tuple[str, str], fits: Mapping[tuple[str, str], HostFit], prior: HostPoint
) -> HostPoint:
    """Return the constants of the same backend elsewhere, else of another on these GPUs."""
    same = [other for other in sorted(fits) if other != key and other[0] == key[0]]
    near = [other for other in sorted(fits) if other != key and other[1] == key[1]]
    for candidates in (same, near):
        if candidates:
            best = max(candidates, key=lambda other: fits[other].n_curves)
            return fits[best].point
    return prior


def _cold_start_s(
    members: Mapping[tuple[str, str], Sequence[RowSurrogate]],
    *,
    backend: str,
    profile: BackendProfile,
) -> tuple[float, int]:
    """Return the wait at the start that mean first tokens of split runs show. [s]."""
    rows = [
        one
        for (name, _), found in members.items()
        if name == backend
        for one in found
        if one.row.text("mode") == "disagg"
        and one.row.text("ttft_stat") == "mean"
        and one.row.text("score_ttft") == "yes"
    ]
    if len(rows) < _MIN_COLD_ROWS:
        return 0.0, len(rows)
    now_s = profile.kv.cold_start_s.value
    curves = [one.row.curve for one in rows]
    excess_s = np.array([(one.row.number("ttft_ms") or 0.0) * _MS - one.ttft_s for one in rows])
    weights = np.array([1.0 / curves.count(curve) for curve in curves])
    found_s = now_s + CLIENT_ROUNDS * weighted_median(excess_s, weights=weights)
    return (found_s if found_s > _LEAST_COLD_S else 0.0), len(rows)


def _backend(
    name: str,
    rows: Sequence[RowSurrogate],
    *,
    fits: Mapping[tuple[str, str], HostFit],
    profile: BackendProfile,
    cold: tuple[float, int],
) -> BackendFit:
    """Return the acceptance for which half of the rows with drafts are slower."""
    scored = [one for one in rows if one.row.number("tpot_ms")]
    acceptance = None
    if scored:
        ratios, weights = [], []
        curves = [one.row.curve for one in scored]
        for one in scored:
            gpu = load_machine(one.row.text("hardware")).gpu.name
            fit = fits.get((name, FAMILIES[gpu]))
            point = one.at if fit is None else fit.point
            ratios.append(one.tpot_at_s(point) / ((one.row.number("tpot_ms") or 0.0) * _MS))
            weights.append(1.0 / curves.count(one.row.curve))
        now = mean_tokens(profile.speculation.acceptance_frac.value, n_drafts=DEFAULT_DRAFTS)
        wanted = now * weighted_median(np.array(ratios), weights=np.array(weights))
        acceptance = _acceptance(wanted)
    return BackendFit(
        backend=name,
        acceptance_frac=acceptance,
        n_draft_rows=len(scored),
        cold_start_s=cold[0],
        n_cold_rows=cold[1],
    )


def _acceptance(wanted_tokens: float) -> float:
    """Return the equal chance of all drafts that gives so many tokens a step."""
    grid = np.linspace(0.0, 1.0, 1001)
    tokens = np.array([mean_tokens((a,), n_drafts=DEFAULT_DRAFTS) for a in grid.tolist()])
    return float(grid[int(np.argmin(np.abs(tokens - wanted_tokens)))])
