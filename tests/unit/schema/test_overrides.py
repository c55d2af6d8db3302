import pytest

from rackmoe.errors import ConfigError
from rackmoe.schema.documents import document_schema, validate_tree
from rackmoe.schema.overrides import (
    apply_overrides,
    apply_variant,
    parse_setting,
    variant_names,
    without_variants,
)
from rackmoe.schema.tree import find_node, node_data
from rackmoe.schema.yaml import parse_yaml

VARIANTS = """\
variants:
  heavy: {flight.stages: 5, flight.mode: orbit}
  light: {flight: {stages: 1}, engine.efficiency: 0.9}
  wrong: {flight.stagez: 5, engine.wings: 2, name: neptune}
  bad: {flight.stages: 50}
  word: heavy
"""


@pytest.fixture
def schema(rocket):
    return document_schema(rocket)


@pytest.fixture
def tree(good):
    return parse_yaml(good, place="saturn.yaml")


@pytest.fixture
def varied(good):
    return parse_yaml(good + VARIANTS, place="saturn.yaml")


def test_a_setting_is_a_path_and_a_yaml_value():
    path, node = parse_setting("flight.spread=[0.5, 1]")
    assert (path, node_data(node)) == ("flight.spread", [0.5, 1])
    assert node_data(parse_setting("flight.mode=no")[1]) == "no"
    assert node_data(parse_setting("flight.stages=1e0")[1]) == 1
    assert node_data(parse_setting("flight.delay=20 ms")[1]) == "20 ms"
    assert node_data(parse_setting("flight.delay=")[1]) is None
    assert node_data(parse_setting("name=a=b")[1]) == "a=b"


@pytest.mark.parametrize("text", ["flight.stages", "=3", " =3", ""])
def test_a_setting_needs_a_path_and_an_equals_sign(text):
    with pytest.raises(ConfigError, match=r"--set: .*expected PATH=VALUE"):
        parse_setting(text)


def test_a_setting_with_broken_yaml_names_the_option():
    with pytest.raises(ConfigError, match=r"^--set flight.stages:1:1: alias"):
        parse_setting("flight.stages=*x")


def test_values_are_replaced_and_the_tree_is_left_alone(tree, schema, rocket):
    before = node_data(tree)
    changed = apply_overrides(
        tree, overrides={"flight.stages": 4, "flight.spread.1": 2.0}, schema=schema
    )
    document = validate_tree(changed, model=rocket)
    assert (document.flight.stages, document.flight.spread) == (4, (0.5, 2.0))
    assert node_data(tree) == before


def test_a_mapping_is_replaced_as_a_whole(tree, schema, rocket):
    changed = apply_overrides(tree, overrides={"flight": {"stages": 1}}, schema=schema)
    assert validate_tree(changed, model=rocket).flight.delay_s is None


def test_a_key_of_the_schema_that_the_file_leaves_out_can_be_set(tree, schema, rocket):
    changed = apply_overrides(tree, overrides={"flight.mode": "orbit"}, schema=schema)
    assert validate_tree(changed, model=rocket).flight.mode == "orbit"


def test_without_a_schema_a_path_must_be_in_the_file(tree):
    assert apply_overrides(tree, overrides={"flight.stages": 4})
    with pytest.raises(ConfigError, match=r"no key 'mode' in flight; did you mean|choose from"):
        apply_overrides(tree, overrides={"flight.mode": "orbit"})


def test_every_path_that_does_not_exist_is_reported(tree, schema):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(
            tree,
            overrides={"flight.stagse": 1, "flit.stages": 1, "name": "x", "name.first": "y"},
            schema=schema,
            place="--set",
        )
    assert caught.value.problems == (
        "--set: flight.stagse: no key 'stagse' in flight; did you mean 'stages'?",
        "--set: flit.stages: no key 'flit'; did you mean 'flight'?",
        "--set: name.first: no key 'first' in name; none is known here; remove it",
    )


def test_a_wrong_value_is_reported_at_the_override(tree, schema, rocket):
    changed = apply_overrides(
        tree, overrides=dict([parse_setting("flight.stages=50")]), schema=schema
    )
    with pytest.raises(ConfigError) as caught:
        validate_tree(changed, model=rocket)
    assert str(caught.value) == (
        "--set flight.stages: flight.stages: 50; expected a whole number from 1 to 9;"
        " correct the value"
    )


def test_a_sourced_value_becomes_assumed_and_its_old_source_goes(tree, schema, rocket):
    changed = apply_overrides(
        tree, overrides={"engine.efficiency": 0.9}, schema=schema, place="a.yaml"
    )
    document = validate_tree(changed, model=rocket)
    assert document.engine.efficiency.value == 0.9
    assert document.engine.efficiency.kind == "assumed"
    assert document.sources == {"manual": "the manual, 1969", "override": "replaced by a.yaml"}


def test_a_source_that_other_values_use_stays(tree, schema, rocket):
    changed = apply_overrides(tree, overrides={"engine.thrust_rate": "9 TB/s"}, schema=schema)
    assert "manual" in validate_tree(changed, model=rocket).sources


def test_an_optional_sourced_value_can_be_set(tree, schema, rocket):
    changed = apply_overrides(tree, overrides={"engine.dry_rate": "1 GB/s"}, schema=schema)
    assert validate_tree(changed, model=rocket).engine.dry_rate_bytes_per_s.value == 1e9


def test_a_sourced_value_can_be_replaced_with_its_source(tree, schema, rocket):
    leaf = {"value": 0.9, "kind": "measured", "source": "manual"}
    changed = apply_overrides(tree, overrides={"engine.efficiency": leaf}, schema=schema)
    document = validate_tree(changed, model=rocket)
    assert document.engine.efficiency.kind == "measured"
    assert set(document.sources) == {"manual"}


def test_places_of_several_overrides_are_all_named(tree, schema, rocket):
    once = apply_overrides(
        tree, overrides={"engine.efficiency": 0.9}, schema=schema, place="a.yaml"
    )
    twice = apply_overrides(
        once, overrides={"engine.thrust_rate": "9 TB/s"}, schema=schema, place="--set"
    )
    sources = validate_tree(twice, model=rocket).sources
    assert sources["override"] == "replaced by a.yaml; replaced by --set"


def test_variants_are_named_in_the_order_of_the_file(varied, tree):
    assert variant_names(varied) == ("heavy", "light", "wrong", "bad", "word")
    assert variant_names(tree) == ()


def test_a_variant_of_dotted_paths_replaces_single_values(varied, schema, rocket):
    document = validate_tree(apply_variant(varied, name="heavy", schema=schema), model=rocket)
    assert (document.flight.stages, document.flight.mode) == (5, "orbit")
    assert document.flight.delay_s == 0.02
    assert document.variants == {}


def test_a_variant_of_nested_keys_replaces_whole_mappings(varied, schema, rocket):
    document = validate_tree(apply_variant(varied, name="light", schema=schema), model=rocket)
    assert document.flight.delay_s is None
    assert document.sources["override"] == "replaced by saturn.yaml:15:51"


def test_unknown_paths_of_a_variant_are_all_reported_at_their_places(varied, schema):
    with pytest.raises(ConfigError) as caught:
        apply_variant(varied, name="wrong", schema=schema)
    assert caught.value.problems == (
        (
            "saturn.yaml:16:26: flight.stagez: no key 'stagez' in flight; did you mean 'stages'?"
            " (in variant 'wrong')"
        ),
        (
            "saturn.yaml:16:43: engine.wings: no key 'wings' in engine; choose from dry_rate,"
            " efficiency, fuel, peak, thrust_rate (in variant 'wrong')"
        ),
    )


def test_a_wrong_value_of_a_variant_is_reported_where_it_is_written(varied, schema, rocket):
    with pytest.raises(ConfigError, match=r"^saturn.yaml:17:24: flight.stages: 50; expected"):
        validate_tree(apply_variant(varied, name="bad", schema=schema), model=rocket)


def test_a_variant_must_exist_and_be_a_mapping(varied, schema):
    with pytest.raises(ConfigError, match=r"saturn.yaml: variant 'hevy'; did you mean 'heavy'"):
        apply_variant(varied, name="hevy", schema=schema)
    with pytest.raises(
        ConfigError, match=r"saturn.yaml:18:9: variants.word: 'heavy'; expected keys"
    ):
        apply_variant(varied, name="word", schema=schema)


def test_the_document_without_variants_is_the_rest(varied, tree):
    assert node_data(without_variants(varied)) == node_data(tree)
    assert find_node(without_variants(varied), path=("variants",)) is None
