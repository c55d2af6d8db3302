"""STYLE section 6: every number of a profile has a kind and a source."""

import json

import jsonschema
import pytest
import yaml

from rackmoe.schema.documents import document_schema
from rackmoe.schema.shipped import shipped_names
from rackmoe.schema.sources import check_sources
from rackmoe.schema.tree import node_data
from rackmoe.schema.yaml import compose_yaml, parse_yaml

KINDS = {"datasheet", "measured", "derived", "fitted", "assumed"}
# these name the file and say what the machine is; they are no physical values
PLAIN_KEYS = {"schema", "name", "title", "status", "notes", "sources"}


def bare_leaves(value, *, path=()):
    """Yield the paths of values that are not written as {value, kind, source}."""
    if isinstance(value, dict) and "value" in value:
        if set(value) != {"value", "kind", "source"} or value["kind"] not in KINDS:
            yield ".".join(path)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from bare_leaves(inner, path=(*path, str(key)))
    elif isinstance(value, bool) or not isinstance(value, str):
        yield ".".join(path)


def test_every_number_of_a_profile_has_a_kind_and_a_source(profile_file):
    data = yaml.safe_load(profile_file.read_text(encoding="utf-8"))
    physical = {key: value for key, value in data.items() if key not in PLAIN_KEYS}
    found = list(bare_leaves(physical))
    assert not found, f"STYLE 6: write {{value, kind, source}}: {found}"


def test_every_source_of_a_profile_exists_and_is_used(profile_file):
    text = profile_file.read_text(encoding="utf-8")
    tree, problems = compose_yaml(text, place=profile_file.name)
    problems += check_sources(tree)
    assert not problems, f"STYLE 6: {[str(problem) for problem in problems]}"


def test_profile_carries_the_name_of_its_file_and_is_read(profile_file):
    profile = pytest.importorskip("rackmoe.hardware.profile")
    document = profile.load_profile(profile_file.stem)
    assert document.name == profile_file.stem, "STYLE 6: the name equals the file stem"


def test_exported_schema_accepts_every_profile(profile_file):
    documents = pytest.importorskip("rackmoe.hardware.documents")
    tree = parse_yaml(profile_file.read_text(encoding="utf-8"), place=profile_file.name)
    jsonschema.validate(node_data(tree), document_schema(documents.MachineDocument))


def test_sources_say_where_a_number_can_be_looked_up(profile_file):
    data = yaml.safe_load(profile_file.read_text(encoding="utf-8"))
    short = [name for name, text in data["sources"].items() if len(str(text)) < 12]
    assert not short, f"STYLE 6: a source names a document, its date and its place: {short}"


def test_every_shipped_profile_has_its_place(root):
    names = shipped_names("hardware_profiles")
    assert set(names) == {path.stem for path in (root / "hardware_profiles").glob("*.yaml")}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"a": {"value": "8 TB/s", "kind": "datasheet", "source": "x"}}, []),
        ({"a": {"value": "8 TB/s", "kind": "guess", "source": "x"}}, ["a"]),
        ({"a": {"value": "8 TB/s", "source": "x"}}, ["a"]),
        ({"a": {"b": 3}}, ["a.b"]),
        ({"a": {"b": [1, 2]}}, ["a.b"]),
        ({"a": "words"}, []),
    ],
)
def test_the_check_finds_a_number_without_a_source(value, found):
    assert list(bare_leaves(json.loads(json.dumps(value)))) == found
