"""Reads typed values out of a foreign JSON object and remembers every problem."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["ConfigFields", "shorten"]

# Longest excerpt of a bad value that an error message repeats, in characters.
_MAX_EXCERPT: Final = 60
# Far above any published model; keeps a hostile file from asking for huge tuples.
_MAX_COUNT: Final = 10**9
_REMEDY: Final = "take it from the model's own config.json"


def shorten(value: object) -> str:
    """Return a value as JSON, cut to what fits in an error message.

    Parameters
    ----------
    value : object
        Any value that JSON can hold.

    Returns
    -------
    str
        The text, with an ellipsis where it was cut.
    """
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_EXCERPT else f"{text[:_MAX_EXCERPT]}..."


class ConfigFields:
    """Typed access to the keys of one JSON object.

    A missing or wrong value is noted in `problems` and replaced by a harmless one, so that
    one reading finds every problem of a file. Keys that nobody asks for are ignored: the
    file is someone else's.

    Parameters
    ----------
    values : Mapping
        The object.
    place : str
        File that it comes from, for messages.
    path : str
        Key of the object within the file, ending in a dot; empty at the top.
    problems : list of str, optional
        List to note problems in.

    Attributes
    ----------
    problems : list of str
        Problems found so far.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        *,
        place: str,
        path: str = "",
        problems: list[str] | None = None,
    ) -> None:
        self._values = values
        self._place = place
        self._path = path
        self.problems: list[str] = [] if problems is None else problems

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong so far, so that values can be held against each other."""
        return not self.problems

    def note(self, key: str, *, value: object, expected: str, remedy: str = _REMEDY) -> None:
        """Note that a value is wrong.

        Parameters
        ----------
        key : str
            Its key.
        value : object
            The value as given.
        expected : str
            What was expected.
        remedy : str
            What to do.
        """
        self.problems.append(
            f"{self._place}: {self._path}{key}: {shorten(value)}; expected {expected}; {remedy}"
        )

    def get(self, key: str) -> object:
        """Return a raw value, None where it is absent."""
        return self._values.get(key)

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the object."""
        return tuple(self._values)

    def count(
        self, key: str, *, default: int | None = None, minimum: int = 1, maximum: int = _MAX_COUNT
    ) -> int:
        """Return a whole number.

        Parameters
        ----------
        key : str
            Its key; null counts as absent.
        default : int, optional
            Value where the key is absent; without it the key is required.
        minimum, maximum : int
            Range of valid values, counts.

        Returns
        -------
        int
            The number, a count; the smallest valid one where there is a problem.
        """
        value = self._values.get(key)
        if value is None:
            if default is None:
                self._missing(key)
                return minimum
            return default
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        self.note(key, value=value, expected=f"a whole number from {minimum} to {maximum}")
        return minimum

    def optional_count(self, key: str) -> int | None:
        """Return a whole number of at least one, or None where it is absent or null."""
        return None if self._values.get(key) is None else self.count(key)

    def number(self, key: str, *, default: float) -> float:
        """Return a positive finite number, or the default where it is absent or null."""
        value = self._values.get(key)
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
            return float(value)
        self.note(key, value=value, expected="a positive number")
        return default

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false, or the default where it is absent or null."""
        value = self._values.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self.note(key, value=value, expected="true or false")
        return default

    def text(self, key: str, *, default: str, choices: Sequence[str] = ()) -> str:
        """Return a string, one of the choices if given, or the default where it is absent."""
        value = self._values.get(key)
        if value is None:
            return default
        if isinstance(value, str) and (not choices or value in choices):
            return value
        self.note(key, value=value, expected=f"one of {', '.join(choices)}" if choices else "text")
        return default

    def counts(self, key: str) -> tuple[int, ...] | None:
        """Return a list of whole numbers, or None where it is absent, null or empty."""
        value = self._values.get(key)
        if value is None or value == []:
            return None
        if isinstance(value, list) and all(type(item) is int for item in value):
            return tuple(value)
        self.note(key, value=value, expected="a list of whole numbers")
        return None

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of strings, or None where it is absent, null or empty."""
        value = self._values.get(key)
        if value is None or value == []:
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.note(key, value=value, expected="a list of texts")
        return None

    def section(self, key: str) -> "ConfigFields | None":
        """Return a nested object, or None where it is absent or null."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.note(key, value=value, expected="an object")
            return None
        return ConfigFields(
            value, place=self._place, path=f"{self._path}{key}.", problems=self.problems
        )

    def reject_unknown(self, known: Sequence[str]) -> None:
        """Note every key that is not among the known ones."""
        for key in self._values:
            if key not in known:
                self.problems.append(
                    f"{self._place}: {self._path}{key}: unknown key; "
                    f"expected one of {', '.join(known)}; remove it"
                )

    def _missing(self, key: str) -> None:
        self.problems.append(
            f"{self._place}: {self._path}{key}: missing; expected a whole number; {_REMEDY}"
        )
