"""Read safetensors files: an eight-byte length, a JSON header, raw numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import parse_json
from rackmoe.routing.importers.values import is_count

__all__ = ["read_safetensors"]

_LENGTH_BYTES = 8
_HEADER_LIMIT_BYTES = 100_000_000  # the format's own limit (safetensors README, "Format")
_MAX_AXES = 8
_MAX_SHOWN = 40
_DTYPES = {
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
}


def read_safetensors(path: Path) -> dict[str, NDArray[np.integer]]:
    """Return the integer tensors of a safetensors file, memory-mapped.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    dict of str to ndarray
        Tensors by name, read-only.

    Raises
    ------
    TraceError
        If the file is damaged, a tensor lies outside it, or holds no integers.
    """
    try:
        n_bytes = path.stat().st_size
        with path.open("rb") as stream:
            n_header = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            is_short = n_bytes < _LENGTH_BYTES or n_header > n_bytes - _LENGTH_BYTES
            if is_short or n_header > _HEADER_LIMIT_BYTES:
                raise TraceError(
                    f"{path.name}: header of {n_header} bytes in a file of {n_bytes}; "
                    "expected a safetensors file; copy it again"
                )
            header = parse_json(stream.read(n_header), place=f"{path.name}: header")
    except OSError as error:
        raise TraceError(
            f"{path.name}: cannot be read ({error.strerror}); expected a safetensors file; "
            "check the path"
        ) from error
    if not isinstance(header, dict):
        raise TraceError(f"{path.name}: header is no mapping; expected tensors; copy it again")
    start = _LENGTH_BYTES + n_header
    buffer = (
        np.memmap(path, dtype=np.uint8, mode="r", offset=start)
        if n_bytes > start
        else np.empty(0, np.uint8)
    )
    return {
        name: _view(entry, buffer=buffer, place=f"{path.name}: {name[:_MAX_SHOWN]!r}")
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _view(entry: object, *, buffer: NDArray[np.uint8], place: str) -> NDArray[np.integer]:
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    dtype, shape, span = (fields.get(name) for name in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise TraceError(
            f"{place}: dtype {str(dtype)[:20]!r}; expected integers; check what was recorded"
        )
    sizes, ends = _counts(shape), _counts(span)
    if sizes is None or ends is None or len(ends) != 2:  # noqa: PLR2004 - from and to
        raise TraceError(
            f"{place}: no shape and data_offsets of whole numbers; expected both; copy it again"
        )
    first, last = ends
    n_elements = math.prod(sizes)
    needed_bytes = n_elements * np.dtype(_DTYPES[dtype]).itemsize
    if last > buffer.size or last - first != needed_bytes:
        raise TraceError(
            f"{place}: bytes {first} to {last} of {buffer.size} for shape {sizes} of {dtype}; "
            f"expected {needed_bytes} bytes inside the file; copy it again"
        )
    return np.frombuffer(buffer[first:last], _DTYPES[dtype]).reshape(sizes)


def _counts(value: object) -> list[int] | None:
    is_list = isinstance(value, list) and len(value) <= _MAX_AXES and all(map(is_count, value))
    return list(value) if is_list and isinstance(value, list) else None
