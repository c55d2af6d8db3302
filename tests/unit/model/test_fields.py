"""Fields of a foreign file are typed, and every problem is noted."""

import math

import pytest

from rackmoe.model.fields import ConfigFields, shorten


def fields_of(**values):
    return ConfigFields(values, place="model.json")


def test_count_is_returned():
    fields = fields_of(n=3)
    assert fields.count("n") == 3
    assert fields.problems == []


@pytest.mark.parametrize("value", [0, -1, 2.0, 2.5, True, "3", [3], {}, 10**10, math.nan])
def test_wrong_count_is_noted_with_place_value_and_remedy(value):
    fields = fields_of(n=value)
    assert fields.count("n") == 1
    (problem,) = fields.problems
    assert problem == (
        f"model.json: n: {shorten(value)}; expected a whole number from 1 to 1000000000; "
        f"take it from the model's own config.json"
    )


@pytest.mark.parametrize("values", [{}, {"n": None}])
def test_missing_count_is_noted_unless_it_has_a_default(values):
    fields = fields_of(**values)
    assert fields.count("n", minimum=0) == 0
    assert fields.problems == [
        "model.json: n: missing; expected a whole number; take it from the model's own config.json"
    ]
    assert fields.count("n", default=5) == 5
    assert fields.optional_count("n") is None
    assert len(fields.problems) == 1


def test_optional_count_is_checked_where_it_is_given():
    fields = fields_of(n=0, m=2)
    assert fields.optional_count("m") == 2
    assert fields.optional_count("n") == 1
    assert len(fields.problems) == 1


@pytest.mark.parametrize("value", [0, -1.0, True, "2", math.inf, math.nan])
def test_wrong_number_is_noted(value):
    fields = fields_of(x=value)
    assert fields.number("x", default=1.5) == 1.5
    assert "expected a positive number" in fields.problems[0]


def test_number_and_flag_and_text_have_defaults():
    fields = fields_of(x=2, y=True, z="sigmoid")
    assert (fields.number("x", default=1), fields.number("w", default=1)) == (2, 1)
    assert (fields.flag("y", default=False), fields.flag("w", default=False)) == (True, False)
    assert (fields.text("z", default="a"), fields.text("w", default="a")) == ("sigmoid", "a")
    assert fields.problems == []


def test_wrong_flag_is_noted():
    fields = fields_of(y=1)
    assert fields.flag("y", default=False) is False
    assert "y: 1; expected true or false" in fields.problems[0]


def test_text_must_be_among_its_choices():
    fields = fields_of(z="tanh", u=3)
    assert fields.text("z", default="sigmoid", choices=("sigmoid", "softmax")) == "sigmoid"
    assert 'z: "tanh"; expected one of sigmoid, softmax' in fields.problems[0]
    assert fields.text("u", default="a") == "a"
    assert "u: 3; expected text" in fields.problems[1]


def test_lists_are_checked_item_by_item():
    fields = fields_of(a=[1, 2], b=["x"], c=[1, True], d=["x", 1], e=[], f=3)
    assert fields.counts("a") == (1, 2)
    assert fields.texts("b") == ("x",)
    assert (fields.counts("e"), fields.texts("e"), fields.counts("g")) == (None, None, None)
    assert fields.problems == []
    assert (fields.counts("c"), fields.texts("d"), fields.texts("f")) == (None, None, None)
    assert len(fields.problems) == 3


def test_nested_problems_carry_their_path():
    fields = fields_of(text_config={"n": -1}, other=4)
    fields.section("text_config").count("n")
    assert fields.section("absent") is None
    assert fields.section("other") is None
    assert fields.problems[0].startswith("model.json: text_config.n: -1; ")
    assert fields.problems[1].startswith("model.json: other: 4; expected an object; ")


def test_unknown_keys_are_refused_where_the_object_is_ours():
    fields = fields_of(title="x", tittle="y")
    assert fields.keys() == ("title", "tittle")
    fields.reject_unknown(("title",))
    assert fields.problems == ["model.json: tittle: unknown key; expected one of title; remove it"]


def test_long_values_are_cut():
    assert shorten("x" * 1000).endswith("...")
    assert len(shorten(list(range(1000)))) < 100
