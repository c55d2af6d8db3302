"""What a file says, with the place of every value."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rackmoe.errors import ConfigError

__all__ = [
    "ListNode",
    "MapNode",
    "Mark",
    "Node",
    "Path",
    "Problem",
    "ScalarNode",
    "build_node",
    "did_you_mean",
    "find_node",
    "nearest_mark",
    "node_data",
    "path_text",
    "problem_at",
    "shown",
    "split_path",
]

_MAX_SHOWN = 40
_EXACT_INTEGERS = 2.0**53

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The place of a value: a file or words such as ``--set``, a line and a column."""

    place: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.place}:{self.line}:{self.column}" if self.line else self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarNode:
    """A word, a number, a truth value or nothing, with its text as given."""

    value: str | int | float | bool | None
    text: str
    mark: Mark
    is_broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNode:
    """Values in order."""

    items: tuple["Node", ...]
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class MapNode:
    """Values by key in the order of the file, and the place of each key."""

    items: Mapping[str, "Node"]
    key_marks: Mapping[str, Mark]
    mark: Mark


Node = ScalarNode | ListNode | MapNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, where, and what to do."""

    mark: Mark
    text: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.text}"


def build_node(value: object, *, mark: Mark) -> Node:
    """Return the tree of plain Python data, all of it at one place.

    Parameters
    ----------
    value : object
        Mappings with string keys, sequences and scalars; a node stays as it is.
    mark : Mark
        The place of every part.

    Returns
    -------
    ScalarNode or ListNode or MapNode
        The tree.

    Raises
    ------
    ConfigError
        If a part is not what a file could hold.
    """
    if isinstance(value, ScalarNode | ListNode | MapNode):
        return value
    if isinstance(value, Mapping):
        keys = [key for key in value if isinstance(key, str)]
        if len(keys) == len(value):
            items = {key: build_node(value[key], mark=mark) for key in keys}
            return MapNode(items=items, key_marks=dict.fromkeys(keys, mark), mark=mark)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return ListNode(items=tuple(build_node(item, mark=mark) for item in value), mark=mark)
    elif value is None or isinstance(value, str | int):
        return ScalarNode(value=value, text="null" if value is None else str(value), mark=mark)
    elif isinstance(value, float) and math.isfinite(value):
        return ScalarNode(value=value, text=repr(value), mark=mark)
    raise ConfigError(
        f"{mark}: {value!r}; expected words, finite numbers, lists and mappings with words as"
        " keys; convert it first"
    )


def node_data(node: Node) -> object:
    """Return a tree as plain Python data, a whole float such as ``1e9`` as an int."""
    if isinstance(node, MapNode):
        return {key: node_data(item) for key, item in node.items.items()}
    if isinstance(node, ListNode):
        return [node_data(item) for item in node.items]
    value = node.value
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value


def find_node(node: Node, *, path: Path) -> Node | None:
    """Return the node at a path, or None where the tree has none."""
    found: Node | None = node
    for part in path:
        found = _child(found, part)
        if found is None:
            return None
    return found


def nearest_mark(node: Node, *, path: Path) -> Mark:
    """Return the place of the last part of a path that the tree has."""
    mark = node.mark
    found: Node | None = node
    for part in path:
        if isinstance(found, MapNode) and part in found.key_marks:
            mark = found.key_marks[str(part)]
        found = _child(found, part)
        if found is None:
            return mark
        if not isinstance(found, MapNode):
            mark = found.mark
    return mark


def problem_at(node: Node, *, path: Path, text: str, is_key: bool = False) -> Problem:
    """Return a problem at the value of a path, or at its key.

    Parameters
    ----------
    node : ScalarNode or ListNode or MapNode
        The document.
    path : tuple of str and int
        Where in the document; the last part that the tree has gives the place.
    text : str
        What is wrong, and what to do.
    is_key : bool
        Whether the key is wrong rather than its value.

    Returns
    -------
    Problem
        The problem.
    """
    prefix = f"{path_text(path)}: " if path else ""
    mark = nearest_mark(node, path=path)
    above = find_node(node, path=path[:-1])
    if is_key and isinstance(above, MapNode):
        mark = above.key_marks.get(str(path[-1]), mark)
    return Problem(mark=mark, text=prefix + text)


def split_path(text: str) -> Path:
    """Return the parts of a dotted path; digits are places in a list.

    Examples
    --------
    >>> split_path("deployment.decode.ep")
    ('deployment', 'decode', 'ep')
    """
    return tuple(int(part) if part.isdecimal() else part for part in text.split("."))


def path_text(path: Path) -> str:
    """Return a path as dotted text."""
    return ".".join(str(part) for part in path)


def shown(node: Node | None) -> str:
    """Return a value as a message quotes it."""
    if node is None:
        return "nothing"
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    if node.value is None:
        return "nothing"
    text = node.text if len(node.text) <= _MAX_SHOWN else f"{node.text[:_MAX_SHOWN]}..."
    return repr(text) if isinstance(node.value, str) else text


def did_you_mean(word: str, *, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?``, or all known words where none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    if not names:
        return "none is known here; remove it"
    return f"choose from {', '.join(names)}"


def _child(node: Node | None, part: str | int) -> Node | None:
    """Return one part of a node, or None."""
    if isinstance(node, MapNode):
        return node.items.get(str(part))
    if isinstance(node, ListNode) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None
