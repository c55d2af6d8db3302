"""How far the communication laws are from measured times."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from rackmoe.backend.collective_files import load_collectives
from rackmoe.errors import RackmoeError
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.profile import load_machine
from rackmoe.study.calibration.network import fitted_rows
from rackmoe.study.network_cases import (
    CollectiveCase,
    ExchangeCase,
    Measurement,
    error_of,
    predict_collective,
    predict_exchange,
)
from rackmoe.study.network_tables import read_measurements

__all__ = ["NetworkPoint", "NetworkStratum", "NetworkValidation", "validate_network"]

_NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPoint:
    """One row of a table and what the laws say.

    Attributes
    ----------
    row : str
        The row's id, or its number from 1 where the table has none.
    stratum : str
        Machine, library, kernel, operation and format.
    is_answered : bool
        Whether there is a prediction.
    measured, predicted : float
        Time [s] or bandwidth [B/s]; NaN where there is none.
    unit : str
        ``s`` or ``B/s``.
    is_large : bool
        Whether the relative error counts (128 tokens, 1 MB), else the absolute one.
    error : float
        Relative error of a large row, absolute error [s] of a small one.
    role : str
        ``fitted`` if the constants rest on this row, ``held out`` if it was kept for
        their test, ``new`` if the calibration does not have it.
    kind : str
        ``fitted``, ``derived``, or ``assumed`` for constants of another machine.
    reason : str
        Why there is no prediction, or whose constants stand in.
    """

    row: str
    stratum: str
    is_answered: bool
    measured: float
    predicted: float
    unit: str
    is_large: bool
    error: float
    role: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkStratum:
    """The errors of a group of rows.

    Attributes
    ----------
    name : str
        Machine, library, kernel, operation and format; or which rows are pooled.
    n_rows, n_answered, n_large, n_small : int
        All rows, those with a prediction, and these by size.
    median_error_frac, p90_error_frac : float
        Relative error of large rows; NaN where there are none.
    median_error_s, p90_error_s : float
        Absolute error of small rows; NaN where there are none. [s]
    """

    name: str
    n_rows: int
    n_answered: int
    n_large: int
    n_small: int
    median_error_frac: float
    p90_error_frac: float
    median_error_s: float
    p90_error_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkValidation:
    """A table of measurements beside the predictions.

    Attributes
    ----------
    file : str
        Name of the table.
    points : tuple of NetworkPoint
        One for each row, in the order of the table.
    strata : tuple of NetworkStratum
        All rows; rows by role; then one for each kernel.
    """

    file: str
    points: tuple[NetworkPoint, ...]
    strata: tuple[NetworkStratum, ...]


def validate_network(csv_path: Path | str, *, machine: str = "") -> NetworkValidation:
    """Return predictions for every row of a table of communication times.

    Parameters
    ----------
    csv_path : path-like
        A CSV file in the layout of ``communication_points.csv``, of
        ``kernels/alltoall_*.csv`` or of ``kernels/collectives.csv``.
    machine : str
        Profile, by name or path, for rows that do not name their machine.

    Returns
    -------
    NetworkValidation
        Points and strata; rows without a prediction say why.

    Raises
    ------
    ConfigError
        If the file has another layout, or the profile does not exist.
    """
    known = fitted_rows()
    points = tuple(
        _point(row, known=known) for row in read_measurements(csv_path, hardware=machine)
    )
    return NetworkValidation(file=Path(csv_path).name, points=points, strata=_strata(points))


@cache
def _machine(profile: str) -> Machine:
    return load_machine(profile)


def _point(row: Measurement, *, known: dict[str, str]) -> NetworkPoint:
    """Return the prediction for one row, or why there is none."""
    if row.case is None:
        return _unanswered(row, reason=row.reason)
    if not row.hardware:
        reason = "the row names no machine; give a hardware profile"
        return _unanswered(row, reason=reason)
    try:
        predicted, kind, reason = _predict(row)
    except RackmoeError as error:
        return _unanswered(row, reason=str(error))
    large = row.case.is_large or row.unit != "s"
    return NetworkPoint(
        row=row.row,
        stratum=_stratum(row),
        is_answered=True,
        measured=row.measured,
        predicted=predicted,
        unit=row.unit,
        is_large=large,
        error=error_of(predicted, row.measured, is_large=large),
        role=known.get(row.fingerprint, "new"),
        kind=kind,
        reason=reason,
    )


def _predict(row: Measurement) -> tuple[float, str, str]:
    """Return the prediction, the kind of its constants, and whose they are if not the row's."""
    machine = _machine(row.hardware)
    book = load_collectives(machine.gpu.name)
    if isinstance(row.case, ExchangeCase):
        predicted, exchange = predict_exchange(row.case, machine=machine, book=book)
        key, report = exchange.key, exchange.report
    elif isinstance(row.case, CollectiveCase):
        predicted, collective = predict_collective(row.case, machine=machine, book=book)
        key, report = collective.key, collective.report
    own = row.case.key if row.case is not None else None
    is_own = own is not None and (key.library, key.kernel) == (own.library, own.kernel)
    reason = "" if is_own else f"constants of {key.library} {key.kernel} {key.operation}"
    return predicted, report.kind if is_own else "assumed", reason


def _unanswered(row: Measurement, *, reason: str) -> NetworkPoint:
    return NetworkPoint(
        row=row.row,
        stratum=_stratum(row),
        is_answered=False,
        measured=row.measured,
        predicted=_NAN,
        unit=row.unit,
        is_large=False,
        error=_NAN,
        role="new",
        kind="",
        reason=reason,
    )


def _stratum(row: Measurement) -> str:
    """Return the name of a row's group."""
    if row.case is None:
        return f"{row.hardware} unknown".strip()
    key = row.case.key
    words = (row.hardware, key.library, key.kernel, key.operation, key.dtype)
    return " ".join(dict.fromkeys(word for word in words if word))


def _strata(points: Sequence[NetworkPoint]) -> tuple[NetworkStratum, ...]:
    """Return the errors of all rows, by role, and by kernel."""
    groups: dict[str, list[NetworkPoint]] = defaultdict(list)
    for point in points:
        groups[point.stratum].append(point)
    pooled = {"all": list(points)}
    for role in ("fitted", "held out", "new"):
        pooled[f"all {role}"] = [one for one in points if one.is_answered and one.role == role]
    return tuple(
        _summary(name, several) for name, several in [*pooled.items(), *groups.items()] if several
    )


def _summary(name: str, points: Sequence[NetworkPoint]) -> NetworkStratum:
    answered = [one for one in points if one.is_answered]
    large = [one.error for one in answered if one.is_large]
    small = [one.error for one in answered if not one.is_large]
    return NetworkStratum(
        name=name,
        n_rows=len(points),
        n_answered=len(answered),
        n_large=len(large),
        n_small=len(small),
        median_error_frac=_quantile(large, 0.5),
        p90_error_frac=_quantile(large, 0.9),
        median_error_s=_quantile(small, 0.5),
        p90_error_s=_quantile(small, 0.9),
    )


def _quantile(errors: Sequence[float], share: float) -> float:
    return float(np.quantile(errors, share)) if errors else _NAN
