import json

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rackmoe.errors import ConfigError, InvariantError
from rackmoe.schema.documents import (
    Document,
    Sourced,
    document_schema,
    load_document,
    parse_document,
    validate_tree,
)
from rackmoe.schema.quantities import BytesPerSecond, Fraction, Kind, Watts
from rackmoe.schema.tree import node_data
from rackmoe.schema.yaml import parse_yaml
from rackmoe.units import Dimension, format_quantity


def test_a_file_becomes_si_floats_under_python_names(tmp_path, good, rocket):
    path = tmp_path / "saturn.yaml"
    path.write_text(good)
    document = load_document(path, model=rocket)
    assert document.engine.thrust_rate_bytes_per_s == Sourced[BytesPerSecond](
        value=8e12, kind=Kind.DATASHEET, source="manual"
    )
    assert document.engine.peak_flop_per_s["bf16"].value == 2.5e15
    assert document.flight.delay_s == 0.02
    assert document.flight.spread == (0.5, 1.0)


def test_a_file_is_named_in_its_problems(tmp_path, good, rocket):
    path = tmp_path / "saturn.yaml"
    path.write_text(good.replace("name:", "nam:"))
    with pytest.raises(ConfigError) as caught:
        load_document(path, model=rocket)
    assert str(caught.value) == f"{path}:2:1: nam: unknown key; did you mean 'name'?"


def test_documents_are_frozen(good, rocket):
    document = parse_document(good, model=rocket, place="f.yaml")
    with pytest.raises(ValidationError, match=r"frozen"):
        document.name = "other"


def test_a_file_cannot_use_python_names(good, rocket):
    with pytest.raises(ConfigError, match=r"flight.delay_s: unknown key; did you mean 'delay'\?"):
        parse_document(good.replace("delay:", "delay_s:"), model=rocket, place="f.yaml")


def test_a_whole_float_is_a_whole_number(good, rocket):
    document = parse_document(good.replace("stages: 3", "stages: 3e0"), model=rocket, place="f")
    assert document.flight.stages == 3


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("rackmoe/rocket/2", "convert the file or use the rackmoe that wrote it"),
        ("rackmoe/boat/1", "pass a file of this kind"),
        ("1", "pass a file of this kind"),
    ],
)
def test_another_version_is_the_only_problem_reported(version, advice, rocket):
    with pytest.raises(ConfigError) as caught:
        parse_document(f"schema: {version}\nnonsense: 3\n", model=rocket, place="f.yaml")
    (problem,) = caught.value.problems
    assert problem.startswith("f.yaml:1:9: schema: ")
    assert problem.endswith(f"this version of rackmoe reads rackmoe/rocket/1 here; {advice}")


def test_a_missing_version_is_a_missing_key(good, rocket):
    with pytest.raises(
        ConfigError, match=r"f.yaml:1:1: schema: missing; expected 'rackmoe/rocket/1'"
    ):
        parse_document(good.split("\n", 1)[1], model=rocket, place="f.yaml")


def test_json_output_of_a_document_reads_back_as_the_same(good, rocket):
    document = parse_document(good, model=rocket, place="f.yaml")
    text = document.model_dump_json(by_alias=True)
    assert parse_document(text, model=rocket, place="f.json") == document


def test_json_schema_accepts_what_the_reader_accepts(good, rocket):
    schema = document_schema(rocket)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(node_data(parse_yaml(good, place="f.yaml")), schema)


MUTANTS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 12),
        st.sampled_from(
            ["", " ", "\n", "\t", ":", "- ", "[", "}", "*a", "&a ", "0", "1e999", "true"]
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(edits=MUTANTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_file_is_a_document_or_a_config_error_at_places(edits, good, rocket):
    text = good
    for position, length, inserted in edits:
        text = text[:position] + inserted + text[position + length :]
    problems = ()
    try:
        parse_document(text, model=rocket, place="f.yaml")
    except ConfigError as error:
        problems = error.problems
    assert all(line.startswith("f.yaml:") for line in problems)
    assert len(set(problems)) == len(problems)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("thrust_rate:", "thrust_rat:"),
        ("8 TB/s", "8 tb/s"),
        ("8 TB/s", "8"),
        ("8 TB/s", "8 W"),
        ("0.85", "1.85"),
        ("kind: assumed", "kind: asumed"),
        ("stages: 3", "stages: 3.5"),
        ("[0.5, 1.0]", "[0.5]"),
        ("rocket/1", "rocket/2"),
        ("name: saturn\n", ""),
    ],
)
def test_json_schema_refuses_what_the_reader_refuses(old, new, good, rocket):
    text = good.replace(old, new)
    with pytest.raises(ConfigError):
        parse_document(text, model=rocket, place="f.yaml")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(node_data(parse_yaml(text, place="f.yaml")), document_schema(rocket))


@given(value=st.floats(min_value=0, max_value=1e18), digits=st.integers(1, 12))
def test_json_schema_and_reader_agree_on_quantities(value, digits):
    text = format_quantity(value, dimension=Dimension.POWER, digits=digits)
    jsonschema.validate({"limit": text}, document_schema(Lamp))
    assert parse_document(f"limit: {text}", model=Lamp, place="f").limit_w == pytest.approx(
        value, rel=10.0 ** (1 - digits)
    )


class Lamp(Document):
    limit_w: Watts
    dimming_frac: Fraction = 0.5
    dimmed: Sourced[Fraction] | None = None
    brightest: Sourced[float] | None = None


def test_definitions_of_a_schema_have_short_names():
    definitions = document_schema(Lamp)["$defs"]
    assert set(definitions) == {"Kind", "SourcedFloat", "SourcedFloat2"}
    text = json.dumps(document_schema(Lamp))
    assert all(f"#/$defs/{name}" in text for name in definitions)


def test_two_fields_cannot_have_one_key():
    with pytest.raises(InvariantError, match=r"Shade: two fields with the key limit"):
        type("Shade", (Lamp,), {"__annotations__": {"limit_frac": Fraction}})


def test_a_tree_is_validated_with_the_places_it_has(good, rocket):
    tree = parse_yaml(good, place="f.yaml")
    assert validate_tree(tree, model=rocket).name == "saturn"
    with pytest.raises(ConfigError, match=r"g.yaml:1:7: name: 3; expected text"):
        validate_tree(
            parse_yaml("name: 3\n" + good.replace("name: saturn\n", ""), place="g.yaml"),
            model=rocket,
        )
