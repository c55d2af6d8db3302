"""Read PyTorch files without PyTorch: a zip with a pickle of plain data and raw tensors."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.pickles import TensorRef, read_pickle
from rackmoe.routing.importers.zips import SafeZip, open_zip

__all__ = ["TorchFile", "open_torch"]

_PICKLE_LIMIT_BYTES = 1 << 29
_MAX_AXES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchFile:
    """An open PyTorch file.

    Attributes
    ----------
    contents : object
        Dicts, lists, numbers, text and references to tensors.
    archive : SafeZip
        The zip file.
    folder : str
        Folder of the members within it.
    byte_order : str
        ``<`` or ``>``.
    """

    contents: Any
    archive: SafeZip
    folder: str
    byte_order: str

    def array(self, tensor: object, *, place: str, n_axes: int) -> NDArray[np.int64]:
        """Return a tensor of integers.

        Parameters
        ----------
        tensor : object
            What should be a `TensorRef` of `contents`.
        place : str
            Where it stands, for the message.
        n_axes : int
            Axes that it must have.

        Returns
        -------
        ndarray of n_axes axes, integer
            A copy of its numbers.

        Raises
        ------
        TraceError
            If it is none, lies outside its storage, or repeats elements.
        """
        if not isinstance(tensor, TensorRef) or tensor.storage.dtype[0] not in "iu":
            raise TraceError(
                f"{place}: not a tensor of integers; expected {n_axes} axes of them; "
                "check the mode of the recorder"
            )
        if len(tensor.shape) != n_axes or len(tensor.strides) != n_axes or n_axes > _MAX_AXES:
            raise TraceError(
                f"{place}: shape {str(tensor.shape)[:60]}; expected {n_axes} axes; "
                "check the mode of the recorder"
            )
        return self._read(tensor, place=place)

    def _read(self, tensor: TensorRef, *, place: str) -> NDArray[Any]:
        storage = tensor.storage
        dtype = np.dtype(self.byte_order + storage.dtype)
        member = f"{self.folder}data/{storage.key}"
        info = self.archive.members.get(member)
        n_bytes = -1 if info is None else info.file_size
        if n_bytes != storage.n_elements * dtype.itemsize:
            raise TraceError(
                f"{place}: {n_bytes} bytes in data/{storage.key[:20]}; expected "
                f"{storage.n_elements} elements of {dtype.itemsize} bytes; copy the file again"
            )
        if not _fits(tensor):
            raise TraceError(
                f"{place}: shape {tensor.shape}, strides {tensor.strides} from {tensor.offset} "
                f"of {storage.n_elements} elements; expected a view inside it; do not trust it"
            )
        if not math.prod(tensor.shape):
            return np.empty(tensor.shape, dtype)
        flat = np.frombuffer(self.archive.read(member), dtype)[tensor.offset :]
        strides = [stride * dtype.itemsize for stride in tensor.strides]
        view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
        return view.astype(dtype.newbyteorder("="), order="C")


@contextmanager
def open_torch(path: Path) -> Iterator[TorchFile]:
    """Open a file that ``torch.save`` wrote.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Yields
    ------
    TorchFile
        The open file.

    Raises
    ------
    TraceError
        If it is no such file, or asks for more than data.
    """
    with open_zip(path) as archive:
        pickles = [name for name in archive.members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise TraceError(
                f"{path.name}: {len(pickles)} files data.pkl; expected one; "
                "save it with torch.save of version 1.6 or later"
            )
        size_bytes = archive.members[pickles[0]].file_size
        if size_bytes > _PICKLE_LIMIT_BYTES:
            raise TraceError(
                f"{path.name}: data.pkl of {size_bytes} bytes; expected at most "
                f"{_PICKLE_LIMIT_BYTES}; record fewer passes"
            )
        folder = pickles[0].removesuffix("data.pkl")
        order = b"little"
        if f"{folder}byteorder" in archive.members:
            order = archive.read(f"{folder}byteorder", limit_bytes=len(order))
        yield TorchFile(
            contents=read_pickle(archive.read(pickles[0]), place=f"{path.name}: data.pkl"),
            archive=archive,
            folder=folder,
            byte_order=">" if order == b"big" else "<",
        )


def _fits(tensor: TensorRef) -> bool:
    """Whether a view lies in its storage and shows no element so often that it grows."""
    axes = [*tensor.shape, *tensor.strides, tensor.offset, tensor.storage.n_elements]
    if min(axes) < 0 or math.prod(tensor.shape) > tensor.storage.n_elements:
        return False
    if not math.prod(tensor.shape):
        return True
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((n - 1) * stride for n, stride in steps)
    return last < tensor.storage.n_elements
