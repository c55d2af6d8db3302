"""How a YAML file becomes a frozen document, or a list of everything wrong with it."""

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rackmoe.errors import ConfigError, InvariantError
from rackmoe.schema.paths import choices_at, schemas_at
from rackmoe.schema.problems import validation_problems
from rackmoe.schema.quantities import Kind, Quantity
from rackmoe.schema.sources import check_sources
from rackmoe.schema.text import read_text
from rackmoe.schema.tree import Node, Problem, ScalarNode, find_node, node_data, problem_at, shown
from rackmoe.schema.yaml import compose_yaml
from rackmoe.units import strip_unit_suffix

__all__ = [
    "Document",
    "Sourced",
    "document_schema",
    "load_document",
    "parse_document",
    "validate_tree",
]

T = TypeVar("T")
D = TypeVar("D", bound="Document")

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Document(BaseModel):
    """A frozen mapping with declared keys.

    The key of a field is its name without the unit: ``hbm_bandwidth_bytes_per_s`` is
    written ``hbm_bandwidth: 8 TB/s``. Python code uses the name of the field. A field
    ``schema_id: Literal["rackmoe/hardware/1"] = Field(alias="schema")`` makes the version
    of a file its first check. A validator raises `ConfigError` or `ValueError`; a message
    that begins with a path below its own mapping (``decode.ep: 40 does not ...``) is
    reported at that place.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=strip_unit_suffix,
        validate_by_name=True,
        validate_by_alias=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        keys = [field.alias for field in cls.model_fields.values()]
        equal = sorted({str(key) for key in keys if keys.count(key) > 1})
        if equal:
            raise InvariantError(
                f"{cls.__name__}: two fields with the key {', '.join(equal)};"
                " expected one key each; give one of them an alias"
            )


class Sourced(Document, Generic[T]):
    """A value, where it comes from, and the name of its source in ``sources``.

    Attributes
    ----------
    value : T
        The value.
    kind : Kind
        Whether it was measured, derived, fitted, assumed or taken from a datasheet.
    source : str
        A key of the document's ``sources``.
    """

    value: T
    kind: Kind
    source: str

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Return a name that tells quantities apart in a JSON Schema."""
        origin = getattr(params[0], "__origin__", params[0])
        words = getattr(origin, "__name__", "value")
        for annotation in getattr(params[0], "__metadata__", ()):
            if isinstance(annotation, Quantity):
                words = annotation.dimension.value
        return f"Sourced{''.join(word.capitalize() for word in words.split('_'))}"


def load_document(path: str | os.PathLike[str], *, model: type[D]) -> D:
    """Return the document in a YAML file.

    Parameters
    ----------
    path : path-like
        The file.
    model : type of Document
        What the file must be.

    Returns
    -------
    Document
        An instance of the model.

    Raises
    ------
    ConfigError
        With every problem of the file, one line each.
    """
    return parse_document(read_text(path), model=model, place=str(path))


def parse_document(text: str, *, model: type[D], place: str) -> D:
    """Return the document in a YAML text.

    Parameters
    ----------
    text : str
        The text.
    model : type of Document
        What the text must be.
    place : str
        The name of the text in messages.

    Returns
    -------
    Document
        An instance of the model.

    Raises
    ------
    ConfigError
        With every problem of the text, one line each:
        ``place:line:column: path: value; what was expected; what to do``.
    """
    tree, problems = compose_yaml(text, place=place)
    return validate_tree(tree, model=model, earlier=problems)


def validate_tree(tree: Node, *, model: type[D], earlier: Sequence[Problem] = ()) -> D:
    """Return the document of a tree, after overrides have been applied to it.

    Parameters
    ----------
    tree : ScalarNode or ListNode or MapNode
        From `parse_yaml` or `compose_yaml`.
    model : type of Document
        What the tree must be.
    earlier : sequence of Problem
        What `compose_yaml` found, to be reported together with the rest.

    Returns
    -------
    Document
        An instance of the model.

    Raises
    ------
    ConfigError
        With every problem of the tree, one line each.
    """
    schema = document_schema(model)
    problems = [*earlier, *_version_problems(tree, schema=schema)]
    if len(problems) > len(earlier):
        _raise(problems, tree=tree)
    if "sources" in model.model_fields:
        problems += check_sources(tree)
    try:
        document = model.model_validate_json(
            json.dumps(node_data(tree)), by_alias=True, by_name=False
        )
    except ValidationError as error:
        # on a line with a value that could not be read, the rest follows from that value
        unread = {(one.mark.place, one.mark.line) for one in earlier}
        problems += [
            one
            for one in validation_problems(error, tree=tree, schema=schema)
            if (one.mark.place, one.mark.line) not in unread
        ]
        _raise(problems, tree=tree)
    if problems:
        _raise(problems, tree=tree)
    return document


@cache
def document_schema(model: type[Document]) -> Mapping[str, Any]:
    """Return the JSON Schema (draft 2020-12) that accepts the files of a model.

    Parameters
    ----------
    model : type of Document
        The document.

    Returns
    -------
    dict
        Quantities are strings with a pattern. Do not change it: it is cached.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": _DIALECT} | _with_short_names(raw)


def _with_short_names(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose definitions are named by their titles, numbered where equal."""
    definitions: dict[str, Any] = schema.get("$defs", {})
    names: dict[str, str] = {}
    for name, one in definitions.items():
        title = one.get("title", name)
        candidates = itertools.chain([title], (f"{title}{n}" for n in itertools.count(2)))
        names[name] = next(short for short in candidates if short not in names.values())
    text = json.dumps({**schema, "$defs": {names[name]: definitions[name] for name in names}})
    for name, short in names.items():
        text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{short}"')
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _version_problems(tree: Node, *, schema: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the kind and version, which decide what the rest means."""
    known = choices_at(schemas_at(schema, path=("schema",)))
    node = find_node(tree, path=("schema",))
    if not known or not isinstance(node, ScalarNode) or node.value in known:
        return []
    expected = " or ".join(known)
    advice = _version_advice(node, known=known)
    text = f"{shown(node)}; this version of rackmoe reads {expected} here; {advice}"
    return [problem_at(tree, path=("schema",), text=text)]


def _version_advice(node: ScalarNode, *, known: list[str]) -> str:
    """Return what to do about another kind or version of document."""
    kinds = {word.rpartition("/")[0] for word in known}
    if node.text.rpartition("/")[0] in kinds:
        return "convert the file or use the rackmoe that wrote it"
    return "pass a file of this kind"


def _raise(problems: list[Problem], *, tree: Node) -> NoReturn:
    """Raise the problems of the file in its order, then those of other places."""
    here = tree.mark.place
    order = sorted(
        problems, key=lambda one: (one.mark.place != here, one.mark.line, one.mark.column)
    )
    raise ConfigError(*dict.fromkeys(str(problem) for problem in order))
