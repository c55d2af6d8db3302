"""What a CSV request trace says: Azure, BurstGPT and plain columns."""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.serving.trace_cells import TraceCells, raise_problems
from rackmoe.serving.workload import RequestTable

__all__ = ["read_csv_trace"]

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,9})?")
_NS_PER_S = 1e9
# BurstGPT holds requests that failed: nothing came back (github.com/HPMLL/BurstGPT, README)
_WITH_FAILURES = "Response tokens"


def _clock_times_s(cells: TraceCells) -> NDArray[np.float64]:
    texts = [str(cell).strip().removesuffix("+00:00") for cell in cells.cells[0]]
    raise_problems(
        cells.problem(row, column=0, expected="a time in UTC such as 2023-11-16 18:15:46.68")
        for row, text in enumerate(texts)
        if not _TIMESTAMP.fullmatch(text)
    )
    try:
        times = np.array(texts, dtype="datetime64[ns]")
    except ValueError as error:  # a thirteenth month, or the like
        raise TraceError(
            f"{cells.place}: {cells.names[0]}: {error}; expected a date of the calendar;"
            " repair or remove this row"
        ) from error
    # nanoseconds since the epoch exceed the whole numbers of a double, so subtract first
    elapsed_s: NDArray[np.float64] = (times - times[0]).astype(np.int64) / _NS_PER_S
    return elapsed_s


_LAYOUTS: dict[tuple[str, str, str], Callable[[TraceCells], NDArray[np.float64]]] = {
    ("TIMESTAMP", "ContextTokens", "GeneratedTokens"): _clock_times_s,
    ("Timestamp", "Request tokens", "Response tokens"): TraceCells.instants,
    ("arrival_s", "input_tokens", "output_tokens"): TraceCells.instants,
}


def read_csv_trace(place: str, *, lines: list[str]) -> RequestTable:
    """Return the requests of a CSV trace.

    Parameters
    ----------
    place : str
        The file, for messages.
    lines : list of str
        Header and rows.

    Returns
    -------
    RequestTable
        Arrivals counted from the first one, a `trace_row` for each row. Rows of BurstGPT
        without response tokens are failed requests; they are skipped and counted.

    Raises
    ------
    TraceError
        If a column is missing or a cell is not what its column holds.
    """
    header = [name.strip() for name in lines[0].split(",")]
    names = max(_LAYOUTS, key=lambda layout: len(set(layout) & set(header)))
    if missing := [name for name in names if name not in header]:
        raise TraceError(
            f"{place}:1: columns {', '.join(header)}; missing {', '.join(missing)};"
            f" expected {' or '.join(','.join(layout) for layout in _LAYOUTS)};"
            " rename the columns"
        )
    rows = [line.split(",") for line in lines[1:]]
    if not rows:
        raise TraceError(f"{place}:1: no row; expected one for each request; check its source")
    raise_problems(
        f"{place}:{number}: {len(row)} fields; expected {len(header)}: {', '.join(header)};"
        " repair or remove this row"
        for number, row in enumerate(rows, start=2)
        if len(row) != len(header)
    )
    columns = list(zip(*rows, strict=True))
    chosen = [columns[header.index(name)] for name in names]
    kept = np.arange(len(rows))
    if names[2] == _WITH_FAILURES:
        kept = np.flatnonzero([not _is_zero(cell) for cell in chosen[2]])
    if not kept.size:
        raise TraceError(
            f"{place}: {names[2]}: 0 in all {len(rows)} rows; expected requests that were "
            "answered; check its source"
        )
    time, inputs, outputs = ([column[row] for row in kept] for column in chosen)
    cells = TraceCells(
        place=place, first_line=2, names=names, cells=(time, inputs, outputs), lines=kept + 2
    )
    input_tokens, output_tokens = cells.tokens(1), cells.tokens(2)
    return RequestTable(
        arrival_s=cells.arrivals_s(_LAYOUTS[names](cells)),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        trace_row=kept,
        n_skipped=len(rows) - kept.size,
    )


def _is_zero(cell: str) -> bool:
    """Return whether a cell is a zero, whatever its form."""
    return cell.strip(" 0.") == "" and "0" in cell
