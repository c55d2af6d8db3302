"""What a document says after settings and variants have replaced parts of it."""

from collections.abc import Mapping
from typing import Any

from rackmoe.errors import ConfigError
from rackmoe.schema.paths import is_open, keys_at
from rackmoe.schema.sources import OVERRIDE_SOURCE, is_sourced_leaf, sourced_leaves
from rackmoe.schema.tree import (
    ListNode,
    MapNode,
    Mark,
    Node,
    Path,
    ScalarNode,
    build_node,
    did_you_mean,
    find_node,
    nearest_mark,
    node_data,
    path_text,
    shown,
    split_path,
)
from rackmoe.schema.yaml import parse_yaml

__all__ = [
    "apply_overrides",
    "apply_variant",
    "parse_setting",
    "variant_names",
    "without_variants",
]


def parse_setting(text: str, *, place: str = "--set") -> tuple[str, Node]:
    """Return the path and the value of a setting such as ``workload.requests=1e4``.

    Parameters
    ----------
    text : str
        A dotted path, ``=`` and a value in YAML.
    place : str
        The option, for the messages.

    Returns
    -------
    path : str
        The dotted path.
    value : ScalarNode or ListNode or MapNode
        The value.

    Raises
    ------
    ConfigError
        If there is no ``=``, no path, or the value is not YAML.
    """
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"{place}: '{text}'; expected PATH=VALUE; write for example 'seed=1'")
    here = Mark(place=f"{place} {path.strip()}")
    if not value.strip():
        return path.strip(), ScalarNode(value=None, text="", mark=here)
    return path.strip(), _moved(parse_yaml(value, place=here.place), mark=here)


def apply_overrides(
    tree: Node,
    *,
    overrides: Mapping[str, object],
    schema: Mapping[str, Any] | None = None,
    place: str = "override",
) -> Node:
    """Return a tree in which values have been replaced.

    The value at a path is replaced as a whole; nothing is merged into it. A value with a
    kind and a source that is replaced by a plain value becomes an assumed one, and
    ``sources`` says which override it comes from.

    Parameters
    ----------
    tree : ScalarNode or ListNode or MapNode
        A document; it is not changed.
    overrides : mapping of str to object
        Values, as nodes or as plain data, by dotted path; later ones win.
    schema : mapping, optional
        The JSON Schema of the document. A path must exist in it, or in the tree.
    place : str
        Where plain data comes from, for messages.

    Returns
    -------
    ScalarNode or ListNode or MapNode
        The new tree.

    Raises
    ------
    ConfigError
        With every path that does not exist.
    """
    schema = schema or {}
    problems: list[str] = []
    used_before = _used_sources(tree)
    for dotted, value in overrides.items():
        node = build_node(value, mark=Mark(place=place))
        path = split_path(dotted)
        problem = _path_problem(tree, path=path, schema=schema)
        if problem:
            problems.append(f"{node.mark}: {dotted}: {problem}")
            continue
        if _is_leaf(tree, path=path, schema=schema) and not isinstance(node, MapNode):
            tree = _replaced(tree, path=("sources", OVERRIDE_SOURCE), value=_origin(tree, node))
            node = _assumed(node)
        tree = _replaced(tree, path=path, value=node)
    if problems:
        raise ConfigError(*problems)
    return _without_sources(tree, names=used_before - _used_sources(tree))


def apply_variant(tree: Node, *, name: str, schema: Mapping[str, Any] | None = None) -> Node:
    """Return the document that a variant of a scenario describes.

    A variant is a set of overrides: ``model.weights: fp8`` replaces one value, and
    ``hardware: {profile: hgx_h200, nodes: 9}`` replaces the whole mapping.

    Parameters
    ----------
    tree : ScalarNode or ListNode or MapNode
        A document with a mapping ``variants``.
    name : str
        The variant.
    schema : mapping, optional
        The JSON Schema of the document.

    Returns
    -------
    ScalarNode or ListNode or MapNode
        The document with the overrides, without ``variants``.

    Raises
    ------
    ConfigError
        If there is no such variant, or with every path in it that does not exist.
    """
    known = variant_names(tree)
    if name not in known:
        raise ConfigError(
            f"{tree.mark.place}: variant '{name}'; {did_you_mean(name, known=known)}"
        )
    variant = find_node(tree, path=("variants", name))
    if not isinstance(variant, MapNode):
        at = nearest_mark(tree, path=("variants", name))
        raise ConfigError(
            f"{at}: variants.{name}: {shown(variant)}; expected keys and values to replace;"
            " write for example {model.weights: fp8}"
        )
    plain = without_variants(tree)
    try:
        return apply_overrides(
            plain, overrides=variant.items, schema=schema, place=tree.mark.place
        )
    except ConfigError as error:
        raise ConfigError(*(f"{line} (in variant '{name}')" for line in error.problems)) from error


def variant_names(tree: Node) -> tuple[str, ...]:
    """Return the names of a document's variants in the order of the file."""
    variants = find_node(tree, path=("variants",))
    return tuple(variants.items) if isinstance(variants, MapNode) else ()


def without_variants(tree: Node) -> Node:
    """Return a document as it is without its variants."""
    return _without(tree, key="variants") if isinstance(tree, MapNode) else tree


def _path_problem(tree: Node, *, path: Path, schema: Mapping[str, Any]) -> str:
    """Return what is wrong with a path, or nothing."""
    for depth, part in enumerate(path):
        parent = path[:depth]
        if find_node(tree, path=path[: depth + 1]) is not None:
            continue
        known = keys_at(schema, path=parent)
        if str(part) in known or is_open(schema, path=parent):
            continue
        above = find_node(tree, path=parent)
        if isinstance(above, MapNode):
            known |= set(above.items)
        inside = f" in {path_text(parent)}" if parent else ""
        return f"no key '{part}'{inside}; {did_you_mean(str(part), known=known)}"
    return ""


def _is_leaf(tree: Node, *, path: Path, schema: Mapping[str, Any]) -> bool:
    """Return whether the value at a path has a kind and a source."""
    node = find_node(tree, path=path)
    if node is not None:
        return is_sourced_leaf(node)
    return keys_at(schema, path=path) == {"value", "kind", "source"}


def _assumed(node: Node) -> MapNode:
    """Return a value that a person replaced, with its kind and source."""
    parts: dict[str, Node] = {"value": node}
    for key, text in (("kind", "assumed"), ("source", OVERRIDE_SOURCE)):
        parts[key] = ScalarNode(value=text, text=text, mark=node.mark)
    return MapNode(items=parts, key_marks=dict.fromkeys(parts, node.mark), mark=node.mark)


def _origin(tree: Node, node: Node) -> ScalarNode:
    """Return the text of the source of replaced values, one more place in it."""
    earlier = find_node(tree, path=("sources", OVERRIDE_SOURCE))
    text = f"replaced by {node.mark}"
    if isinstance(earlier, ScalarNode) and text not in earlier.text:
        text = f"{earlier.text}; {text}"
    return ScalarNode(value=text, text=text, mark=node.mark)


def _used_sources(tree: Node) -> set[str]:
    """Return the names of the sources that values have."""
    sources = (leaf.items["source"] for _, leaf in sourced_leaves(tree))
    return {source.text for source in sources if isinstance(source, ScalarNode)}


def _without_sources(tree: Node, *, names: set[str]) -> Node:
    """Return a tree without the sources whose only values were replaced."""
    sources = find_node(tree, path=("sources",))
    if not names or not isinstance(sources, MapNode):
        return tree
    for name in names:
        sources = _without(sources, key=name)
    return _replaced(tree, path=("sources",), value=sources)


def _without(node: MapNode, *, key: str) -> MapNode:
    """Return a mapping without a key."""
    items = {name: item for name, item in node.items.items() if name != key}
    return MapNode(items=items, key_marks=node.key_marks, mark=node.mark)


def _replaced(node: Node | None, *, path: Path, value: Node) -> Node:
    """Return a tree with another value at a path, and mappings on the way to it."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(node, ListNode) and isinstance(first, int):
        items = list(node.items)
        items[first] = _replaced(items[first], path=rest, value=value)
        return ListNode(items=tuple(items), mark=node.mark)
    key = str(first)
    if not isinstance(node, MapNode):
        node = MapNode(items={}, key_marks={}, mark=value.mark)
    inner = _replaced(node.items.get(key), path=rest, value=value)
    marks = (
        {**node.key_marks, key: value.mark} if not rest else {key: value.mark, **node.key_marks}
    )
    return MapNode(items={**node.items, key: inner}, key_marks=marks, mark=node.mark)


def _moved(node: Node, *, mark: Mark) -> Node:
    """Return a tree all of whose places are one."""
    return build_node(node_data(node), mark=mark)
