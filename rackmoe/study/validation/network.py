"""How far the communication laws are from measured times."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from rackmoe.backend.collective_files import load_collectives
from rackmoe.errors import RackmoeError
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.profile import load_machine
from rackmoe.study.network_cases import (
    CollectiveCase,
    ExchangeCase,
    Measurement,
    error_of,
    predict_collective,
    predict_exchange,
)
from rackmoe.study.network_groups import fitted_rows
from rackmoe.study.network_tables import read_measurements

__all__ = ["NetworkPoint", "NetworkStratum", "NetworkValidation", "validate_network"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPoint:
    """One row of a table and what the laws say.

    Attributes
    ----------
    row : str
        The row's id, or its number from 1 where the table has none.
    stratum : str
        Machine, library, kernel, operation and format.
    answered : bool
        Whether there is a prediction.
    measured, predicted : float or None
        Time [s] or bandwidth [B/s]; None where there is none.
    unit : str
        ``s`` or ``B/s``.
    is_large : bool
        Whether the relative error counts (128 tokens, 1 MB), else the absolute one.
    error : float or None
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
    answered: bool
    measured: float | None
    predicted: float | None
    unit: str
    is_large: bool
    error: float | None
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
    median_error_frac, p90_error_frac : float or None
        Relative error of large rows; None where there are none.
    median_error_s, p90_error_s : float or None
        Absolute error of small rows; None where there are none. [s]
    """

    name: str
    n_rows: int
    n_answered: int
    n_large: int
    n_small: int
    median_error_frac: float | None
    p90_error_frac: float | None
    median_error_s: float | None
    p90_error_s: float | None


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

    def as_dict(self) -> dict[str, Any]:
        """Return the validation as plain values that JSON can hold."""
        return asdict(self)


def validate_network(csv_path: Path | str, *, machine: Machine | None = None) -> NetworkValidation:
    """Return predictions for every row of a table of communication times.

    Parameters
    ----------
    csv_path : path-like
        A CSV file in the layout of ``communication_points.csv``, of
        ``kernels/alltoall_*.csv`` or of ``kernels/collectives.csv``.
    machine : Machine, optional
        Where rows were measured that do not name their machine; the name of the file says
        it if left out (``alltoall_gb200.csv``).

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
    given = {} if machine is None else {machine.name: machine}
    rows = read_measurements(csv_path, hardware="" if machine is None else machine.name)
    points = tuple(_point(row, known=known, given=given) for row in rows)
    return NetworkValidation(file=Path(csv_path).name, points=points, strata=_strata(points))


@cache
def _machine(profile: str) -> Machine:
    return load_machine(profile)


def _point(
    row: Measurement, *, known: Mapping[str, str], given: Mapping[str, Machine]
) -> NetworkPoint:
    """Return the prediction for one row, or why there is none."""
    if row.case is None:
        return _unanswered(row, reason=row.reason)
    if not row.hardware:
        reason = "the row names no machine; give a hardware profile"
        return _unanswered(row, reason=reason)
    try:
        machine = given.get(row.hardware) or _machine(row.hardware)
        predicted, kind, reason = _predict(row, machine=machine)
    except (RackmoeError, ArithmeticError, ValueError) as error:
        # one odd row must not hide the others
        return _unanswered(row, reason=str(error))
    if not (isfinite(predicted) and predicted > 0.0):
        reason = f"nothing to time: the laws say {predicted} {row.unit}; expected several ranks"
        return _unanswered(row, reason=reason)
    large = row.case.is_large or row.unit != "s"
    return NetworkPoint(
        row=row.row,
        stratum=_stratum(row),
        answered=True,
        measured=row.measured,
        predicted=predicted,
        unit=row.unit,
        is_large=large,
        error=error_of(predicted, measured=row.measured, is_large=large),
        role=known.get(row.fingerprint, "new"),
        kind=kind,
        reason=reason,
    )


def _predict(row: Measurement, *, machine: Machine) -> tuple[float, str, str]:
    """Return the prediction, the kind of its constants, and whose they are if not the row's."""
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
        answered=False,
        measured=row.measured if isfinite(row.measured) else None,
        predicted=None,
        unit=row.unit,
        is_large=False,
        error=None,
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
        pooled[f"all {role}"] = [one for one in points if one.answered and one.role == role]
    return tuple(
        _summary(name, points=several)
        for name, several in [*pooled.items(), *groups.items()]
        if several
    )


def _summary(name: str, *, points: Sequence[NetworkPoint]) -> NetworkStratum:
    answered = [one for one in points if one.answered]
    errors = [(one.is_large, one.error) for one in answered if one.error is not None]
    large = [error for is_large, error in errors if is_large]
    small = [error for is_large, error in errors if not is_large]
    return NetworkStratum(
        name=name,
        n_rows=len(points),
        n_answered=len(answered),
        n_large=len(large),
        n_small=len(small),
        median_error_frac=_quantile(large, share=0.5),
        p90_error_frac=_quantile(large, share=0.9),
        median_error_s=_quantile(small, share=0.5),
        p90_error_s=_quantile(small, share=0.9),
    )


def _quantile(errors: Sequence[float], *, share: float) -> float | None:
    return float(np.quantile(errors, share)) if errors else None
