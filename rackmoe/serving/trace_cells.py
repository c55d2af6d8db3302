"""What the cells of a foreign trace file say, or where they are wrong."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError

__all__ = ["TraceCells", "raise_problems"]

_MOST_TOKENS = 10**9
_MOST_PROBLEMS_SHOWN = 10


def raise_problems(problems: Iterable[str]) -> None:
    """Raise the first ten problems, if there are any.

    Parameters
    ----------
    problems : iterable of str
        Each as ``file:line: column: value; expected; remedy``.

    Raises
    ------
    TraceError
        With one line for each problem.
    """
    shown = list(itertools.islice(problems, _MOST_PROBLEMS_SHOWN))
    if shown:
        raise TraceError("\n".join(shown))


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCells:
    """The three columns that every request trace has, as they stand in the file.

    Parameters
    ----------
    place : str
        The file.
    first_line : int
        Line of the first row; rows stand on consecutive lines.
    names : tuple of str
        What the file calls arrival time, input tokens and output tokens.
    cells : tuple of sequence
        The values of these columns, as text or as JSON gave them.
    lines : ndarray of shape (n_rows,), optional
        Line of each row where they do not follow each other.
    """

    place: str
    first_line: int
    names: tuple[str, str, str]
    cells: tuple[Sequence[Any], Sequence[Any], Sequence[Any]]
    lines: NDArray[np.int64] | None = None

    def problem(self, row: int, *, column: int, expected: str) -> str:
        """Return the line that reports one bad cell.

        Parameters
        ----------
        row : int
            Row of the trace, from 0.
        column : int
            0 for the time, 1 for input and 2 for output tokens.
        expected : str
            What should be there.

        Returns
        -------
        str
            The problem in the form of all errors.
        """
        return (
            f"{self.place_of(row)}: {self.names[column]}: {self.cells[column][row]!r};"
            f" expected {expected}; repair or remove this row"
        )

    def place_of(self, row: int) -> str:
        """Return ``file:line`` of one row of the trace."""
        line = self.first_line + row if self.lines is None else self.lines[row]
        return f"{self.place}:{line}"

    def numbers(self, column: int) -> NDArray[np.float64]:
        """Return a column as numbers.

        Parameters
        ----------
        column : int
            0 for the time, 1 for input and 2 for output tokens.

        Returns
        -------
        ndarray of shape (n_rows,)
            The numbers, NaN and infinities included.

        Raises
        ------
        TraceError
            If a cell is not a number.
        """
        values = [_number(cell) for cell in self.cells[column]]
        raise_problems(
            self.problem(row, column=column, expected="a number")
            for row, value in enumerate(values)
            if value is None
        )
        return np.array(values, np.float64)

    def instants(self) -> NDArray[np.float64]:
        """Return the time column, in the unit of the file.

        Returns
        -------
        ndarray of shape (n_rows,)
            Finite and not negative.

        Raises
        ------
        TraceError
            If a cell is anything else.
        """
        values = self.numbers(0)
        raise_problems(
            self.problem(int(row), column=0, expected="a finite time of 0 or more")
            for row in np.flatnonzero(~((values >= 0) & (values < np.inf)))
        )
        return values

    def tokens(self, column: int) -> NDArray[np.int64]:
        """Return a column of token counts.

        Parameters
        ----------
        column : int
            1 for input and 2 for output tokens.

        Returns
        -------
        ndarray of shape (n_rows,)
            At least 1 each.

        Raises
        ------
        TraceError
            If a cell is anything else.
        """
        values = self.numbers(column)
        good = (values >= 1) & (values <= _MOST_TOKENS) & (np.rint(values) == values)
        raise_problems(
            self.problem(int(row), column=column, expected="a whole number of tokens, at least 1")
            for row in np.flatnonzero(~good)
        )
        return values.astype(np.int64)

    def arrivals_s(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return arrival times counted from the first one.

        Parameters
        ----------
        times_s : ndarray of shape (n_rows,)
            The time column, from any origin. [s]

        Returns
        -------
        ndarray of shape (n_rows,)
            Ascending from 0. [s]

        Raises
        ------
        TraceError
            If the rows are not in the order of their time.
        """
        times = self.cells[0]
        raise_problems(
            self.problem(
                row, column=0, expected=f"at least {times[row - 1]!r}, the time of the row before"
            )
            for row in (1 + np.flatnonzero(np.diff(times_s) < 0)).tolist()
        )
        return times_s - float(times_s[0])


def _number(cell: object) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str)):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None
