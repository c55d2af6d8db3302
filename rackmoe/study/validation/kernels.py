"""How far the operator laws are from the measured times of a kernel table."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.backend.operator_files import (
    OperatorRow,
    best_row,
    operator_constants,
    operator_rows,
)
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Gpu, Machine
from rackmoe.study.kernel_tables import read_kernel_table
from rackmoe.study.kernel_times import module_times, row_times

__all__ = [
    "KernelPoint",
    "KernelStratum",
    "KernelValidation",
    "StratumKey",
    "validate_kernels",
]

_US: Final = 1e-6
_ALL: Final = "all"
_PERCENTILE: Final = 90
_KEYS: Final = ("operator", "source", "kernel", "dtype")

# Which of kernel, format and phase a stratum tells apart.
_STRATA: Final = (
    (False, False, False),
    (False, True, False),
    (True, True, False),
    (False, True, True),
    (True, True, True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPoint:
    """One row of a table and what the law says about it.

    Attributes
    ----------
    row : int
        Place in the file; 1 is the first row below the header.
    operator, source, kernel, dtype, phase : str
        What was measured.
    answered : bool
        Whether the law gives a time.
    measured_s, predicted_s : float or None
        Times; None where the file holds no number, or the law none. [s]
    excluded : bool
        Whether the row is left out of every stratum: it measures something else.
    held_out : bool
        Whether the fit has not seen the row.
    reason : str
        Why it is not answered or excluded, or whose law answers; else empty.
    """

    row: int
    operator: str
    source: str
    kernel: str
    dtype: str
    phase: str
    answered: bool
    measured_s: float | None
    predicted_s: float | None
    excluded: bool
    held_out: bool
    reason: str


class StratumKey(NamedTuple):
    """What the points of a stratum share; ``all`` where they may differ.

    Attributes
    ----------
    operator, source, kernel, dtype, phase : str
        As in `KernelPoint`.
    """

    operator: str
    source: str
    kernel: str
    dtype: str
    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStratum:
    """Errors of the points that have something in common, excluded points apart.

    Attributes
    ----------
    key : StratumKey
        What they have in common.
    scope : str
        ``held_out``: only rows that the fit has not seen; ``all``: every row.
    n : int
        Points with an answer, a count.
    n_unanswered, n_excluded : int
        Points without one, and points left out, counts.
    error_median, error_mean, error_p90 : float or None
        Of the absolute relative error; None without points.
    bias : float or None
        Median of the relative error: above zero where the law is slow.
    """

    key: StratumKey
    scope: str
    n: int
    n_unanswered: int
    n_excluded: int
    error_median: float | None
    error_mean: float | None
    error_p90: float | None
    bias: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelValidation:
    """How far the laws are from one table.

    Attributes
    ----------
    file, hardware, gpu : str
        The table, the machine and its GPU.
    points : tuple of KernelPoint
        One for every row of the file, in its order.
    strata : tuple of KernelStratum
        By operator, source, kernel, format and phase, and by parts of these.
    """

    file: str
    hardware: str
    gpu: str
    points: tuple[KernelPoint, ...]
    strata: tuple[KernelStratum, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the validation as plain values that JSON can hold.

        Returns
        -------
        dict
            Times under ``measured_us`` and ``predicted_us``, in the unit of the tables.
        """
        data = asdict(self)
        for point in data["points"]:
            for name in ("measured", "predicted"):
                time_s = point.pop(f"{name}_s")
                point[f"{name}_us"] = None if time_s is None else time_s / _US
        data["strata"] = [
            {**one.key._asdict(), **{k: v for k, v in asdict(one).items() if k != "key"}}
            for one in self.strata
        ]
        return data


def validate_kernels(csv_path: str | Path, *, machine: Machine) -> KernelValidation:
    """Return measured and predicted times of every row of a kernel table.

    Parameters
    ----------
    csv_path : str or pathlib.Path
        A CSV file in one of `kernel_tables.LAYOUTS`.
    machine : Machine
        The machine whose GPU was measured.

    Returns
    -------
    KernelValidation
        Rows of an engine, kernel or format without constants of their own are answered
        by the nearest law, and say so.

    Raises
    ------
    ConfigError
        If the file has another layout, or the GPU no constants.
    """
    rows = read_kernel_table(csv_path)
    gpu = machine.gpu
    predicted_s = np.full(len(rows), np.nan)
    reasons = rows["problem"].to_numpy(dtype=object)
    candidates = operator_rows(gpu.name)
    places = np.arange(len(rows))
    is_sound = rows["problem"].to_numpy() == ""
    for _, at in pd.Series(places[is_sound]).groupby(
        [rows.loc[is_sound, name].to_numpy() for name in _KEYS]
    ):
        found = at.to_numpy()
        times_s, reason = _answer(rows.iloc[found], gpu=gpu, candidates=candidates)
        predicted_s[found] = times_s
        reasons[found] = reason
    points = tuple(_points(rows, predicted_s=predicted_s, reasons=reasons))
    return KernelValidation(
        file=str(csv_path),
        hardware=machine.name,
        gpu=gpu.name,
        points=points,
        strata=tuple(_strata(points)),
    )


def _answer(
    rows: pd.DataFrame, *, gpu: Gpu, candidates: tuple[OperatorRow, ...]
) -> tuple[NDArray[np.float64] | float, str]:
    """Return the times of rows of one kernel, or NaN, and whose law gave them."""
    operator, source, kernel, dtype = (str(rows[name].iloc[0]) for name in _KEYS)
    same = [row for row in candidates if row.operator == operator]
    row = best_row(same, dtype=dtype, source=source, kernel=kernel)
    if row is None:
        known = sorted({one.fit.dtype for one in same})
        return np.nan, f"{operator}: {dtype}: no law; expected one of {', '.join(known)}"
    try:
        if operator.endswith("_module"):
            constants = operator_constants(gpu.name, source=source)
            times = module_times(rows, gpu=gpu, constants=constants)
        else:
            times = row_times(rows)
        times_s = times(gpu, row.fit.constants)
        return times_s, _whose_law(row, source=source, kernel=kernel, dtype=dtype)
    except ConfigError as error:
        return np.nan, str(error)


def _whose_law(row: OperatorRow, *, source: str, kernel: str, dtype: str) -> str:
    fit = row.fit
    if (fit.source, fit.kernel, fit.dtype) == (source, kernel, dtype) and row.is_own:
        return ""
    where = "" if row.is_own else f" on {row.gpu}"
    return f"nearest law: {fit.source} {fit.kernel} {fit.dtype}{where}"


def _points(
    rows: pd.DataFrame, *, predicted_s: NDArray[np.float64], reasons: NDArray[np.object_]
) -> Iterator[KernelPoint]:
    columns = zip(
        rows["row"],
        rows["operator"],
        rows["source"],
        rows["kernel"],
        rows["dtype"],
        rows["phase"],
        rows["measured_s"],
        rows["excluded"],
        rows["is_held_out"],
        strict=True,
    )
    for place, one in enumerate(columns):
        row, operator, source, kernel, dtype, phase, measured, excluded, held_out = one
        predicted = float(predicted_s[place])
        is_answered = bool(np.isfinite(predicted))
        yield KernelPoint(
            row=int(row),
            operator=str(operator),
            source=str(source),
            kernel=str(kernel),
            dtype=str(dtype),
            phase=str(phase),
            answered=is_answered,
            measured_s=float(measured) if np.isfinite(measured) else None,
            predicted_s=predicted if is_answered else None,
            excluded=bool(excluded),
            held_out=bool(held_out),
            reason=str(excluded or reasons[place]),
        )


def _strata(points: tuple[KernelPoint, ...]) -> Iterator[KernelStratum]:
    """Yield strata from the widest to the narrowest, each for both scopes."""
    groups: dict[StratumKey, list[KernelPoint]] = {}
    for point in points:
        for key in _keys(point):
            groups.setdefault(key, []).append(point)
    for key in sorted(groups, key=_wide_first):
        for scope in ("held_out", _ALL):
            members = [one for one in groups[key] if scope == _ALL or one.held_out]
            yield _stratum(members, key=key, scope=scope)


def _keys(point: KernelPoint) -> Iterator[StratumKey]:
    for kernel, dtype, phase in _STRATA:
        yield StratumKey(
            operator=point.operator,
            source=point.source,
            kernel=point.kernel if kernel else _ALL,
            dtype=point.dtype if dtype else _ALL,
            phase=point.phase if phase else _ALL,
        )


def _wide_first(key: StratumKey) -> tuple[Any, ...]:
    operator, source, *rest = key
    return (operator, source, [part != _ALL for part in rest], rest)


def _stratum(points: list[KernelPoint], *, key: StratumKey, scope: str) -> KernelStratum:
    used = [one for one in points if not one.excluded]
    errors = np.array(
        [
            one.predicted_s / one.measured_s - 1
            for one in used
            if one.predicted_s is not None and one.measured_s is not None
        ]
    )
    sizes = np.abs(errors)
    has = len(errors) > 0
    return KernelStratum(
        key=key,
        scope=scope,
        n=len(errors),
        n_unanswered=len(used) - len(errors),
        n_excluded=len(points) - len(used),
        error_median=float(np.median(sizes)) if has else None,
        error_mean=float(np.mean(sizes)) if has else None,
        error_p90=float(np.percentile(sizes, _PERCENTILE)) if has else None,
        bias=float(np.median(errors)) if has else None,
    )
