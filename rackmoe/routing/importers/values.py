"""Take integers, lists of them and fields from data of strangers, or say what is wrong."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError

__all__ = ["field_of", "integer_array", "is_count"]

_MAX_SHOWN = 60
_MAX_COUNT = 2**48  # what no trace reaches, and what sums of counts stay in int64 with


def integer_array(value: object, *, place: str, n_axes: int) -> NDArray[np.int64]:
    """Return nested lists of integers as an array.

    Parameters
    ----------
    value : object
        The lists.
    place : str
        Where they stand, for the message.
    n_axes : int
        Depth of the lists.

    Returns
    -------
    ndarray of n_axes axes, int64
        The same numbers.

    Raises
    ------
    TraceError
        If the lists are ragged, of another depth, or hold other things.
    """
    problem = "neither integers nor in equal rows"
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise TraceError(_not_integers(place, problem, n_axes)) from error
    if array.size and (array.dtype.kind not in "iu" or array.dtype.itemsize > np.int64().nbytes):
        raise TraceError(_not_integers(place, problem, n_axes))
    if array.ndim != n_axes:
        raise TraceError(_not_integers(place, f"lists of depth {array.ndim}", n_axes))
    return array.astype(np.int64)


def is_count(value: object) -> bool:
    """Tell whether a value is an integer that can count something.

    Parameters
    ----------
    value : object
        The value.

    Returns
    -------
    bool
        True for integers from 0 to 2**48; truth values are not integers.
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT


def field_of(record: object, *, name: str, place: str) -> Any:  # noqa: ANN401 - JSON says anything
    """Return a field of a record.

    Parameters
    ----------
    record : object
        What should be a mapping.
    name : str
        The key.
    place : str
        Where the record stands, for the message.

    Returns
    -------
    object
        The value.

    Raises
    ------
    TraceError
        If the record is not a mapping or lacks the key.
    """
    if not isinstance(record, dict) or name not in record:
        # never the value itself, which may be huge when written out
        keys = sorted(map(str, record)) if isinstance(record, dict) else []
        shown = ", ".join(keys)[:_MAX_SHOWN] or type(record).__name__
        raise TraceError(
            f"{place}: {shown}; expected a record with {name!r}; "
            "check the format and the version of the writer"
        )
    return record[name]


def _not_integers(place: str, problem: str, n_axes: int) -> str:
    return f"{place}: {problem}; expected integers in lists of depth {n_axes}; export it again"
