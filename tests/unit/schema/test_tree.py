import math

import pytest

from rackmoe.errors import ConfigError
from rackmoe.schema.tree import (
    ListNode,
    MapNode,
    Mark,
    ScalarNode,
    build_node,
    did_you_mean,
    find_node,
    nearest_mark,
    node_data,
    path_text,
    problem_at,
    shown,
    split_path,
)
from rackmoe.schema.yaml import parse_yaml

TREE = parse_yaml("a:\n  b: [1, {c: two}]\n  d: 1e9\n", place="f.yaml")
HERE = Mark(place="--set")


def test_a_node_is_found_by_keys_and_places():
    found = find_node(TREE, path=("a", "b", 1, "c"))
    assert isinstance(found, ScalarNode)
    assert found.value == "two"
    assert find_node(TREE, path=()) is TREE


@pytest.mark.parametrize(
    "path", [("x",), ("a", "b", 2), ("a", "b", -1), ("a", "b", "c"), ("a", 0)]
)
def test_a_path_that_is_not_there_gives_none(path):
    assert find_node(TREE, path=path) is None


@pytest.mark.parametrize(
    ("path", "mark"),
    [
        ((), "f.yaml:1:1"),
        (("a",), "f.yaml:1:1"),
        (("a", "b"), "f.yaml:2:6"),
        (("a", "x"), "f.yaml:1:1"),
        (("a", "b", 1, "c"), "f.yaml:2:14"),
        (("a", "d", "e"), "f.yaml:3:6"),
    ],
)
def test_the_nearest_place_is_the_value_or_the_key_of_its_mapping(path, mark):
    assert str(nearest_mark(TREE, path=path)) == mark


def test_a_problem_names_its_place_and_path():
    problem = problem_at(TREE, path=("a", "b", 0), text="1; expected 2; add one")
    assert str(problem) == "f.yaml:2:7: a.b.0: 1; expected 2; add one"
    assert str(problem_at(TREE, path=(), text="bad")) == "f.yaml:1:1: bad"


def test_plain_data_becomes_a_tree_and_back():
    data = {"a": [1, 2.5, "x", None, True], "b": {"c": ()}}
    node = build_node(data, mark=HERE)
    assert isinstance(node, MapNode)
    assert isinstance(node.items["a"], ListNode)
    assert node_data(node) == {"a": [1, 2.5, "x", None, True], "b": {"c": []}}
    assert str(nearest_mark(node, path=("a", 0))) == "--set"


def test_a_whole_float_becomes_an_integer_as_json_schema_has_it():
    assert node_data(TREE) == {"a": {"b": [1, {"c": "two"}], "d": 10**9}}
    assert isinstance(node_data(find_node(TREE, path=("a", "d"))), int)


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1: 2}, b"x", {"a": {None: 1}}])
def test_data_that_no_file_could_hold_is_refused(value):
    with pytest.raises(ConfigError, match=r"--set: .*; expected words, finite numbers"):
        build_node(value, mark=HERE)


def test_paths_are_dotted_and_digits_are_places():
    assert split_path("a.0.b") == ("a", 0, "b")
    assert path_text(("a", 0, "b")) == "a.0.b"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("fp8", "'fp8'"),
        (8, "8"),
        (None, "nothing"),
        ([1], "a list"),
        ({}, "a mapping"),
        ("x" * 50, f"'{'x' * 40}...'"),
    ],
)
def test_values_are_shown_short(value, text):
    assert shown(build_node(value, mark=HERE)) == text


def test_no_node_is_shown_as_nothing():
    assert shown(None) == "nothing"


def test_a_close_word_is_suggested_else_all_are_listed():
    assert did_you_mean("hbm_bandwith", known=["hbm", "hbm_bandwidth"]) == (
        "did you mean 'hbm_bandwidth'?"
    )
    assert did_you_mean("zzz", known=["b", "a"]) == "choose from a, b"
    assert did_you_mean("zzz", known=[]) == "none is known here; remove it"
