import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import ConfigError
from rackmoe.schema.text import MAX_BYTES
from rackmoe.schema.tree import node_data
from rackmoe.schema.yaml import MAX_DEPTH, MAX_NODES, compose_yaml, parse_yaml

words = st.text("abcxyz_-", min_size=1, max_size=6).filter(lambda word: word.strip("-"))
data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


def problems_of(text):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, place="f.yaml")
    return caught.value.problems


def test_a_text_becomes_a_tree_of_core_scalars():
    text = "a: no\nb: 12:30\nc: 010\nd: 1e9\ne: 'true'\nf: [on, 0.5, ~]\ng: |\n  two\n  lines\n"
    assert node_data(parse_yaml(text, place="f.yaml")) == {
        "a": "no",
        "b": "12:30",
        "c": "010",
        "d": 10**9,
        "e": "true",
        "f": ["on", 0.5, None],
        "g": "two\nlines\n",
    }


def test_a_merge_key_is_a_word_like_any_other():
    assert node_data(parse_yaml("<<: {a: 1}", place="f.yaml")) == {"<<": {"a": 1}}


@given(data)
def test_what_pyyaml_writes_is_read_back(value):
    text = yaml.safe_dump(value, sort_keys=False)
    if "&" not in text:
        assert node_data(parse_yaml(text, place="f.yaml")) == value


@given(st.text("ab:-[]{}&*!#|>'\" \n\t%@`?,.0123456789", max_size=60))
def test_any_text_is_a_tree_or_a_config_error_with_places(text):
    problems = ()
    try:
        parse_yaml(text, place="f.yaml")
    except ConfigError as error:
        problems = error.problems
    assert all(line.startswith("f.yaml:") for line in problems)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x 1\n", "f.yaml:1:4: anchor '&x'; expected a value alone; remove the anchor"),
        ("a: *x\n", "f.yaml:1:4: alias '*x'; expected a value; write it out"),
        ("*x : 1\n", "f.yaml:1:1: alias '*x'; expected a value; write it out"),
        ("a: !!int 1\n", "f.yaml:1:4: tag '!!int'; expected a value alone; remove the tag"),
        ("a: !x {}\n", "f.yaml:1:4: tag '!x'; expected a value alone; remove the tag"),
        (
            "a: 1\nb: 2\na: 3\n",
            "f.yaml:3:1: duplicate key 'a'; it is already on line 1; remove one",
        ),
        ("2: x\n", "f.yaml:1:1: key 2; expected a word; quote it: '2'"),
        ("true: x\n", "f.yaml:1:1: key true; expected a word; quote it: 'true'"),
        (": x\n", "f.yaml:1:1: "),
        ("? [a]\n: x\n", "f.yaml:1:3: a list or mapping as key; expected a word; write a word"),
        ("a: .nan\n", "f.yaml:1:4: .nan; expected a finite number that 64 bits can hold"),
        ("a: -.inf\n", "f.yaml:1:4: -.inf; expected a finite number"),
        ("a: 1e999\n", "f.yaml:1:4: 1e999; expected a finite number"),
        ("%YAML 1.1\n---\na: 1\n", "f.yaml:1:1: a YAML directive; expected plain data"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document; expected one; remove '---'"),
        ("", "f.yaml: empty; expected keys and values; write them"),
        ("# only a comment\n", "f.yaml: empty; expected keys and values; write them"),
        ("a:\n\tb: 1\n", "f.yaml:2:1: a tab; expected spaces; indent with spaces"),
        ("a: b: c\n", "f.yaml:1:5: a second ': ' in one line; expected one key"),
        ("a: [1, 2\nb: 3\n", "f.yaml:2:2: did not find expected ',' or ']'"),
        ("a: 'x\n", "f.yaml:2:1: found unexpected end of stream"),
        ("a: \x07\n", "f.yaml:1:4: character U+0007; expected printable text; remove it"),
        ("a: 1\nb: \x00\n", "f.yaml:2:4: character U+0000"),
    ],
)
def test_what_strict_yaml_refuses_has_a_place_and_a_remedy(text, problem):
    (found,) = problems_of(text)
    assert found.startswith(problem)


def test_all_problems_of_a_text_come_at_once_even_before_a_syntax_error():
    found = problems_of("a: &x 1\na: 2\nb: *x\nc: .inf\nd: [\n")
    assert [line.split(": ")[0] for line in found] == [
        "f.yaml:1:4",
        "f.yaml:2:1",
        "f.yaml:3:4",
        "f.yaml:4:4",
        "f.yaml:6:1",
    ]


def test_a_tree_is_kept_beside_problems_with_broken_parts_marked():
    tree, problems = compose_yaml("a: *x\nb: 2\n", place="f.yaml")
    assert [str(problem.mark) for problem in problems] == ["f.yaml:1:4"]
    assert tree.items["a"].is_broken
    assert node_data(tree) == {"a": None, "b": 2}


def test_depth_is_limited():
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_yaml(deepest, place="f.yaml")
    (found,) = problems_of("[" * 100_000)
    assert (
        found == f"f.yaml:1:{MAX_DEPTH + 1}: nested more than {MAX_DEPTH} deep; write it flatter"
    )


def test_number_of_values_is_limited():
    fits = "[" + "1," * (MAX_NODES - 1) + "]"
    assert len(parse_yaml(fits, place="f.yaml").items) == MAX_NODES - 1
    (found,) = problems_of("[" + "1," * MAX_NODES + "]")
    assert f"more than {MAX_NODES} values; split the file" in found


def test_size_is_limited():
    (found,) = problems_of("x" * (MAX_BYTES + 1))
    assert found.startswith(f"f.yaml: {MAX_BYTES + 1} characters; expected at most {MAX_BYTES}")


def test_a_billion_laughs_are_not_expanded():
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30)]
    assert len(problems_of("\n".join(lines))) == 30 + 2 * 29
