"""Keep what a memory-mapped trace holds in memory small."""

import mmap
from typing import Any

from numpy.typing import NDArray

__all__ = ["PageRelease"]

_HELD_BYTES = 64 * 2**20
_AROUND_BYTES = 64 * 2**10  # what Linux maps around a page that is asked for


class PageRelease:
    """Gives the pages of a mapped file back once enough of them were read.

    A mapped page counts as memory of the process until the system takes it back, so that
    a long replay would end up with the whole file. What is given back stays in the cache
    of the system. Arrays that are not mapped are left alone.

    Parameters
    ----------
    array : ndarray
        What is read, by rows of its first axis; a view of a mapped array is one too.
    held_bytes : int
        What may be held until pages are given back. [B]
    """

    def __init__(self, array: NDArray[Any], *, held_bytes: int = _HELD_BYTES) -> None:
        self._file = _mapped_file(array)
        self._held_bytes = held_bytes
        self._row_bytes = array.nbytes // max(1, array.shape[0])
        self._read_bytes = 0

    def read(self, n_rows: int, *, in_order: bool = False) -> None:
        """Take note of rows that were read.

        Parameters
        ----------
        n_rows : int
            How many.
        in_order : bool
            Whether one lies behind the other; otherwise each brings its neighborhood.
        """
        if self._file is None:
            return
        per_row = self._row_bytes if in_order else max(self._row_bytes, _AROUND_BYTES)
        self._read_bytes += n_rows * per_row
        if self._read_bytes >= self._held_bytes:
            self._file.madvise(mmap.MADV_DONTNEED)
            self._read_bytes = 0


def _mapped_file(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the mapping that an array is a view of; None where the system cannot release."""
    base: object = array
    while base is not None and hasattr(mmap, "MADV_DONTNEED"):
        if isinstance(base, mmap.mmap):
            return base
        base = getattr(base, "base", None)
    return None
