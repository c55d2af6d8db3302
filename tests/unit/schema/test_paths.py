import pytest

from rackmoe.schema.documents import document_schema
from rackmoe.schema.paths import choices_at, describe, is_open, keys_at, schemas_at


@pytest.fixture
def schema(rocket):
    return document_schema(rocket)


def test_keys_follow_references_and_optional_parts(schema):
    assert keys_at(schema, path=("engine", "dry_rate")) == {"value", "kind", "source"}
    assert keys_at(schema, path=("flight",)) == {"stages", "spread", "delay", "mode", "rest"}


def test_any_key_of_an_open_mapping_leads_on(schema):
    assert is_open(schema, path=("engine", "peak"))
    assert not is_open(schema, path=("engine",))
    assert not is_open(schema, path=("engine", "fuel"))
    assert keys_at(schema, path=("engine", "fuel")) == {"oxygen", "methane"}
    assert keys_at(schema, path=("engine", "peak", "fp4")) == {"value", "kind", "source"}


def test_a_path_that_no_document_has_leads_nowhere(schema):
    assert schemas_at(schema, path=("engine", "wings")) == []
    assert keys_at(schema, path=("engine", "wings", "span")) == set()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("schema",), "'rackmoe/rocket/1'"),
        (("status",), "one of 'shipping', 'announced'"),
        (("name",), "text"),
        (("flight", "stages"), "a whole number from 1 to 9"),
        (("flight", "spread"), "a list of 2 values"),
        (("flight", "spread", 1), "a number"),
        (("flight", "mode"), "'orbit' or a whole number or nothing"),
        (("flight", "delay"), "a time such as '20 ms' or nothing"),
        (("engine", "thrust_rate"), "a mapping with value, kind, source"),
        (("engine", "thrust_rate", "value"), "a bandwidth such as '8 TB/s'"),
        (("engine", "efficiency", "value"), "a number from 0 to 1"),
        (("engine", "peak"), "a mapping"),
        (("nowhere",), "another value"),
    ],
)
def test_expectations_are_said_in_words(schema, path, words):
    assert describe(schemas_at(schema, path=path)) == words


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "a whole number of at least 1"),
        (
            {"type": "number", "exclusiveMinimum": 0, "maximum": 2},
            "a number above 0 and of at most 2",
        ),
        ({"type": "integer", "multipleOf": 8}, "a whole number divisible by 8"),
        ({"type": "string", "pattern": "^a$"}, "text of the form ^a$"),
        ({"type": "array", "minItems": 1}, "a list of at least 1 values"),
        ({"type": "array", "maxItems": 3}, "a list of at most 3 values"),
        ({"x-dimension": "time", "exclusiveMinimum": 0}, "a time above 0 such as '20 ms'"),
        ({"type": "boolean"}, "true or false"),
        ({}, "another value"),
    ],
)
def test_bounds_are_said_in_words(schema, words):
    assert describe([schema]) == words


def test_choices_join_lists_and_constants():
    assert choices_at([{"enum": ["a", "b"]}, {"const": "c"}, {"type": "null"}]) == ["a", "b", "c"]


def test_a_list_without_a_fixed_form_has_one_schema_for_every_place():
    schema = {"type": "array", "items": {"type": "integer"}}
    assert describe(schemas_at(schema, path=(7,))) == "a whole number"
