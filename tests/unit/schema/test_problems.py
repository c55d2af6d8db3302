import pytest

from rackmoe.errors import ConfigError
from rackmoe.schema.documents import document_schema, parse_document
from rackmoe.schema.problems import validation_problems
from rackmoe.schema.yaml import parse_yaml


def problems_of(text, *, model):
    with pytest.raises(ConfigError) as caught:
        parse_document(text, model=model, place="saturn.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "thrust_rate:",
            "thrust_rat:",
            "saturn.yaml:5:3: engine.thrust_rat: unknown key; did you mean 'thrust_rate'?",
        ),
        (
            "8 TB/s",
            "8 tb/s",
            (
                "saturn.yaml:5:24: engine.thrust_rate.value: '8 tb/s' has the unknown unit 'tb/s';"
                " did you mean 'TB/s' or 'Tb/s'?"
            ),
        ),
        (
            "8 TB/s",
            "8",
            (
                "saturn.yaml:5:24: engine.thrust_rate.value: '8' has no unit;"
                " write for example '8 TB/s'"
            ),
        ),
        (
            "8 TB/s",
            "8e12",
            (
                "saturn.yaml:5:24: engine.thrust_rate.value: '8e12' has no unit;"
                " write for example '8e12 TB/s'"
            ),
        ),
        (
            "8 TB/s",
            "true",
            (
                "saturn.yaml:5:24: engine.thrust_rate.value: true; expected a bandwidth;"
                " write for example '8 TB/s'"
            ),
        ),
        (
            "8 TB/s",
            "8 W",
            (
                "saturn.yaml:5:24: engine.thrust_rate.value: '8 W' is a power; expected a"
                " bandwidth; write for example '8 TB/s'"
            ),
        ),
        (
            "{value: 8 TB/s, kind: datasheet, source: manual}",
            "8 TB/s",
            (
                "saturn.yaml:5:16: engine.thrust_rate: '8 TB/s'; expected a mapping with value,"
                " kind, source; write {value: 8 TB/s, kind: ..., source: ...}"
            ),
        ),
        (
            "value: 0.85",
            "value: 1.85",
            (
                "saturn.yaml:6:23: engine.efficiency.value: 1.85; expected a number from 0 to 1;"
                " correct the value"
            ),
        ),
        (
            "kind: assumed",
            "kind: asumed",
            (
                "saturn.yaml:6:35: engine.efficiency.kind: 'asumed'; expected one of 'datasheet',"
                " 'measured', 'derived', 'fitted', 'assumed'; did you mean 'assumed'?"
            ),
        ),
        (
            "name: saturn\n",
            "",
            "saturn.yaml:1:1: name: missing; expected text; add it",
        ),
        (
            "name: saturn",
            "name: 5",
            "saturn.yaml:2:7: name: 5; expected text; correct the value",
        ),
        (
            "name: saturn",
            "name:",
            "saturn.yaml:2:6: name: nothing; expected text; correct the value",
        ),
        (
            "stages: 3",
            "stages: '3'",
            (
                "saturn.yaml:9:18: flight.stages: '3'; expected a whole number from 1 to 9;"
                " correct the value"
            ),
        ),
        (
            "stages: 3",
            "stages: true",
            (
                "saturn.yaml:9:18: flight.stages: true; expected a whole number from 1 to 9;"
                " correct the value"
            ),
        ),
        (
            "stages: 3",
            "stages: 10",
            (
                "saturn.yaml:9:18: flight.stages: 10; expected a whole number from 1 to 9;"
                " correct the value"
            ),
        ),
        (
            "[0.5, 1.0]",
            "[0.5]",
            "saturn.yaml:9:29: flight.spread.1: missing; expected a number; add it",
        ),
        (
            "[0.5, 1.0]",
            "[0.5, x]",
            "saturn.yaml:9:35: flight.spread.1: 'x'; expected a number; correct the value",
        ),
        (
            "[0.5, 1.0]",
            "[2.5, 1.0]",
            "saturn.yaml:9:29: flight.spread: 2.5 is above 1.0; expected low <= high; swap them",
        ),
        (
            "20 ms",
            "0 ms",
            (
                "saturn.yaml:9:48: flight.delay: '0 ms'; expected a time above 0 such as '20 ms'"
                " or nothing; write for example '20 ms'"
            ),
        ),
        (
            "stages: 3",
            "stages: 3, mode: orbyt",
            (
                "saturn.yaml:9:27: flight.mode: 'orbyt'; expected 'orbit' or a whole number or"
                " nothing; did you mean 'orbit'?"
            ),
        ),
        (
            "stages: 3",
            "stages: 3, rest: 2 W",
            (
                "saturn.yaml:9:27: flight.rest: '2 W'; expected 'none' or a time such as '20 ms';"
                " write for example '20 ms'"
            ),
        ),
        (
            "  efficiency:",
            "  fuel: {metane: 1}\n  efficiency:",
            "saturn.yaml:6:10: engine.fuel.metane: unknown key; did you mean 'methane'?",
        ),
        (
            "status: shipping",
            "thrust_rate_bytes_per_s: 3",
            (
                "saturn.yaml:3:1: thrust_rate_bytes_per_s: unknown key; choose from engine,"
                " flight, name, schema, sources, status, variants"
            ),
        ),
        (
            "source: guess",
            "source: manual",
            "saturn.yaml:12:3: sources.guess: no value names this source; use it or remove it",
        ),
    ],
)
def test_each_mistake_gives_one_line_with_place_expectation_and_remedy(
    old, new, problem, good, rocket
):
    assert good.count(old) >= 1
    assert problems_of(good.replace(old, new, 1), model=rocket) == (problem,)


def test_all_mistakes_of_a_file_come_at_once_in_its_order(good, rocket):
    text = (
        good.replace("8 TB/s", "8 tb/s")
        .replace("stages: 3", "stages: three")
        .replace("status: shipping", "status: *gone\nname: apollo")
        .replace("source: guess", "source: gues")
    )
    lines = [
        line.removeprefix("saturn.yaml:").split(": ")[:2]
        for line in problems_of(text, model=rocket)
    ]
    assert lines == [
        ["3:9", "alias '*gone'; expected a value; write it out"],
        ["4:1", "duplicate key 'name'; it is already on line 2; remove one"],
        ["6:24", "engine.thrust_rate.value"],
        ["7:52", "engine.efficiency.source"],
        ["10:18", "flight.stages"],
        ["13:3", "sources.guess"],
    ]


def test_a_top_that_is_no_mapping_is_one_problem(rocket):
    (problem,) = problems_of("- a\n", model=rocket)
    assert problem.startswith("saturn.yaml:1:1: a list; expected a mapping with schema, name")


def test_an_alias_is_not_reported_again_as_a_wrong_value(good, rocket):
    problems = problems_of(good.replace("name: saturn", "name: *x"), model=rocket)
    assert problems == ("saturn.yaml:2:7: alias '*x'; expected a value; write it out",)


def test_a_missing_key_is_reported_where_no_unknown_one_resembles_it(good, rocket):
    text = good.replace("  efficiency:", "  colour:")
    assert [line.split(": ", 2)[1:] for line in problems_of(text, model=rocket)] == [
        ["engine.efficiency", "missing; expected a mapping with value, kind, source; add it"],
        [
            "engine.colour",
            "unknown key; choose from dry_rate, efficiency, fuel, peak, thrust_rate",
        ],
    ]


def test_messages_of_plain_value_errors_are_kept(good, rocket):
    tree = parse_yaml(good, place="saturn.yaml")
    try:
        rocket.model_validate_json('{"schema": 1}', by_alias=True, by_name=False)
    except ValueError as error:
        found = validation_problems(error, tree=tree, schema=document_schema(rocket))
    assert {problem.mark.place for problem in found} == {"saturn.yaml"}
