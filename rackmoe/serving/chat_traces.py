"""What a trace of chats says: the JSONL form of the Qwen-Bailian traces."""

from typing import Any

import numpy as np

from rackmoe.serving.trace_cells import TraceCells, raise_problems
from rackmoe.serving.trace_columns import number_blocks, number_names
from rackmoe.serving.workload import RequestTable

__all__ = ["BAILIAN_BLOCK_TOKENS", "is_chat_row", "read_chat_rows"]

BAILIAN_BLOCK_TOKENS = 16
"""Prompt tokens of one hash id in the Qwen-Bailian traces."""

_NAMES = ("timestamp", "input_length", "output_length")
_KEYS = ("chat_id", "parent_chat_id", *_NAMES)


def is_chat_row(row: dict[str, Any]) -> bool:
    """Return whether the first line of a file is a row of this form.

    Parameters
    ----------
    row : dict
        The line.

    Returns
    -------
    bool
        Whether it names a chat.
    """
    return "chat_id" in row


def read_chat_rows(place: str, *, rows: list[dict[str, Any]]) -> RequestTable:
    """Return the requests of a trace of chats.

    Parameters
    ----------
    place : str
        The file, for messages.
    rows : list of dict
        ``chat_id``, ``parent_chat_id`` (-1 for none), ``timestamp`` (seconds),
        ``input_length``, ``output_length`` and optionally ``type`` and ``hash_ids``
        (blocks of 16 tokens); other keys are ignored.

    Returns
    -------
    RequestTable
        Every request at its recorded time; `domain` is the type. `delay_s` is the
        time since the turn before *arrived*, because the trace does not say when it
        ended: chains made of it are a little slower than their users. [s]

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
    time, inputs, outputs = ([row[name] for row in rows] for name in _NAMES)
    cells = TraceCells(place=place, first_line=1, names=_NAMES, cells=(time, inputs, outputs))
    input_tokens = cells.tokens(1)
    arrival_s = cells.arrivals_s(cells.instants())
    # a chat of before the trace began has no row
    row_of = {str(row["chat_id"]): number for number, row in enumerate(rows)}
    parents = [row_of.get(str(row["parent_chat_id"]), -1) for row in rows]
    previous = np.array(parents, np.int64)
    previous[previous >= np.arange(len(rows))] = -1
    domain, domain_names = number_names([row.get("type") for row in rows])
    return RequestTable(
        arrival_s=arrival_s,
        input_tokens=input_tokens,
        output_tokens=cells.tokens(2),
        trace_row=np.arange(len(rows), dtype=np.int64),
        domain=domain,
        domain_names=domain_names,
        prefixes=number_blocks(
            cells,
            hash_ids=[row.get("hash_ids", []) for row in rows],
            input_tokens=input_tokens,
            block_tokens=BAILIAN_BLOCK_TOKENS,
        ),
        previous=previous,
        delay_s=np.where(previous < 0, 0.0, arrival_s - arrival_s[previous]),
    )
