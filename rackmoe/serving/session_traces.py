"""What a trace of agent sessions says: the JSONL form of TraceLab."""

import itertools
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.trace_cells import TraceCells, raise_problems
from rackmoe.serving.trace_columns import number_names
from rackmoe.serving.workload import RequestTable

__all__ = ["SESSION_BLOCK_TOKENS", "is_session_row", "read_session_rows"]

IntArray = NDArray[np.int64]

SESSION_BLOCK_TOKENS = 64
"""Tokens of the blocks into which contexts are cut; the trace itself counts tokens."""

_NAMES = ("timing_events", "input_tokens_total", "output_tokens")
_KEYS = ("provider", "session_id", "round_index", "prefix_tokens", *_NAMES)
_INPUT_EVENTS = frozenset({"user_message", "tool_result"})


def is_session_row(row: dict[str, Any]) -> bool:
    """Return whether the first line of a file is a row of this form.

    Parameters
    ----------
    row : dict
        The line.

    Returns
    -------
    bool
        Whether it is a round of a session.
    """
    return "input_tokens_total" in row


def read_session_rows(place: str, *, rows: list[dict[str, Any]]) -> RequestTable:
    """Return the requests of a trace of agent sessions.

    A round repeats the first ``prefix_tokens`` of the context before it, question and
    answer; the first round of a session those of a system prompt that all sessions of
    its ``provider`` share. It arrives when its last tool result or user message is
    there: a delay after the answer before it was complete.

    Parameters
    ----------
    place : str
        The file, for messages.
    rows : list of dict
        Rounds with ``provider``, ``session_id``, ``round_index``,
        ``input_tokens_total``, ``prefix_tokens``, ``output_tokens`` and
        ``timing_events`` (each with ``event_type`` and ``timestamp``); other keys are
        ignored.

    Returns
    -------
    RequestTable
        Sessions in the order of their start, round after round. First rounds have
        their recorded times, the others a `delay_s`; `domain` is the provider.

    Raises
    ------
    TraceError
        If a key is missing or a value is not what its key holds.
    """
    raise_problems(
        f"{place}:{number}: {name}: missing; expected {', '.join(_KEYS)};"
        " repair or remove this line"
        for number, row in enumerate(rows, start=1)
        for name in _KEYS
        if name not in row
    )
    times = [_input_and_output_s(f"{place}:{n}", row) for n, row in enumerate(rows, start=1)]
    cells = _cells(place, rows)
    n_inputs, prefixes = cells.tokens(1), _prefix_tokens(place, rows)
    # an answer that the trace counts as empty still ends with a token
    n_outputs = np.maximum(_whole_numbers(cells), 1)
    order = _order(rows, [ready_s for ready_s, _ in times])
    previous = _previous([str(rows[row]["session_id"]) for row in order])
    ready_s = np.array([times[row][0] for row in order])
    ended_s = np.array([times[row][1] for row in order])
    domain, domain_names = number_names([rows[row]["provider"] for row in order])
    is_first = previous < 0
    return RequestTable(
        arrival_s=np.where(is_first, ready_s - ready_s[0], np.nan),
        input_tokens=n_inputs[order],
        output_tokens=n_outputs[order],
        trace_row=order,
        domain=domain,
        domain_names=domain_names,
        prefixes=_blocks(
            n_inputs[order],
            n_context=(n_inputs + n_outputs)[order],
            n_prefix=prefixes[order],
            previous=previous,
            provider=domain,
        ),
        previous=previous,
        delay_s=np.where(is_first, 0.0, np.maximum(ready_s - ended_s[previous], 0.0)),
    )


def _cells(place: str, rows: list[dict[str, Any]]) -> TraceCells:
    columns = [[row[name] for row in rows] for name in _NAMES]
    return TraceCells(
        place=place, first_line=1, names=_NAMES, cells=(columns[0], columns[1], columns[2])
    )


def _whole_numbers(cells: TraceCells) -> IntArray:
    """Return the output tokens, among which the trace has some zeros."""
    values = cells.numbers(2)
    zeros = values == 0
    columns = [1 if zero else value for zero, value in zip(zeros, cells.cells[2], strict=True)]
    some = TraceCells(
        place=cells.place,
        first_line=cells.first_line,
        names=cells.names,
        cells=(cells.cells[0], cells.cells[1], columns),
    )
    return some.tokens(2)


def _prefix_tokens(place: str, rows: list[dict[str, Any]]) -> IntArray:
    values = [row["prefix_tokens"] for row in rows]
    raise_problems(
        f"{place}:{number}: prefix_tokens: {value!r}; expected 0 to input_tokens_total;"
        " repair or remove this line"
        for number, (value, row) in enumerate(zip(values, rows, strict=True), start=1)
        if type(value) is not int or not 0 <= value <= row["input_tokens_total"]
    )
    return np.array(values, np.int64)


def _input_and_output_s(place: str, row: dict[str, Any]) -> tuple[float, float]:
    """Return when the input of a round was complete, and when its answer was."""
    try:
        events = [
            (str(event["event_type"]), _instant_s(event["timestamp"]))
            for event in row["timing_events"]
        ]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise TraceError(
            f"{place}: timing_events: {type(error).__name__}: {str(error)[:60]}; expected"
            " events with event_type and timestamp; repair or remove this line"
        ) from error
    inputs = [time_s for kind, time_s in events if kind in _INPUT_EVENTS]
    outputs = [time_s for kind, time_s in events if kind not in _INPUT_EVENTS]
    if not events:
        raise TraceError(f"{place}: timing_events: none; expected at least one; remove this line")
    ready_s = max(inputs) if inputs else min(outputs)
    return ready_s, max(outputs, default=ready_s)


def _instant_s(text: str) -> float:
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=instant.tzinfo or UTC).timestamp()


def _order(rows: list[dict[str, Any]], ready_s: list[float]) -> IntArray:
    """Return the rows session by session, in the order in which sessions start."""
    start_s: dict[str, float] = {}
    for row, time_s in zip(rows, ready_s, strict=True):
        name = str(row["session_id"])
        start_s[name] = min(start_s.get(name, time_s), time_s)
    keys = [
        (start_s[str(row["session_id"])], str(row["session_id"]), time_s, number)
        for number, (row, time_s) in enumerate(zip(rows, ready_s, strict=True))
    ]
    return np.array([key[-1] for key in sorted(keys)], np.int64)


def _previous(sessions: list[str]) -> IntArray:
    same = np.array([False, *(a == b for a, b in itertools.pairwise(sessions))])
    return np.where(same, np.arange(len(sessions)) - 1, -1).astype(np.int64)


def _blocks(
    n_inputs: IntArray,
    *,
    n_context: IntArray,
    n_prefix: IntArray,
    previous: IntArray,
    provider: IntArray,
) -> PrefixBlocks:
    """Return the blocks of every context, question and answer."""
    size = SESSION_BLOCK_TOKENS
    is_first = previous < 0
    most = np.where(is_first, n_inputs, np.minimum(n_context[previous], n_inputs))
    n_shared = np.minimum(n_prefix, most) // size
    n_blocks = -(-n_context // size)
    # the system prompts come first, as long as any session has them
    n_system = np.zeros(int(provider.max()) + 1, np.int64)
    np.maximum.at(n_system, provider[is_first], n_shared[is_first])
    system_start = np.cumsum(n_system) - n_system
    next_id = n_common = int(n_system.sum())
    ids: list[IntArray] = []
    for row, (shared, total) in enumerate(zip(n_shared.tolist(), n_blocks.tolist(), strict=True)):
        start = int(system_start[provider[row]])
        before = ids[row - 1] if not is_first[row] else np.arange(start, start + shared)
        fresh = np.arange(next_id, next_id + total - shared)
        next_id += total - shared
        ids.append(np.concatenate([before[:shared], fresh]))
    return PrefixBlocks(
        offsets=np.concatenate(([0], np.cumsum(n_blocks))).astype(np.int64),
        ids=np.concatenate(ids).astype(np.int64),
        block_tokens=size,
        n_common=n_common,
    )
