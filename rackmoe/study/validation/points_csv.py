"""The rows of a CSV file of measured points, or one clear error about what is wrong with it."""

import csv
import difflib
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rackmoe.errors import ConfigError

__all__ = ["PointColumns", "read_points"]

# Problems of a file that one error names; the rest is counted.
_MOST_PROBLEMS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PointColumns:
    """What a file of points has to look like.

    Attributes
    ----------
    required : tuple of str
        Columns that have to be there; the first one identifies a row.
    numeric : frozenset of str
        Columns whose cells are empty or a number of at least 0.
    unbounded : frozenset of str
        Those of them that may be ``inf``.
    filled : frozenset of str
        Columns in which every row needs a cell.
    example : str
        A file with these columns, for the message.
    """

    required: tuple[str, ...]
    numeric: frozenset[str]
    unbounded: frozenset[str]
    filled: frozenset[str]
    example: str


def read_points(path: str | Path, *, columns: PointColumns) -> tuple[dict[str, str], ...]:
    """Return the cells of every row, without blanks around them.

    A byte order mark, line ends of any system and empty lines at the end are accepted.

    Parameters
    ----------
    path : str or pathlib.Path
        A CSV file with a header.
    columns : PointColumns
        What it has to look like.

    Returns
    -------
    tuple of dict of str to str
        By column, in the order of the file.

    Raises
    ------
    ConfigError
        If the file cannot be read, lacks a column, has no row, or a row is damaged, has an
        id of another or a cell that is no number. Each problem names line, value and remedy.
    """
    lines = list(csv.reader(io.StringIO(_text(Path(path)), newline="")))
    header = _header(lines, path=path, columns=columns)
    rows: list[dict[str, str]] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        place = f"{path}: row {number}"
        if len(cells) != len(header):
            problems.append(
                f"{place}: {len(cells)} cells; expected {len(header)} as in the header; "
                "put quotes around cells with commas"
            )
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        problems += _problems(row, place=place, columns=columns)
        name = row[columns.required[0]]
        if name in first_line:
            problems.append(
                f"{place}: {columns.required[0]} '{name}': also in row {first_line[name]}; "
                "expected one row each; rename or remove one"
            )
        first_line.setdefault(name, number)
        rows.append(row)
    if not rows and not problems:
        problems.append(f"{path}: no row below the header; expected measured points; add some")
    if problems:
        raise ConfigError(*_shortened(problems, path=path))
    return tuple(rows)


def _text(path: Path) -> str:
    try:
        # a byte order mark is what spreadsheets put in front of UTF-8
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; expected a CSV file; check the path") from (
            error
        )
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start}: not UTF-8; expected a CSV file in UTF-8; "
            "save it as 'CSV UTF-8'"
        ) from error


def _header(
    lines: Sequence[Sequence[str]], *, path: str | Path, columns: PointColumns
) -> tuple[str, ...]:
    if not lines or not any(lines[0]):
        raise ConfigError(
            f"{path}: the file is empty; expected the columns of {columns.example}; "
            "start from a copy of that file"
        )
    header = tuple(cell.strip() for cell in lines[0])
    if missing := [name for name in columns.required if name not in header]:
        similar = _similar(missing, header=header, known=columns.required)
        raise ConfigError(
            f"{path}: no column {', '.join(missing)}; expected the columns of "
            f"{columns.example}; {similar or 'add them'}"
        )
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ConfigError(
            f"{path}: column {', '.join(twice)}: occurs twice; expected it once; remove one"
        )
    return header


def _similar(missing: Sequence[str], *, header: Sequence[str], known: Collection[str]) -> str:
    """Return which given columns may be meant by missing ones."""
    if len(header) == 1 and ";" in header[0]:
        return "separate cells by commas, not by semicolons"
    extra = [name for name in header if name not in known]
    close = {name: difflib.get_close_matches(name, extra, n=1) for name in missing}
    return ", ".join(f"rename '{found[0]}' to '{name}'" for name, found in close.items() if found)


def _problems(row: Mapping[str, str], *, place: str, columns: PointColumns) -> list[str]:
    found = [
        f"{place}: {name}: empty; expected a value in every row; fill it in"
        for name in sorted(columns.filled)
        if not row.get(name)
    ]
    for name in sorted(columns.numeric):
        text = row.get(name, "")
        if text and not _is_number(text, may_be_inf=name in columns.unbounded):
            found.append(
                f"{place}: {name}: '{text}'; expected a number of at least 0; leave the cell "
                "empty where nothing was measured"
            )
    return found


def _is_number(text: str, *, may_be_inf: bool) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return value >= 0 and (math.isfinite(value) or (may_be_inf and value > 0))


def _shortened(problems: Sequence[str], *, path: str | Path) -> list[str]:
    left = len(problems) - _MOST_PROBLEMS
    more = [f"{path}: and {left} more problems like these"] if left > 0 else []
    return [*problems[:_MOST_PROBLEMS], *more]
