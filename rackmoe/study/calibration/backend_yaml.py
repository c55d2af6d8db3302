"""How a backend profile is written to YAML."""

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from rackmoe.backend.profile import BackendProfile
from rackmoe.units import Dimension, format_quantity

__all__ = ["backend_text", "with_comments"]

# The unit suffix of a field says what it measures; the key in the file goes without it.
_DIMENSIONS: Final = {"_s": Dimension.TIME, "_bytes": Dimension.BYTES}
_SUFFIXES: Final = ("_frac", *_DIMENSIONS)
_DIGITS: Final = 4


def backend_text(profile: BackendProfile, *, title: str) -> str:
    """Return the text of a file of ``scenarios/backends``.

    Parameters
    ----------
    profile : BackendProfile
        The profile.
    title : str
        First comment of the file.

    Returns
    -------
    str
        YAML that `rackmoe.backend.profile.load_backend` reads as the same profile, with
        four significant digits.
    """
    plain = profile.model_dump(mode="python")
    plain = {"schema": plain.pop("schema_id"), **plain}
    return "\n".join((f"# {title}", *_lines(plain, indent=0))) + "\n"


def with_comments(text: str, *, of: str) -> str:
    """Return a text with the comments of an older one, before the same keys.

    Parameters
    ----------
    text, of : str
        YAML as `backend_text` writes it, and the text that people commented.

    Returns
    -------
    str
        Comments before keys that are gone are gone, too, and so is the first line's.
    """
    comments: dict[str, list[str]] = {}
    held: list[str] = []
    for line in of.splitlines()[1:]:
        if line.lstrip().startswith("#"):
            held.append(line)
        elif held:
            comments.setdefault(line.partition(":")[0], held)
            held = []
    found: list[str] = []
    for line in text.splitlines():
        found += comments.pop(line.partition(":")[0], [])
        found.append(line)
    return "\n".join(found) + "\n"


def _lines(tree: Mapping[str, Any], *, indent: int) -> Iterator[str]:
    for name, value in tree.items():
        if value is None or value == {}:
            continue
        key = " " * indent + _key(name)
        if isinstance(value, Mapping) and set(value) == {"value", "kind", "source"}:
            shown = _value(value["value"], name=name)
            kind, source = value["kind"].value, value["source"]
            yield f"{key}: {{value: {shown}, kind: {kind}, source: {source}}}"
        elif isinstance(value, Mapping):
            yield f"{key}:"
            yield from _lines(value, indent=indent + 2)
        else:
            yield f"{key}: {_value(value, name=name)}"


def _key(name: str) -> str:
    suffix = next((one for one in _SUFFIXES if name.endswith(one)), "")
    return name.removesuffix(suffix)


def _value(value: object, *, name: str) -> str:
    dimension = next((d for end, d in _DIMENSIONS.items() if name.endswith(end)), None)
    if dimension is not None and isinstance(value, int | float):
        return format_quantity(float(value), dimension=dimension, digits=_DIGITS)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one, name='') for one in value)}]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, str) and not value.replace("_", "").replace("-", "").isalnum():
        return json.dumps(value, ensure_ascii=False)
    return str(value)
