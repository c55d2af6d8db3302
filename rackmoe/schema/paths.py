"""What a JSON Schema expects at a path of a document."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rackmoe.schema.tree import Path
from rackmoe.units import Dimension, example_quantity, noun

__all__ = ["Schema", "choices_at", "describe", "is_open", "keys_at", "schemas_at"]

Schema = Mapping[str, Any]

_MAX_LISTED = 12
_TYPE_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "nothing",
}


def schemas_at(schema: Schema, *, path: Path) -> list[Schema]:
    """Return the alternatives that a schema allows at a path; none where it ends.

    Parameters
    ----------
    schema : mapping
        A JSON Schema with its definitions.
    path : tuple of str and int
        Keys, and places in lists.

    Returns
    -------
    list of mapping
        Schemas without references and without alternatives at their top.
    """
    definitions = schema.get("$defs", {})
    found = list(_alternatives(schema, definitions))
    for part in path:
        inner = [child for one in found for child in _children(one, part)]
        found = [choice for one in inner for choice in _alternatives(one, definitions)]
    return found


def keys_at(schema: Schema, *, path: Path) -> set[str]:
    """Return the keys that the mappings at a path may have by name."""
    keys: set[str] = set()
    for one in schemas_at(schema, path=path):
        keys |= set(one.get("properties", ()))
        keys |= set(one.get("propertyNames", {}).get("enum", ()))
    return keys


def is_open(schema: Schema, *, path: Path) -> bool:
    """Return whether a mapping at the path may have keys of any name."""
    return any(
        isinstance(one.get("additionalProperties"), Mapping)
        and not one.get("propertyNames", {}).get("enum")
        for one in schemas_at(schema, path=path)
    )


def choices_at(schemas: Iterable[Schema]) -> list[str]:
    """Return the words that the schemas list, in their order."""
    words = []
    for one in schemas:
        words += [str(word) for word in one.get("enum", ())]
        if "const" in one:
            words.append(str(one["const"]))
    return words


def describe(schemas: Iterable[Schema]) -> str:
    """Return what a value must be, in words."""
    parts = list(dict.fromkeys(_describe_one(one) for one in _merged_words(schemas)))
    return " or ".join(parts) or "another value"


def _merged_words(schemas: Iterable[Schema]) -> list[Schema]:
    """Return the schemas with all their listed words in one."""
    every = list(schemas)
    words = choices_at(every)
    rest = [one for one in every if "enum" not in one and "const" not in one]
    return [{"enum": words}, *rest] if words else rest


def _describe_one(schema: Schema) -> str:
    """Return what one schema asks for, in words."""
    if "enum" in schema:
        words = schema["enum"]
        listed = ", ".join(f"'{word}'" for word in words)
        return listed if len(words) == 1 else f"one of {listed}"
    if "x-dimension" in schema:
        dimension = Dimension(schema["x-dimension"])
        return f"{noun(dimension)}{_bounds(schema)} such as '{example_quantity(dimension)}'"
    kind = schema.get("type")
    if kind == "object":
        keys = list(schema.get("properties", ()))
        listed = ", ".join(keys[:_MAX_LISTED]) + (", ..." if len(keys) > _MAX_LISTED else "")
        return f"a mapping with {listed}" if keys else "a mapping"
    if kind == "array":
        return f"a list{_length(schema)}"
    words = _TYPE_NOUNS.get(str(kind), "another value")
    pattern = f" of the form {schema['pattern']}" if "pattern" in schema else ""
    return words + pattern + _bounds(schema)


def _bounds(schema: Schema) -> str:
    """Return the bounds of a number, in words."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    pairs = (
        ("minimum", "of at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "of at most"),
        ("exclusiveMaximum", "below"),
        ("multipleOf", "divisible by"),
    )
    found = [f" {words} {schema[key]}" for key, words in pairs if key in schema]
    return " and".join(found)


def _length(schema: Schema) -> str:
    """Return the length of a list, in words."""
    low, high = schema.get("minItems"), schema.get("maxItems")
    if low is not None and low == high:
        return f" of {low} values"
    at_least = f" of at least {low} values" if low else ""
    at_most = f" of at most {high} values" if high is not None else ""
    return at_least + at_most


def _alternatives(schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[Schema]:
    """Yield the schemas behind references and alternatives."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        yield from _alternatives(definitions[name], definitions)
        return
    branches = [one for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, ())]
    if not branches:
        yield schema
    for branch in branches:
        yield from _alternatives(branch, definitions)


def _children(schema: Schema, part: str | int) -> Iterator[Schema]:
    """Yield the schemas of one key, or of one place in a list."""
    if str(part) in schema.get("properties", {}):
        yield schema["properties"][str(part)]
    elif isinstance(schema.get("additionalProperties"), Mapping):
        yield schema["additionalProperties"]
    if isinstance(part, int):
        prefix = schema.get("prefixItems", ())
        if part < len(prefix):
            yield prefix[part]
        elif isinstance(schema.get("items"), Mapping):
            yield schema["items"]
