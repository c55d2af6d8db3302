import pytest

from rackmoe.schema.sources import check_sources, is_sourced_leaf, sourced_leaves
from rackmoe.schema.yaml import parse_yaml


def problems_of(text):
    return [str(problem) for problem in check_sources(parse_yaml(text, place="f.yaml"))]


def test_a_document_whose_names_match_has_no_problem(good):
    assert problems_of(good) == []


def test_leaves_are_found_in_mappings_and_lists():
    leaf = "{value: 1, kind: assumed, source: s}"
    tree = parse_yaml(f"a: {leaf}\nb: [x, {leaf}]\nc: {{d: {leaf}}}\n", place="f.yaml")
    assert [path for path, _ in sourced_leaves(tree)] == [("a",), ("b", 1), ("c", "d")]
    assert all(is_sourced_leaf(node) for _, node in sourced_leaves(tree))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            (
                "a: {value: 1, kind: assumed, source: sheat}\n"
                "b: {value: 1, kind: assumed, source: sheet}\n"
                "sources: {sheet: x}\n"
            ),
            "f.yaml:1:38: a.source: 'sheat' is not in sources; did you mean 'sheet'?",
        ),
        (
            "a: {value: 1, kind: assumed, source: sheet}\nsources: {sheet: x, old: y}\n",
            "f.yaml:2:21: sources.old: no value names this source; use it or remove it",
        ),
    ],
)
def test_a_name_on_one_side_only_is_a_problem(text, problem):
    assert problems_of(text) == [problem]


@pytest.mark.parametrize(
    "text", ["a: 1", "- 1", "sources: 3", "a: {value: 1, source: 3}\nsources: {}"]
)
def test_documents_of_another_form_are_left_to_the_schema(text):
    assert problems_of(text) == []
