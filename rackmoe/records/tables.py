"""Tables that grow row by row, and all those of a run."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rackmoe.errors import InvariantError, ShapeError
from rackmoe.records.columns import (
    EXPERT_COLUMNS,
    LINK_COLUMNS,
    POWER_COLUMNS,
    REBALANCE_COLUMNS,
    REPLICA_COLUMNS,
    REQUEST_COLUMNS,
    STEP_COLUMNS,
    TABLES,
    Column,
)

__all__ = ["Records", "Table"]


class Table:
    """Rows of one table, grown one at a time at little cost.

    Values are kept as one flat run of doubles, which represents counts
    exactly up to 2**53; `to_arrays` gives each column its own type.

    Parameters
    ----------
    columns : tuple of Column
        What one row holds, in order.

    Examples
    --------
    >>> table = Table(EXPERT_COLUMNS)
    >>> table.append_row((3, 17, 9, 2, 640))
    >>> table.to_arrays()["n_assignments"]
    array([640])
    """

    __slots__ = ("_values", "_width", "columns")

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self._width = len(columns)
        self._values = array("d")

    def __len__(self) -> int:
        return len(self._values) // self._width

    def append_row(self, row: Sequence[float]) -> None:
        """Add one row.

        Parameters
        ----------
        row : sequence of float
            One value for each column, in the units of the columns; codes
            for categorical ones.

        Raises
        ------
        ShapeError
            If the row does not have one value for each column.
        """
        if len(row) != self._width:
            raise ShapeError(self._shape_problem(len(row)))
        self._values.extend(row)

    def append_columns(self, values: Mapping[str, ArrayLike]) -> None:
        """Add many rows, given as columns.

        Parameters
        ----------
        values : mapping of str to array_like of shape (n_rows,)
            A column for each name of the table, in its unit; scalars are
            repeated.

        Raises
        ------
        ShapeError
            If a column is missing or unknown, or their lengths differ.
        """
        names = {column.name for column in self.columns}
        if odd := sorted(names ^ set(values)):
            raise ShapeError(
                f"{odd[0]}: column missing or unknown; expected one array for each of"
                f" {', '.join(column.name for column in self.columns)}"
            )
        try:
            matrix = np.broadcast_arrays(
                *(np.atleast_1d(np.asarray(values[c.name], np.float64)) for c in self.columns)
            )
        except ValueError as error:
            raise ShapeError(f"columns: {error}; expected arrays of one length") from error
        self._values.frombytes(np.ascontiguousarray(np.stack(matrix, axis=1)).tobytes())

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return a copy of each column in its own type.

        Returns
        -------
        dict of str to ndarray of shape (n_rows,)
            By column name, in the unit of the column.

        Raises
        ------
        InvariantError
            If a count is not a whole number or a code has no label.
        """
        matrix = np.array(self._values, dtype=np.float64).reshape(-1, self._width)
        return {
            column.name: _typed(matrix[:, position], column)
            for position, column in enumerate(self.columns)
        }

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame, codes replaced by their labels.

        Returns
        -------
        DataFrame
            One row for each row written, in that order.
        """
        arrays = self.to_arrays()
        frame = pd.DataFrame(arrays)
        for column in self.columns:
            if column.labels:
                codes = arrays[column.name]
                frame[column.name] = pd.Categorical.from_codes(
                    codes, dtype=pd.CategoricalDtype(list(column.labels))
                )
        return frame

    def _shape_problem(self, n_values: int) -> str:
        names = ", ".join(column.name for column in self.columns)
        return f"row: {n_values} values; expected {self._width}: {names}"


def _typed(values: NDArray[np.float64], column: Column) -> NDArray[Any]:
    if column.dtype == "float64":
        return values.copy()
    wrong = ~(np.isfinite(values) & (np.rint(values) == values))
    if column.labels:
        wrong |= ~((values >= 0) & (values < len(column.labels)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvariantError(
            f"{column.name} at row {row}: {float(values[row])!r}; expected {_expectation(column)}"
        )
    return values.astype(column.dtype)


def _expectation(column: Column) -> str:
    return f"a code below {len(column.labels)}" if column.labels else "a whole number"


class Records:
    """All tables of one run.

    Parameters
    ----------
    applications : tuple of str, optional
        Names of the applications of the run: the labels of that column of requests.

    Attributes
    ----------
    requests, steps, links, experts, power, rebalances, replicas : Table
        The tables of `TABLES`, empty at first.
    """

    __slots__ = ("experts", "links", "power", "rebalances", "replicas", "requests", "steps")

    def __init__(self, applications: tuple[str, ...] = ("default",)) -> None:
        self.requests = Table(
            tuple(
                replace(column, labels=applications) if column.name == "application" else column
                for column in REQUEST_COLUMNS
            )
        )
        self.steps = Table(STEP_COLUMNS)
        self.links = Table(LINK_COLUMNS)
        self.experts = Table(EXPERT_COLUMNS)
        self.power = Table(POWER_COLUMNS)
        self.rebalances = Table(REBALANCE_COLUMNS)
        self.replicas = Table(REPLICA_COLUMNS)

    def to_frame(self, name: str) -> pd.DataFrame:
        """Return one table as a DataFrame.

        Parameters
        ----------
        name : str
            A key of `TABLES`.

        Returns
        -------
        DataFrame
            The table, categorical columns labelled.

        Raises
        ------
        KeyError
            If there is no table of that name.
        """
        if name not in TABLES:
            raise KeyError(f"{name}: no such table; expected one of {', '.join(TABLES)}")
        table: Table = getattr(self, name)
        return table.to_frame()
