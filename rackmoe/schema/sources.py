"""Whether every number of a document has a source, and every source a number."""

from collections.abc import Iterator

from rackmoe.schema.tree import (
    ListNode,
    MapNode,
    Node,
    Path,
    Problem,
    ScalarNode,
    did_you_mean,
    problem_at,
)

__all__ = ["OVERRIDE_SOURCE", "check_sources", "is_sourced_leaf", "sourced_leaves"]

OVERRIDE_SOURCE = "override"


def is_sourced_leaf(node: Node) -> bool:
    """Return whether a node is written as a value with a kind and a source."""
    return isinstance(node, MapNode) and "value" in node.items and "source" in node.items


def sourced_leaves(node: Node, *, path: Path = ()) -> Iterator[tuple[Path, MapNode]]:
    """Yield the path and the node of every value with a source."""
    if isinstance(node, MapNode):
        if is_sourced_leaf(node):
            yield path, node
            return
        for key, item in node.items.items():
            yield from sourced_leaves(item, path=(*path, key))
    elif isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            yield from sourced_leaves(item, path=(*path, index))


def check_sources(tree: Node) -> list[Problem]:
    """Return the sources that a document uses and lacks, and those it has and never uses.

    Parameters
    ----------
    tree : ScalarNode or ListNode or MapNode
        A document with a mapping ``sources`` of names to texts.

    Returns
    -------
    list of Problem
        None where each name is on both sides.
    """
    sources = tree.items.get("sources") if isinstance(tree, MapNode) else None
    if not isinstance(sources, MapNode):
        return []
    problems = []
    used = set()
    for path, leaf in sourced_leaves(tree):
        source = leaf.items["source"]
        if not isinstance(source, ScalarNode) or not isinstance(source.value, str):
            continue
        used.add(source.value)
        if source.value not in sources.items:
            text = (
                f"'{source.value}' is not in sources;"
                f" {did_you_mean(source.value, known=sources.items)}"
            )
            problems.append(problem_at(tree, path=(*path, "source"), text=text))
    for name in sources.items:
        if name not in used:
            text = "no value names this source; use it or remove it"
            problems.append(problem_at(tree, path=("sources", name), text=text, is_key=True))
    return problems
