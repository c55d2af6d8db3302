import csv
import io
import json

import pandas as pd
import pytest
from serving_cases import ANSWERS, ROWS, row_of, written

from rackmoe.study.validation import serving, serving_answers, serving_explain


@pytest.fixture
def points(tmp_path, monkeypatch):
    """Return a file of rows whose answers are known."""
    asked = []

    def answer_rows(rows, *, progress=None, **_):
        asked.append([row.id for row in rows])
        for done in range(len(rows)):
            if progress is not None:
                progress(done + 1, len(rows))
        return {row.id: ANSWERS[row.id] for row in rows}

    monkeypatch.setattr(serving, "answer_rows", answer_rows)
    path = written(tmp_path / "points.csv")
    return path, asked


def test_json_has_every_point_under_the_names_of_the_file(run, points):
    ran = run("validate", "serving", points[0], "--format", "json")
    data = json.loads(ran.out)
    first, *_, last = data["points"]
    assert (first["id"], first["answered"], first["reason"]) == ("a", True, "")
    assert (first["tpot_ms"], first["ttft_ms"]) == (22.0, 150.0)
    assert first["output_tokens_per_s_per_decode_gpu"] is None
    assert (last["answered"], last["tpot_ms"]) == (False, None)
    assert {"strata", "baselines"} <= set(data)
    assert "not answered: d: weights do not fit" in ran.err
    assert "4 of 4 rows" in ran.err
    assert ran.code == 0


def test_csv_is_a_row_for_each_point(run, points):
    ran = run("validate", "serving", points[0], "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
    assert (rows[0]["tpot_ms"], rows[0]["measured_tpot_ms"]) == ("22.0", "20.0")


def test_people_read_tables_markdown_or_a_page(run, points):
    assert "Headline strata" in run("validate", "serving", points[0]).out
    assert run("validate", "serving", points[0], "--format", "md").out.startswith("### Serving")
    page = run("validate", "serving", points[0], "--format", "html").out
    assert page.startswith("<!DOCTYPE html>")


def test_rows_are_chosen_by_pattern_and_number(run, points):
    run("validate", "serving", points[0], "--only", "gb200*", "--format", "json")
    run("validate", "serving", points[0], "--sample", "2", "--format", "json")
    assert points[1] == [["d"], ["a", "c"]]


def test_a_file_of_which_nothing_is_answered_is_a_negative_verdict(run, points):
    ran = run("validate", "serving", points[0], "--only", "d")
    assert ran.code == 1
    assert "| d |" not in ran.out
    assert "raise ep" in ran.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("tpot_ms\n", "x\n"), None),
        (("curve", "courve"), "rename 'courve' to 'curve'"),
        ((",20,", ",nan,"), "tpot_ms: 'nan'; expected a number"),
    ],
)
def test_a_damaged_file_is_a_usage_error_without_a_trace(run, points, change, message):
    path = points[0]
    path.write_text(path.read_text().replace(*change))
    ran = run("validate", "serving", path)
    if message is None:
        assert ran.code == 0
    else:
        assert ran.code == 2
        assert message in ran.err
        assert "Traceback" not in ran.err
        assert ran.out == ""


def test_rows_of_unknown_machines_count_as_failures_with_their_reason(run, tmp_path):
    path = written(tmp_path / "odd.csv", [row_of("x", hardware="hgx_h300")])
    ran = run("validate", "serving", path, "--format", "json", "--cache", tmp_path / "cache")
    (point,) = json.loads(ran.out)["points"]
    assert not point["answered"]
    assert "hgx_h300" in point["reason"]
    assert ran.code == 1


def test_a_row_to_explain_has_to_be_in_the_file(run, points):
    ran = run("validate", "serving", points[0], "--explain", "nothing")
    assert ran.code == 2
    assert "--explain: 'nothing': not an id of" in ran.err


def test_an_explained_row_has_figures_and_parts_of_its_steps(run, tmp_path, monkeypatch):
    monkeypatch.setattr(serving_answers, "answer_rows", lambda _, **__: {"a": ANSWERS["a"]})
    steps = pd.DataFrame(
        {"pool": ["decode"], "kind": ["decode"], "n_steps": [7], "attention_s": [0.001]}
    )
    monkeypatch.setattr(serving_explain, "explain_row", lambda _row: steps)
    path = written(tmp_path / "points.csv", ROWS[:1])
    text = run("validate", "serving", path, "--explain", "a").out
    assert "tpot_ms" in text
    assert "+10 %" in text
    assert "decode decode" in text
    data = json.loads(run("validate", "serving", path, "--explain", "a", "--format", "json").out)
    assert data["steps"][0]["n_steps"] == 7
    assert run("validate", "serving", path, "--explain", "a", "--format", "csv").out
    assert "<table>" in run("validate", "serving", path, "--explain", "a", "--format", "html").out
