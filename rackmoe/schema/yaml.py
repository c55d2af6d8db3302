"""What a strict YAML text says, and everything that is wrong with it."""

from collections.abc import Iterator

import yaml

from rackmoe.errors import ConfigError
from rackmoe.schema.scalars import NotFiniteError, resolve_scalar
from rackmoe.schema.text import MAX_BYTES, mark_at
from rackmoe.schema.tree import ListNode, MapNode, Mark, Node, Problem, ScalarNode

__all__ = ["MAX_DEPTH", "MAX_NODES", "compose_yaml", "parse_yaml"]

MAX_NODES = 50_000
MAX_DEPTH = 32

_MAX_SHOWN = 24

# the wheels of PyYAML hold the C parser; a build without it reads the same, more slowly
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str, *, place: str) -> Node:
    """Return the tree of a YAML text.

    The text is the part of YAML 1.2 that data needs: mappings with words as keys,
    lists, and the scalars of the core schema (`no`, `on`, `12:30` and `010` are words,
    `1e9` is a number). Anchors, aliases, tags, directives, duplicate keys, numbers that
    are not finite and several documents in one text are refused.

    Parameters
    ----------
    text : str
        The text.
    place : str
        The file, or words such as ``--set``, for the messages.

    Returns
    -------
    ScalarNode or ListNode or MapNode
        The tree, each part with its place.

    Raises
    ------
    ConfigError
        With every problem of the text.
    """
    node, problems = compose_yaml(text, place=place)
    if problems:
        raise ConfigError(*(str(problem) for problem in problems))
    return node


def compose_yaml(text: str, *, place: str) -> tuple[Node, list[Problem]]:
    """Return the tree of a YAML text and its problems.

    A tree is returned where the text can be read in spite of its problems, so that a
    caller can look for more of them.

    Parameters
    ----------
    text : str
        The text.
    place : str
        The file, or words such as ``--set``, for the messages.

    Returns
    -------
    node : ScalarNode or ListNode or MapNode
        The tree; the parts that could not be read are marked as broken.
    problems : list of Problem
        In the order of the text.

    Raises
    ------
    ConfigError
        If there is no tree at all: the syntax is wrong, or the text is too large.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(
            f"{place}: {len(text)} characters; expected at most {MAX_BYTES}; split it"
        )
    composer = _Composer(text, place)
    try:
        return composer.document(), composer.problems
    except yaml.reader.ReaderError as error:
        mark = mark_at(text, index=error.position, place=place)
        problem = (
            f"{mark}: character U+{_code(error.character):04X}; expected printable text; remove it"
        )
    except yaml.MarkedYAMLError as error:
        problem = _syntax_problem(text, error=error, place=place)
    raise ConfigError(*map(str, composer.problems), problem)


class _Composer:
    """The tree and the problems of one text, read event by event.

    Events keep the depth and the number of nodes in our hands; PyYAML's own composer
    recurses without a limit and expands aliases.
    """

    __slots__ = ("_events", "_n_nodes", "_place", "problems")

    def __init__(self, text: str, place: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_Loader)
        self._place = place
        self._n_nodes = 0
        self.problems: list[Problem] = []

    def document(self) -> Node:
        """Return the tree of the only document."""
        next(self._events)
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise ConfigError(f"{self._place}: empty; expected keys and values; write them")
        if isinstance(start, yaml.DocumentStartEvent) and (start.version or start.tags):
            self._report(start, "a YAML directive; expected plain data; remove the line")
        node = self._node(next(self._events), depth=1)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._report(after, "a second document; expected one; remove '---' and what follows")
        return node

    def _node(self, event: yaml.Event, *, depth: int) -> Node:
        """Return the node that starts with an event."""
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES} values; split the file")
        if depth > MAX_DEPTH:
            self._stop(event, f"nested more than {MAX_DEPTH} deep; write it flatter")
        if isinstance(event, yaml.AliasEvent):
            self._report(event, f"alias '*{event.anchor}'; expected a value; write it out")
            return self._broken(event)
        self._refuse_decorations(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, depth=depth)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item, depth=depth + 1))
            return ListNode(items=tuple(items), mark=self._mark(event))
        return self._scalar(event)

    def _mapping(self, event: yaml.Event, *, depth: int) -> MapNode:
        """Return a mapping; what has no usable key is reported and left out."""
        items: dict[str, Node] = {}
        key_marks: dict[str, Mark] = {}
        while not isinstance(key_event := next(self._events), yaml.MappingEndEvent):
            key = self._node(key_event, depth=depth + 1)
            value = self._node(next(self._events), depth=depth + 1)
            if not isinstance(key, ScalarNode):
                self._report(key_event, "a list or mapping as key; expected a word; write a word")
            elif not isinstance(key.value, str):
                if not key.is_broken:
                    advice = (
                        f"quote it: '{key.text}'" if key.text else "write one before the colon"
                    )
                    self._report(
                        key_event, f"key {key.text or 'missing'}; expected a word; {advice}"
                    )
            elif key.value in items:
                first = key_marks[key.value].line
                self._report(
                    key_event,
                    f"duplicate key '{key.value}'; it is already on line {first}; remove one",
                )
            else:
                items[key.value] = value
                key_marks[key.value] = key.mark
        return MapNode(items=items, key_marks=key_marks, mark=self._mark(event))

    def _scalar(self, event: yaml.Event) -> ScalarNode:
        """Return a scalar by the rules of the YAML 1.2 core schema."""
        if not isinstance(event, yaml.ScalarEvent):
            raise TypeError(event)
        text: str = event.value
        mark = self._mark(event)
        if not event.implicit[0]:
            return ScalarNode(value=text, text=text, mark=mark)
        try:
            value = resolve_scalar(text)
        except NotFiniteError:
            self._report(
                event,
                f"{text[:_MAX_SHOWN]}; expected a finite number that 64 bits can hold; write one",
            )
            return self._broken(event)
        return ScalarNode(value=value, text=text, mark=mark)

    def _refuse_decorations(self, event: yaml.Event) -> None:
        """Report the anchor and the tag of a node."""
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor:
            self._report(event, f"anchor '&{anchor}'; expected a value alone; remove the anchor")
        if tag:
            short = tag.replace("tag:yaml.org,2002:", "!!")
            self._report(event, f"tag '{short}'; expected a value alone; remove the tag")

    def _broken(self, event: yaml.Event) -> ScalarNode:
        """Return the stand-in of a value that was reported."""
        return ScalarNode(value=None, text="", mark=self._mark(event), is_broken=True)

    def _mark(self, event: yaml.Event) -> Mark:
        """Return the place where an event starts."""
        mark = event.start_mark
        if mark is None:  # the parser sets it; only hand-made events lack it
            return Mark(place=self._place)
        return Mark(place=self._place, line=mark.line + 1, column=mark.column + 1)

    def _report(self, event: yaml.Event, problem: str) -> None:
        """Note a problem and read on."""
        self.problems.append(Problem(mark=self._mark(event), text=problem))

    def _stop(self, event: yaml.Event, problem: str) -> None:
        """Give up on a text that no person wrote."""
        self._report(event, problem)
        raise ConfigError(*map(str, self.problems))


def _syntax_problem(text: str, *, error: yaml.MarkedYAMLError, place: str) -> str:
    """Return the problem of a text that is not YAML."""
    at = error.problem_mark or error.context_mark
    if at is None:
        return f"{place}: {error.problem or 'not YAML'}; correct the text"
    mark = Mark(place=place, line=at.line + 1, column=at.column + 1)
    lines = text.splitlines()
    line = lines[at.line] if at.line < len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent or line[at.column : at.column + 1] == "\t":
        return f"{mark}: a tab; expected spaces; indent with spaces"
    if "mapping values are not allowed" in (error.problem or ""):
        return f"{mark}: a second ': ' in one line; expected one key; quote the value or split it"
    context = f" {error.context}" if error.context else ""
    return f"{mark}: {error.problem}{context}; expected YAML; correct the line"


def _code(character: object) -> int:
    """Return the code point that PyYAML reports as a number or as a character."""
    return character if isinstance(character, int) else ord(str(character)[0])
