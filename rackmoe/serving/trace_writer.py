"""How requests are written down: the JSONL form that every reader of ours understands."""

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rackmoe.errors import TraceError
from rackmoe.serving.workload import RequestTable

__all__ = ["write_request_trace"]

_MS_PER_S = 1e3
_PLACES = 6


def write_request_trace(requests: RequestTable, *, path: Path | str) -> None:
    """Write a request trace in the form of the Mooncake traces and more.

    The first line is a header with ``block_size``; then follows an object for each
    request: ``timestamp`` [ms], ``input_length``, ``output_length`` and, where there
    are such, ``hash_ids``, ``domain``, ``application``, ``parent`` (number of the
    turn before, from 0) and ``delay_ms``. A later turn that arrives when its session
    is ready has no timestamp. The application is for people: readers leave it alone.

    Parameters
    ----------
    requests : RequestTable
        The requests, of which none waits for a place in a closed loop.
    path : Path or str
        File to write, compressed where it ends in ``.gz``.

    Raises
    ------
    TraceError
        If a first turn has no arrival time, or the file cannot be written.
    """
    path = Path(path)
    if (np.isnan(requests.arrival_s) & (requests.previous < 0)).any():
        raise TraceError(
            f"{path}: requests of a closed loop have no arrival times; expected recorded ones;"
            " write the requests of a run"
        )
    text = "".join(f"{json.dumps(row, separators=(', ', ': '))}\n" for row in _rows(requests))
    data = text.encode("utf-8")
    try:
        # without a time in it, equal requests give equal files
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    except OSError as error:
        raise TraceError(
            f"{path}: {error.strerror or error}; expected a writable path; check it"
        ) from error


def _rows(requests: RequestTable) -> Iterator[dict[str, object]]:
    prefixes = requests.prefixes
    yield {"schema": "rackmoe/requests/1"} | (
        {} if prefixes is None else {"block_size": prefixes.block_tokens}
    )
    arrival_ms = np.round(requests.arrival_s * _MS_PER_S, _PLACES).tolist()
    delay_ms = np.round(requests.delay_s * _MS_PER_S, _PLACES).tolist()
    inputs, outputs = requests.input_tokens.tolist(), requests.output_tokens.tolist()
    previous, domain = requests.previous.tolist(), requests.domain.tolist()
    has_applications = len(requests.application_names) > 1
    application = requests.application.tolist()
    for row in range(len(requests)):
        cells: dict[str, object] = {}
        if not math.isnan(arrival_ms[row]):
            cells["timestamp"] = arrival_ms[row]
        cells |= {"input_length": inputs[row], "output_length": outputs[row]}
        if prefixes is not None:
            n_blocks = -(-inputs[row] // prefixes.block_tokens)
            cells["hash_ids"] = prefixes.of(row)[:n_blocks].tolist()
        if domain[row] >= 0:
            cells["domain"] = requests.domain_names[domain[row]]
        if has_applications:
            cells["application"] = requests.application_names[application[row]]
        if previous[row] >= 0:
            cells |= {"parent": previous[row], "delay_ms": delay_ms[row]}
        yield cells
