import csv
import io
import json


def test_list_shows_every_kind_as_lines(run):
    ran = run("list")
    assert ran.code == 0
    assert ran.err == ""
    kinds = {line.split()[0] for line in ran.out.splitlines()[2:]}
    assert {"machine", "model", "backend", "scenario", "request-trace"} <= kinds


def test_list_of_one_kind_is_json_on_demand(run):
    found = json.loads(run("list", "machine", "--format", "json").out)
    assert {"kind": "machine", "name": "gb200_nvl72", "title": "NVIDIA GB200 NVL72"} in found
    assert {one["kind"] for one in found} == {"machine"}


def test_list_is_csv_and_markdown_on_demand(run):
    rows = list(csv.reader(io.StringIO(run("list", "model", "--format", "csv").out)))
    assert rows[0] == ["kind", "name", "title"]
    assert ["model", "mixtral-8x7b", "Mixtral 8x7B"] in rows
    assert run("list", "model", "--format", "md").out.startswith("| kind | name | title |\n")


def test_unknown_kind_is_a_usage_error(run):
    ran = run("list", "planets")
    assert ran.code == 2
    assert "planets" in ran.err
