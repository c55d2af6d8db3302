"""How results become plain data and JSON text that is the same on every run."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

__all__ = ["digest_of", "json_text", "to_plain"]


def to_plain(value: object) -> Any:  # noqa: ANN401  plain data has no narrower type
    """Return a value as mappings, lists, texts and numbers.

    Parameters
    ----------
    value : object
        A dataclass, a document, a mapping, a sequence, an array, a table or a number.

    Returns
    -------
    object
        What `json` can write. Numbers that are not finite become None, because JSON
        has none; names of enumerations become their values.

    Raises
    ------
    TypeError
        If the value is of a kind that results do not hold.
    """
    match value:
        case Enum():
            return to_plain(value.value)
        case None | str() | bool() | int():
            return value
        case float() | np.floating():
            return float(value) if math.isfinite(value) else None
        case np.bool_() | np.integer():
            return value.item()
        case PurePath():
            return value.as_posix()
    return _plain_group(value)


def _plain_group(value: object) -> Any:  # noqa: ANN401  plain data has no narrower type
    match value:
        case BaseModel():
            return {name: to_plain(getattr(value, name)) for name in type(value).model_fields}
        case Mapping():
            return {str(key): to_plain(item) for key, item in value.items()}
        case pd.DataFrame():
            return [to_plain(row) for row in value.to_dict(orient="records")]
        case np.ndarray() | list() | tuple():
            return [to_plain(item) for item in value]
        case set() | frozenset():
            return sorted(to_plain(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: to_plain(getattr(value, name)) for name in names}
    raise TypeError(f"{type(value).__name__}: cannot be written to a result; expected plain data")


def json_text(value: object, *, is_sorted: bool = True) -> str:
    """Return a value as JSON text.

    Parameters
    ----------
    value : object
        What `to_plain` takes.
    is_sorted : bool, optional
        Whether keys are in alphabetical order, or in that of the value.

    Returns
    -------
    str
        Indented by one space, floats as the shortest text that reads back as the same
        number, with a newline at the end.

    Examples
    --------
    >>> print(json_text({"b": float("nan"), "a": 0.1}), end="")
    {
     "a": 0.1,
     "b": null
    }
    """
    plain = to_plain(value)
    text = json.dumps(plain, indent=1, sort_keys=is_sorted, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value's JSON text, in hexadecimal.

    Parameters
    ----------
    value : object
        What `to_plain` takes.

    Returns
    -------
    str
        64 characters.
    """
    return hashlib.sha256(json_text(value).encode()).hexdigest()
