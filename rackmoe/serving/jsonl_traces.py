"""What a JSONL request trace says: our own form, of which Mooncake's is a part, and others."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.serving.chat_traces import is_chat_row, read_chat_rows
from rackmoe.serving.session_traces import is_session_row, read_session_rows
from rackmoe.serving.trace_cells import TraceCells, raise_problems
from rackmoe.serving.trace_columns import number_blocks, number_names
from rackmoe.serving.workload import RequestTable

__all__ = ["MOONCAKE_BLOCK_TOKENS", "read_jsonl_trace"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MOONCAKE_BLOCK_TOKENS = 512
"""Prompt tokens of one hash id in the public Mooncake traces (FAST '25)."""

_NAMES = ("timestamp", "input_length", "output_length")
_S_PER_MS = 1e-3


def read_jsonl_trace(place: str, *, lines: list[str]) -> RequestTable:
    """Return the requests of a JSONL trace.

    Parameters
    ----------
    place : str
        The file, for messages.
    lines : list of str
        A JSON object each; a first one without ``input_length`` is a header, whose
        ``block_size`` sets the prompt tokens of a hash id.

    Returns
    -------
    RequestTable
        Arrivals counted from the first one, a `trace_row` for each row, with
        domains, prompt blocks and sessions where the file has them.

    Raises
    ------
    TraceError
        If a line is damaged, a key is missing or a value is not what its key holds.
    """
    problems: list[str] = []
    rows = [_parse_line(f"{place}:{n}", line, problems) for n, line in enumerate(lines, start=1)]
    raise_problems(problems)
    if is_chat_row(rows[0]):
        return read_chat_rows(place, rows=rows)
    if is_session_row(rows[0]):
        return read_session_rows(place, rows=rows)
    has_header = "timestamp" not in rows[0] and "input_length" not in rows[0]
    header = rows.pop(0) if has_header else {}
    if not rows:
        raise TraceError(f"{place}:1: no request; expected one a line; check its source")
    return _read_rows(place, header, rows, first_line=2 if has_header else 1)


def _read_rows(
    place: str, header: dict[str, Any], rows: list[dict[str, Any]], *, first_line: int
) -> RequestTable:
    previous = _previous(place, rows, first_line=first_line)
    # a later turn without a time arrives when its session is ready for it
    is_later = (previous >= 0) & np.array([row.get("timestamp") is None for row in rows])
    raise_problems(
        f"{place}:{number}: {name}: missing; expected {', '.join(_NAMES)};"
        " repair or remove this line"
        for number, row in enumerate(rows, start=first_line)
        for name in _NAMES
        if name not in row and not (name == "timestamp" and is_later[number - first_line])
    )
    time, inputs, outputs = ([row.get(name) for row in rows] for name in _NAMES)
    cells = TraceCells(
        place=place, first_line=first_line, names=_NAMES, cells=(time, inputs, outputs)
    )
    input_tokens, output_tokens = cells.tokens(1), cells.tokens(2)
    domain, domain_names = number_names([row.get("domain") for row in rows])
    return RequestTable(
        arrival_s=_arrivals_s(cells, is_later),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        trace_row=np.arange(len(rows), dtype=np.int64),
        domain=domain,
        domain_names=domain_names,
        prefixes=number_blocks(
            cells,
            hash_ids=[row.get("hash_ids", []) for row in rows],
            input_tokens=input_tokens,
            block_tokens=_block_tokens(place, header),
        ),
        previous=previous,
        delay_s=_delays_s(place, rows, first_line=first_line),
    )


def _arrivals_s(cells: TraceCells, is_later: NDArray[np.bool_]) -> FloatArray:
    """Return the arrivals of first turns and of others with a time; NaN for the rest."""
    if not is_later.any():
        return cells.arrivals_s(cells.instants() * _S_PER_MS)
    timed = np.flatnonzero(~is_later)
    columns = [[column[row] for row in timed.tolist()] for column in cells.cells]
    some = TraceCells(
        place=cells.place,
        first_line=cells.first_line,
        names=cells.names,
        cells=(columns[0], columns[1], columns[2]),
        lines=cells.first_line + timed,
    )
    arrival_s = np.full(is_later.size, np.nan)
    arrival_s[timed] = some.arrivals_s(some.instants() * _S_PER_MS)
    return arrival_s


def _previous(place: str, rows: list[dict[str, Any]], *, first_line: int) -> IntArray:
    """Return the turn before each row: ``parent``, or the last one of its ``session_id``."""
    latest: dict[str, int] = {}
    previous = np.full(len(rows), -1, np.int64)
    problems = []
    for row, cells in enumerate(rows):
        parent = cells.get("parent")
        if parent is not None:
            if type(parent) is not int or not -1 <= parent < row:
                problems.append(
                    f"{place}:{first_line + row}: parent: {parent!r}; expected the number of an"
                    " earlier request, from 0, or -1; repair or remove this line"
                )
                continue
            previous[row] = parent
        elif cells.get("session_id") is not None:
            previous[row] = latest.get(str(cells["session_id"]), -1)
        if cells.get("session_id") is not None:
            latest[str(cells["session_id"])] = row
    raise_problems(problems)
    return previous


def _delays_s(place: str, rows: list[dict[str, Any]], *, first_line: int) -> FloatArray:
    values = [row.get("delay_ms", 0) for row in rows]
    raise_problems(
        f"{place}:{number}: delay_ms: {value!r}; expected a finite number of 0 or more;"
        " repair or remove this line"
        for number, value in enumerate(values, start=first_line)
        if type(value) not in (int, float) or not 0 <= value < np.inf
    )
    return np.array(values, np.float64) * _S_PER_MS


def _parse_line(place: str, line: str, problems: list[str]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        problems.append(f"{place}: {error}; expected a JSON object; repair or remove this line")
        return {}
    if not isinstance(row, dict):
        problems.append(f"{place}: {line[:40]!r}; expected a JSON object; remove this line")
        return {}
    return row


def _block_tokens(place: str, header: dict[str, Any]) -> int:
    value = header.get("block_size", MOONCAKE_BLOCK_TOKENS)
    if not isinstance(value, int) or value < 1:
        raise TraceError(
            f"{place}:1: block_size: {value!r}; expected the prompt tokens of a hash id;"
            f" write for example {MOONCAKE_BLOCK_TOKENS}"
        )
    return value
