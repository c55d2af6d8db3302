"""What is wrong with a document, in words and with places."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from rackmoe.errors import ConfigError, UnitError
from rackmoe.schema.paths import Schema, choices_at, describe, keys_at, schemas_at
from rackmoe.schema.tree import (
    Node,
    Path,
    Problem,
    ScalarNode,
    did_you_mean,
    find_node,
    node_data,
    problem_at,
    shown,
    split_path,
)

__all__ = ["validation_problems"]

_PATH_PREFIX = re.compile(r"(?P<path>[A-Za-z_][\w.-]*): (?P<rest>.*)", re.DOTALL)
_LEAF_KEYS = {"value", "kind", "source"}
_BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}


def validation_problems(error: ValidationError, *, tree: Node, schema: Schema) -> list[Problem]:
    """Return the problems that pydantic found, one for each place.

    Parameters
    ----------
    error : pydantic.ValidationError
        What pydantic says.
    tree : ScalarNode or ListNode or MapNode
        The document as it was written.
    schema : mapping
        The JSON Schema of the document.

    Returns
    -------
    list of Problem
        A missing key is left out where an unknown key is its misspelling.
    """
    unknown: dict[Path, list[str]] = {}
    by_path: dict[Path, list[Schema]] = {}
    for entry in error.errors(include_url=False, include_input=False):
        path = _tree_path(tree, entry=entry)
        by_path.setdefault(path, []).append(entry)
        if _is_unknown_key(entry):
            unknown.setdefault(path[:-1], []).append(str(path[-1]))
    problems: list[Problem] = []
    for path, entries in by_path.items():
        node = find_node(tree, path=path)
        if isinstance(node, ScalarNode) and node.is_broken:
            continue
        if node is None and _is_misspelt(path, unknown=unknown, schema=schema):
            continue
        problems += _problems_at(path, entries=entries, tree=tree, schema=schema)
    return problems


def _problems_at(
    path: Path, *, entries: list[Schema], tree: Node, schema: Schema
) -> Iterator[Problem]:
    """Yield the problems of one place."""
    kinds = {entry["type"] for entry in entries}
    if any(_is_unknown_key(entry) for entry in entries):
        known = keys_at(schema, path=path[:-1])
        text = f"unknown key; {did_you_mean(str(path[-1]), known=known)}"
        yield problem_at(tree, path=path, text=text, is_key=True)
        return
    raised = [entry["ctx"]["error"] for entry in entries if entry["type"] == "value_error"]
    # a quantity is one choice of several where other kinds of error stand beside it
    is_choice = len(kinds) > 1 and all(isinstance(one, UnitError) for one in raised)
    if raised and not is_choice:
        for exception in raised:
            lines = exception.problems if isinstance(exception, ConfigError) else [str(exception)]
            for line in lines:
                yield _raised_problem(line, path=path, tree=tree)
        return
    wanted = [dict(one) for one in schemas_at(schema, path=path)]
    if kinds == {"missing"}:
        text = f"missing; expected {describe(wanted)}; add it"
    else:
        node = find_node(tree, path=path)
        wanted = [one | _unit_bounds(entries) if "x-dimension" in one else one for one in wanted]
        text = f"{shown(node)}; expected {describe(wanted)}; {_remedy(node, wanted=wanted)}"
    yield problem_at(tree, path=path, text=text)


def _is_unknown_key(entry: Schema) -> bool:
    """Return whether pydantic complains about a key rather than about its value."""
    return bool(entry["type"] == "extra_forbidden" or entry["loc"][-1:] == ("[key]",))


def _unit_bounds(entries: list[Schema]) -> dict[str, Any]:
    """Return the bounds that a quantity broke; its schema, a text, cannot hold them."""
    context = {key: value for entry in entries for key, value in entry.get("ctx", {}).items()}
    return {_BOUNDS[key]: value for key, value in context.items() if key in _BOUNDS}


def _remedy(node: Node | None, *, wanted: Sequence[Schema]) -> str:
    """Return what to do about a value of the wrong kind."""
    if isinstance(node, ScalarNode):
        words = choices_at(wanted)
        close = did_you_mean(node.text, known=words) if words else ""
        if close.startswith("did you mean"):
            return close
        if any(set(one.get("properties", ())) == _LEAF_KEYS for one in wanted):
            return f"write {{value: {node.text}, kind: ..., source: ...}}"
    for one in wanted:
        if one.get("examples"):
            return f"write for example '{one['examples'][0]}'"
    return "correct the value"


def _raised_problem(line: str, *, path: Path, tree: Node) -> Problem:
    """Return the problem that a validator of ours raised, at the path it begins with."""
    node = find_node(tree, path=path)
    if isinstance(node, ScalarNode) and isinstance(node.value, int | float):
        line = line.replace(str(node_data(node)), node.text)  # 8e12 as it was written
    if line.startswith("expected "):
        line = f"{shown(node)}; {line}"
    found = _PATH_PREFIX.match(line)
    if found:
        inner = path + split_path(found["path"])
        if find_node(tree, path=inner) is not None:
            return problem_at(tree, path=inner, text=found["rest"])
    return problem_at(tree, path=path, text=line)


def _tree_path(tree: Node, *, entry: Schema) -> Path:
    """Return pydantic's location without the names of union branches."""
    path: list[str | int] = []
    location = entry["loc"]
    for position, part in enumerate(location):
        is_absent = find_node(tree, path=(*path, part)) is None
        is_missing_key = entry["type"] == "missing" and position == len(location) - 1
        if not is_absent or is_missing_key:
            path.append(part)
    return tuple(path)


def _is_misspelt(path: Path, *, unknown: Mapping[Path, list[str]], schema: Schema) -> bool:
    """Return whether an unknown key beside a missing one is likely the same."""
    known = keys_at(schema, path=path[:-1])
    return any(
        did_you_mean(word, known=known) == f"did you mean '{path[-1]}'?"
        for word in unknown.get(path[:-1], ())
    )
