"""Read NumPy's npy and npz files: numbers and text only, sizes checked before memory is taken."""

import ast
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.zips import SafeZip

__all__ = ["NPY_MAGIC", "map_npy", "npy_names", "parse_npy", "read_npz_array"]

NPY_MAGIC = b"\x93NUMPY"

_HEADER_LIMIT_BYTES = 1 << 14
_MAX_AXES = 8
_WIDTHS = {(1, 0): 2, (2, 0): 4}  # bytes of the header's length by version (numpy.lib.format)
_DTYPE = re.compile(r"[<>|=](?:[iuf][1248]|b1|U[0-9]{1,6})")
_KEYS = {"descr", "fortran_order", "shape"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """What the header of an npy file says.

    Attributes
    ----------
    dtype : numpy.dtype
        Type of the numbers.
    shape : tuple of int
        Shape.
    order : str
        ``C`` or ``F``.
    offset_bytes : int
        Where the numbers begin. [B]
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: str
    offset_bytes: int

    @property
    def n_bytes(self) -> int:
        """Size of the numbers in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_npy(data: bytes, *, place: str) -> NDArray[Any]:
    """Return the array in the bytes of an npy file.

    Parameters
    ----------
    data : bytes
        The whole file.
    place : str
        Where it stands, for the message.

    Returns
    -------
    ndarray
        The array, read-only.

    Raises
    ------
    TraceError
        If the bytes are not an array of plain numbers or text of that size.
    """
    layout = _layout(data[:_HEADER_LIMIT_BYTES], n_bytes=len(data), place=place)
    flat = np.frombuffer(
        data, dtype=layout.dtype, count=math.prod(layout.shape), offset=layout.offset_bytes
    )
    return flat.reshape(layout.shape, order="F" if layout.order == "F" else "C")


def map_npy(path: Path) -> NDArray[Any]:
    """Return the array of an npy file, memory-mapped.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    ndarray
        The array, read-only.

    Raises
    ------
    TraceError
        If the file is not an array of plain numbers or text of that size.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEADER_LIMIT_BYTES)
        n_bytes = path.stat().st_size
    except OSError as error:
        raise TraceError(
            f"{path.name}: cannot be read ({error.strerror}); expected .npy; check the path"
        ) from error
    layout = _layout(head, n_bytes=n_bytes, place=path.name)
    if not layout.n_bytes:
        return np.empty(layout.shape, layout.dtype)
    return np.memmap(
        path,
        dtype=layout.dtype,
        mode="r",
        offset=layout.offset_bytes,
        shape=layout.shape,
        order="F" if layout.order == "F" else "C",
    )


def npy_names(archive: SafeZip) -> list[str]:
    """Return the names of the arrays in an npz file.

    Parameters
    ----------
    archive : SafeZip
        The open file.

    Returns
    -------
    list of str
        Names without the ending ``.npy``, in the order of the file.
    """
    return [name.removesuffix(".npy") for name in archive.members if name.endswith(".npy")]


def read_npz_array(archive: SafeZip, *, name: str) -> NDArray[Any]:
    """Return one array of an npz file.

    Parameters
    ----------
    archive : SafeZip
        The open file.
    name : str
        Name of the array.

    Returns
    -------
    ndarray
        The array, read-only.

    Raises
    ------
    TraceError
        If there is none of that name, or it is not of plain numbers or text.
    """
    member = f"{name}.npy"
    place = f"{archive.place}: {name}"
    head = archive.read(member, limit_bytes=_HEADER_LIMIT_BYTES)
    _layout(head, n_bytes=archive.members[member].file_size, place=place)
    return parse_npy(archive.read(member), place=place)


def _layout(head: bytes, *, n_bytes: int, place: str) -> _Layout:
    version = tuple(head[len(NPY_MAGIC) : len(NPY_MAGIC) + 2])
    if not head.startswith(NPY_MAGIC) or version not in _WIDTHS:
        raise TraceError(
            f"{place}: begins with {head[:8]!r}; expected an .npy file of version 1 or 2; "
            "save it with numpy.save"
        )
    start = len(NPY_MAGIC) + 2 + _WIDTHS[version]
    n_text = int.from_bytes(head[len(NPY_MAGIC) + 2 : start], "little")
    layout = _parse_header(head[start : start + n_text], offset_bytes=start + n_text, place=place)
    if start + n_text > len(head) or layout.n_bytes != n_bytes - layout.offset_bytes:
        raise TraceError(
            f"{place}: {n_bytes} bytes for shape {layout.shape} of {layout.dtype}; "
            f"expected {layout.offset_bytes + layout.n_bytes}; copy the file again"
        )
    return layout


def _parse_header(text: bytes, *, offset_bytes: int, place: str) -> _Layout:
    try:
        header = ast.literal_eval(text.decode("latin-1").strip())
        descr, shape = header["descr"], header["shape"]
        is_plain = set(header) == _KEYS and isinstance(descr, str) and isinstance(shape, tuple)
        is_sound = len(shape) <= _MAX_AXES and all(type(n) is int and n >= 0 for n in shape)
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise TraceError(
            f"{place}: unreadable header; expected an .npy file; save it with numpy.save"
        ) from error
    if not is_plain or not is_sound or not _DTYPE.fullmatch(descr):
        raise TraceError(
            f"{place}: array of {str(descr)[:20]!r}, shape {str(shape)[:60]}; expected plain "
            "integers, floats or text; save it without objects"
        )
    order = "F" if header["fortran_order"] is True else "C"
    return _Layout(dtype=np.dtype(descr), shape=shape, order=order, offset_bytes=offset_bytes)
