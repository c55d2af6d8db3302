"""What a JSONL request trace says: the form of the Mooncake traces."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.trace_cells import TraceCells, raise_problems
from rackmoe.serving.workload import RequestTable

__all__ = ["MOONCAKE_BLOCK_TOKENS", "read_jsonl_trace"]

IntArray = NDArray[np.int64]

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
        A JSON object each; a first one without ``timestamp`` is a header, whose
        ``block_size`` sets the prompt tokens of a hash id.

    Returns
    -------
    RequestTable
        Arrivals counted from the first one, a `trace_row` for each row, with
        domains and prefix blocks where the file has them.

    Raises
    ------
    TraceError
        If a line is damaged, a key is missing or a value is not what its key holds.
    """
    problems: list[str] = []
    rows = [_parse_line(f"{place}:{n}", line, problems) for n, line in enumerate(lines, start=1)]
    raise_problems(problems)
    header = {} if "timestamp" in rows[0] else rows.pop(0)
    if not rows:
        raise TraceError(f"{place}:1: no request; expected one a line; check its source")
    first_line = 1 + len(lines) - len(rows)
    raise_problems(
        f"{place}:{number}: {name}: missing; expected {', '.join(_NAMES)};"
        " repair or remove this line"
        for number, row in enumerate(rows, start=first_line)
        for name in _NAMES
        if name not in row
    )
    time, inputs, outputs = ([row[name] for row in rows] for name in _NAMES)
    cells = TraceCells(
        place=place, first_line=first_line, names=_NAMES, cells=(time, inputs, outputs)
    )
    input_tokens, output_tokens = cells.tokens(1), cells.tokens(2)
    block_tokens = _block_tokens(place, header)
    prefixes = _prefixes(
        cells, [row.get("hash_ids", []) for row in rows], input_tokens, block_tokens
    )
    domain, domain_names = _domains([row.get("domain") for row in rows])
    return RequestTable(
        arrival_s=cells.arrivals_s(cells.instants() * _S_PER_MS),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        trace_row=np.arange(len(rows), dtype=np.int64),
        domain=domain,
        domain_names=domain_names,
        prefixes=prefixes,
    )


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


def _prefixes(
    cells: TraceCells, hash_ids: Sequence[Any], input_tokens: IntArray, block_tokens: int
) -> PrefixBlocks | None:
    raise_problems(
        f"{cells.place_of(row)}: hash_ids: {str(ids)[:40]}; expected a list of whole numbers;"
        " repair or remove this line"
        for row, ids in enumerate(hash_ids)
        if not isinstance(ids, list) or not all(type(value) is int for value in ids)
    )
    if not any(hash_ids):
        return None
    n_blocks = np.array([len(ids) for ids in hash_ids], np.int64)
    most = -(-input_tokens // block_tokens)
    raise_problems(
        f"{cells.place_of(int(row))}: hash_ids: {n_blocks[row]} blocks; expected at most"
        f" {most[row]} of {block_tokens} tokens for {input_tokens[row]} input tokens;"
        " set block_size in a header line"
        for row in np.flatnonzero(n_blocks > most)
    )
    offsets = np.concatenate(([0], np.cumsum(n_blocks))).astype(np.int64)
    # ids of other traces are 64-bit hashes: number them in the order of their first appearance
    numbers: dict[int, int] = {}
    flat = itertools.chain.from_iterable(hash_ids)
    ids = np.fromiter((numbers.setdefault(i, len(numbers)) for i in flat), np.int64)
    return PrefixBlocks(offsets=offsets, ids=ids, block_tokens=block_tokens)


def _domains(values: Sequence[Any]) -> tuple[IntArray, tuple[str, ...]]:
    names = tuple(dict.fromkeys(str(value) for value in values if value is not None))
    codes = {name: code for code, name in enumerate(names)}
    codes_of_rows = (-1 if value is None else codes[str(value)] for value in values)
    return np.fromiter(codes_of_rows, np.int64, len(values)), names
