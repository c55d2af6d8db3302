"""Which requests were recorded: request traces by the form of their file."""

import gzip
import zlib
from pathlib import Path

from rackmoe.errors import TraceError
from rackmoe.serving.csv_traces import read_csv_trace
from rackmoe.serving.jsonl_traces import read_jsonl_trace
from rackmoe.serving.workload import RequestTable

__all__ = ["load_request_trace"]

_READERS = {".csv": read_csv_trace, ".jsonl": read_jsonl_trace}


def load_request_trace(path: Path | str) -> RequestTable:
    """Read a recorded request trace.

    Parameters
    ----------
    path : Path or str
        A CSV file with the columns of the Azure LLM inference traces
        (``TIMESTAMP,ContextTokens,GeneratedTokens``), of BurstGPT
        (``Timestamp,Request tokens,Response tokens``, seconds) or
        ``arrival_s,input_tokens,output_tokens``; or a JSONL file in the form of
        the Mooncake traces, an object a line with ``timestamp`` (milliseconds),
        ``input_length``, ``output_length`` and optionally ``hash_ids`` and
        ``domain``. Either may be compressed (``.gz``).

    Returns
    -------
    RequestTable
        Arrivals counted from the first one, `trace_row` the row of the file.

    Raises
    ------
    TraceError
        If the file is missing, damaged, empty or out of order, or if a value is
        not what its column holds; up to ten problems at once, each as
        ``file:line: column: value; expected; remedy``.

    Notes
    -----
    A first JSONL line without ``timestamp`` is a header; its ``block_size`` sets
    the prompt tokens of a hash id, otherwise 512.
    """
    path = Path(path)
    suffix = path.suffixes[-2] if path.suffix == ".gz" and path.suffixes[1:] else path.suffix
    reader = _READERS.get(suffix)
    if reader is None:
        raise TraceError(
            f"{path}: '{suffix}' is no request trace; expected .csv or .jsonl,"
            " each also as .gz; convert the file"
        )
    lines = _read_text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise TraceError(f"{path}: empty file; expected a row for each request; check its source")
    return reader(str(path), lines=lines)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TraceError(
            f"{path}: {error.strerror or error}; expected a readable request trace; check the path"
        ) from error
    try:
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(
            f"{path}: damaged gzip data ({error}); expected a complete .gz file; copy it again"
        ) from error
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path}: byte {error.start} is not UTF-8; expected text; convert the file"
        ) from error
