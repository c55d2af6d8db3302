"""Which value a plain YAML scalar is, by the core schema of YAML 1.2."""

import math
import re

__all__ = ["NotFiniteError", "resolve_scalar"]

# stricter than the core schema in one point: 010, 0x10 and 0o7 stay text, because people
# disagree about what they are
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII
)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_MAX_INTEGER = 2**63 - 1
_MAX_NUMBER_TEXT = 400  # Python refuses to read integers of thousands of digits


class NotFiniteError(ValueError):
    """A number is infinite, undefined, or too large for 64 bits."""


def resolve_scalar(text: str) -> str | int | float | bool | None:
    """Return the value of a plain scalar.

    Parameters
    ----------
    text : str
        What stands in the file, without quotes.

    Returns
    -------
    str or int or float or bool or None
        `no`, `on`, `12:30`, `1_000` and `010` are text; `1e9` is a float.

    Raises
    ------
    NotFiniteError
        If it is a number that is not finite or that 64 bits cannot hold.

    Examples
    --------
    >>> [resolve_scalar(text) for text in ("no", "12:30", "010", "8e12", "true", "~")]
    ['no', '12:30', '010', 8000000000000.0, True, None]
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise NotFiniteError(text)
    if len(text) > _MAX_NUMBER_TEXT:
        return text
    if _INTEGER.fullmatch(text):
        whole = int(text)
        if abs(whole) > _MAX_INTEGER:
            raise NotFiniteError(text)
        return whole
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise NotFiniteError(text)
        return number
    return text
