"""How far simulated serving is from measured serving points."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from rackmoe.backend.profile import BackendProfile
from rackmoe.errors import ConfigError
from rackmoe.study.validation.serving_answers import (
    Answer,
    RowProgress,
    answer_folder,
    answer_rows,
)
from rackmoe.study.validation.serving_baselines import nearest_points, roofline_points
from rackmoe.study.validation.serving_rows import ServingRow, read_serving_points
from rackmoe.study.validation.serving_run import FIGURES
from rackmoe.study.validation.serving_score import (
    THROUGHPUTS,
    ServingStratum,
    row_errors,
    score_strata,
    stratum_names,
)

__all__ = [
    "CurveScore",
    "ServingPoint",
    "ServingValidation",
    "select_rows",
    "validate_answers",
    "validate_serving",
]

# Points that a report of the worst ones names.
_N_WORST: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPoint:
    """One row of the file and what the simulator says about it.

    Attributes
    ----------
    id, curve, trust, hardware : str
        Cells of the row.
    strata : tuple of str
        What it is counted in, the widest first.
    answered : bool
        Whether there is a prediction.
    reason : str
        Why there is none.
    predicted, measured : mapping of str to float or None
        By column of the file, in milliseconds and tokens per second and GPU.
    errors : mapping of str to float or None
        Signed relative errors of ``tpot``, ``throughput`` and ``ttft``, where scored.
    """

    id: str
    curve: str
    trust: str
    hardware: str
    strata: tuple[str, ...]
    answered: bool
    reason: str
    predicted: Mapping[str, float | None]
    measured: Mapping[str, float | None]
    errors: Mapping[str, float | None]

    def pair(self, metric: str) -> tuple[float | None, float | None]:
        """Return what was measured and what is predicted.

        Parameters
        ----------
        metric : str
            ``tpot``, ``throughput`` or ``ttft``.

        Returns
        -------
        tuple of float or None
            In milliseconds, or tokens per second and GPU in the row's own denominator.
        """
        columns = THROUGHPUTS if metric == "throughput" else (f"{metric}_ms",)
        name = next((name for name in columns if self.measured.get(name)), columns[0])
        return self.measured.get(name), self.predicted.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveScore:
    """The errors along one curve.

    Attributes
    ----------
    curve : str
        What its points share.
    n_points, n_answered : int
        Scored points, and those with a prediction.
    tpot_error, throughput_error, ttft_error : float or None
        Mean absolute relative error; None where nothing is scored.
    """

    curve: str
    n_points: int
    n_answered: int
    tpot_error: float | None
    throughput_error: float | None
    ttft_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingValidation:
    """A file of serving points beside the predictions.

    Attributes
    ----------
    file : str
        Name of the file.
    points : tuple of ServingPoint
        One for each row, in the order of the file.
    strata : tuple of ServingStratum
        Scores; every curve weighs the same.
    curves : tuple of CurveScore
        Errors by curve, the worst first.
    baselines : mapping of str to tuple of ServingStratum
        The same strata for two simple methods.
    """

    file: str
    points: tuple[ServingPoint, ...]
    strata: tuple[ServingStratum, ...]
    curves: tuple[CurveScore, ...]
    baselines: Mapping[str, tuple[ServingStratum, ...]]

    @property
    def unanswered(self) -> tuple[ServingPoint, ...]:
        """The rows that could not be simulated."""
        return tuple(point for point in self.points if not point.answered)

    def worst(self, metric: str, *, n: int = _N_WORST) -> tuple[ServingPoint, ...]:
        """Return the points that are farthest off.

        Parameters
        ----------
        metric : str
            ``tpot``, ``throughput`` or ``ttft``.
        n : int, optional
            How many.

        Returns
        -------
        tuple of ServingPoint
            The worst first.
        """
        known = [one for one in self.points if one.errors.get(metric) is not None]
        return tuple(sorted(known, key=lambda one: -abs(one.errors[metric] or 0.0))[:n])

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON.

        Returns
        -------
        dict
            ``points``, each with ``id``, ``answered``, ``reason``, the six figures under the
            names of the file, ``measured`` beside and ``errors``; ``strata``, ``curves`` and
            ``baselines``.
        """
        return {
            "file": self.file,
            "points": [
                {
                    "id": one.id,
                    "curve": one.curve,
                    "trust": one.trust,
                    "strata": list(one.strata),
                    "answered": one.answered,
                    "reason": one.reason,
                    **{name: one.predicted.get(name) for name in FIGURES},
                    "measured": dict(one.measured),
                    "errors": dict(one.errors),
                }
                for one in self.points
            ],
            "strata": [asdict(one) for one in self.strata],
            "curves": [asdict(one) for one in self.curves],
            "baselines": {
                name: [asdict(one) for one in strata] for name, strata in self.baselines.items()
            },
        }


def validate_serving(
    points_csv: str | Path,
    *,
    only: str | None = None,
    sample: int | None = None,
    jobs: int = 2,
    cache_folder: str | os.PathLike[str] | None = None,
    backends: Mapping[str, BackendProfile] | None = None,
    progress: RowProgress | None = None,
) -> ServingValidation:
    """Simulate the rows of a file of serving points and compare.

    Parameters
    ----------
    points_csv : str or pathlib.Path
        A CSV file with the columns of ``scenarios/calibration/serving_points.csv``.
    only : str, optional
        Pattern with wildcards that the id or the curve of a row has to match.
    sample : int, optional
        Simulate so many rows, evenly spaced over the file.
    jobs : int, optional
        Processes; the figures do not depend on it.
    cache_folder : path-like, optional
        Where answers are kept between calls; `answer_folder` by default.
    backends : mapping of str to BackendProfile, optional
        Profiles to use in place of the shipped ones, by name.
    progress : callable, optional
        Told about every row that is done.

    Returns
    -------
    ServingValidation
        Points, scores and baselines of the selected rows.

    Raises
    ------
    ConfigError
        If the file cannot be read, or no row is selected.
    """
    rows = select_rows(read_serving_points(points_csv), only=only, sample=sample)
    answers = answer_rows(
        rows,
        backends=backends,
        jobs=jobs,
        cache_folder=cache_folder or answer_folder(),
        progress=progress,
    )
    return validate_answers(rows, answers=answers, file=Path(points_csv).name)


def select_rows(
    rows: Sequence[ServingRow], *, only: str | None = None, sample: int | None = None
) -> tuple[ServingRow, ...]:
    """Return the rows that a user asks for.

    Parameters
    ----------
    rows : sequence of ServingRow
        All rows.
    only : str, optional
        Pattern with wildcards for ids and curves.
    sample : int, optional
        How many rows to keep, evenly spaced.

    Returns
    -------
    tuple of ServingRow
        In the order of the file.

    Raises
    ------
    ConfigError
        If none is left.
    """
    chosen = [
        row
        for row in rows
        if only is None or fnmatchcase(row.id, only) or fnmatchcase(row.curve, only)
    ]
    if not chosen:
        raise ConfigError(
            f"only: '{only}': matches none of {len(rows)} rows; expected a pattern of ids or "
            "curves; write for example '*h200*'"
        )
    if sample is not None and sample < len(chosen):
        chosen = [chosen[index * len(chosen) // sample] for index in range(max(1, sample))]
    return tuple(chosen)


def validate_answers(
    rows: Sequence[ServingRow], *, answers: Mapping[str, Answer], file: str
) -> ServingValidation:
    """Compare rows with their answers.

    Parameters
    ----------
    rows : sequence of ServingRow
        The rows.
    answers : mapping of str to Answer
        By id.
    file : str
        Name of the file.

    Returns
    -------
    ServingValidation
        Points, scores and baselines.
    """
    points = tuple(_point(row, answers[row.id]) for row in rows)
    errors = {point.id: point.errors for point in points}
    simple = {"roofline": roofline_points(rows), "nearest": nearest_points(rows)}
    return ServingValidation(
        file=file,
        points=points,
        strata=score_strata(rows, errors=errors),
        curves=_curves(points),
        baselines={
            name: score_strata(
                rows,
                errors={row.id: row_errors(row, figures=found[row.id]) for row in rows},
            )
            for name, found in simple.items()
        },
    )


def _point(row: ServingRow, answer: Answer) -> ServingPoint:
    return ServingPoint(
        id=row.id,
        curve=row.curve,
        trust=row.text("trust"),
        hardware=row.text("hardware"),
        strata=stratum_names(row),
        answered=bool(answer.figures),
        reason=answer.reason,
        predicted=answer.figures,
        measured={name: row.number(name) for name in FIGURES},
        errors=row_errors(row, figures=answer.figures),
    )


def _curves(points: Sequence[ServingPoint]) -> tuple[CurveScore, ...]:
    groups: dict[str, list[ServingPoint]] = {}
    for point in points:
        if point.errors:
            groups.setdefault(point.curve, []).append(point)
    scores = [_curve(name, members) for name, members in groups.items()]
    return tuple(sorted(scores, key=lambda one: -(one.tpot_error or one.throughput_error or 0.0)))


def _curve(name: str, points: Sequence[ServingPoint]) -> CurveScore:
    means: dict[str, float | None] = {}
    for metric in ("tpot", "throughput", "ttft"):
        sizes = [
            1.0 if error is None else abs(error)
            for point in points
            for key, error in point.errors.items()
            if key == metric
        ]
        means[f"{metric}_error"] = sum(sizes) / len(sizes) if sizes else None
    return CurveScore(
        curve=name,
        n_points=len(points),
        n_answered=sum(point.answered for point in points),
        **means,
    )
