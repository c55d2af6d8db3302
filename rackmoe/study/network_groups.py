"""Which measured rows belong to one kernel, and which of them a fit does not see."""

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache

from rackmoe.backend.collectives import CollectiveKey
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.network_cases import (
    ANY_OPERATION,
    CollectiveCase,
    ExchangeCase,
    Measurement,
    split_rows,
)
from rackmoe.study.network_tables import read_measurements

__all__ = [
    "CALIBRATION_FILES",
    "MIN_SCALED",
    "RowGroup",
    "fitted_rows",
    "row_groups",
    "split_group",
]

_FOLDER = "scenarios/calibration"
CALIBRATION_FILES = (
    "kernels/alltoall_gb200.csv",
    "kernels/alltoall_h200.csv",
    "kernels/collectives.csv",
    "communication_points.csv",
)
# More rows than this are halved: one half is fitted, the other tests the fit.
_MIN_SPLIT = 40
# Kernels with fewer rows have no constants of their own.
MIN_SCALED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Rows of one kernel on one machine.

    Attributes
    ----------
    profile : str
        Hardware profile.
    key : CollectiveKey
        What was measured.
    file : str
        The table that the rows come from.
    rows : tuple of Measurement
        The rows.
    """

    profile: str
    key: CollectiveKey
    file: str
    rows: tuple[Measurement, ...]


@cache
def fitted_rows() -> dict[str, str]:
    """Return which rows of the shipped tables the constants rest on.

    Returns
    -------
    dict of str to str
        ``fitted`` or ``held out`` by `Measurement.fingerprint`; a row that no constants
        were fitted to (the only one of its kernel) is absent.
    """
    roles: dict[str, str] = {}
    for group in row_groups():
        if len(group.rows) >= MIN_SCALED:
            fitted, held = split_group(group)
            roles |= {row.fingerprint: "fitted" for row in fitted}
            roles |= {row.fingerprint: "held out" for row in held}
    return roles


def row_groups() -> list[RowGroup]:
    """Return the rows of all tables by machine and kernel, each row once.

    Returns
    -------
    list of RowGroup
        In the order of the tables.
    """
    folder = shipped_folder(_FOLDER)
    found: dict[tuple[str, CollectiveKey], list[Measurement]] = defaultdict(list)
    files: dict[tuple[str, CollectiveKey], str] = {}
    for file in CALIBRATION_FILES:
        for row in read_measurements(folder / file):
            if row.case is None:
                continue
            at = (row.hardware, _fit_key(row.case))
            if files.setdefault(at, file) == file:
                found[at].append(row)
    return [
        RowGroup(profile=profile, key=key, file=files[profile, key], rows=tuple(rows))
        for (profile, key), rows in found.items()
    ]


def _fit_key(case: ExchangeCase | CollectiveCase) -> CollectiveKey:
    """Return what the constants of a case are called; some serve several operations."""
    is_shared = isinstance(case, ExchangeCase) and not case.key.dtype
    return replace(case.key, operation=ANY_OPERATION) if is_shared else case.key


def split_group(group: RowGroup) -> tuple[list[Measurement], list[Measurement]]:
    """Return the rows to fit and the rows to test.

    Parameters
    ----------
    group : RowGroup
        Rows of a kernel; few of them are all fitted.

    Returns
    -------
    tuple of two lists of Measurement
        Fitted, and held out.
    """
    if len(group.rows) < _MIN_SPLIT:
        return list(group.rows), []
    return split_rows(group.rows)
