import json

import pytest

from rackmoe.errors import ConfigError
from rackmoe.study.validation import serving
from rackmoe.study.validation.serving import select_rows, validate_answers, validate_serving
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_rows import ServingRow


def row_of(name, *, curve="h200/one", tpot_ms="20"):
    cells = {"id": name, "curve": curve, "trust": "A", "hardware": "hgx_h200"}
    cells |= {"model": "deepseek-r1", "weights_dtype": "fp8", "engine": "sglang", "mode": "agg"}
    cells |= {"isl": "1000", "osl": "200", "concurrency": "64", "arrival": "closed"}
    cells |= {"decode_workers": "1", "decode_tp": "8", "tpot_stat": "mean", "tpot_ms": tpot_ms}
    return ServingRow(cells=cells)


ROWS = (row_of("a"), row_of("b"), row_of("d", curve="h200/two"))
ANSWERS = {
    "a": Answer(figures={"tpot_ms": 22.0}),
    "b": Answer(figures={"tpot_ms": 14.0}),
    "d": Answer(figures={}, reason="too large"),
}


@pytest.fixture(scope="module")
def validation():
    return validate_answers(ROWS, answers=ANSWERS, file="points.csv")


def test_points_stand_beside_their_measurement(validation):
    first = validation.points[0]
    assert first.errors["tpot"] == pytest.approx(0.1)
    assert first.measured["tpot_ms"] == 20
    assert [point.id for point in validation.unanswered] == ["d"]
    assert [point.id for point in validation.worst("tpot", n=1)] == ["b"]


def test_curves_are_ordered_by_error_and_failures_count_whole(validation):
    assert [one.curve for one in validation.curves] == ["h200/two", "h200/one"]
    assert [one.tpot_error for one in validation.curves] == pytest.approx([1.0, 0.2])
    assert [one.n_answered for one in validation.curves] == [0, 2]


def test_json_holds_points_reasons_and_baselines(validation):
    data = json.loads(json.dumps(validation.as_dict()))
    assert [one["reason"] for one in data["points"]] == ["", "", "too large"]
    assert data["points"][1]["tpot_ms"] == 14
    assert set(data["baselines"]) == {"roofline", "nearest"}


def test_rows_are_selected_by_pattern_and_evenly():
    assert [row.id for row in select_rows(ROWS, only="*two")] == ["d"]
    rows = [row_of(str(index)) for index in range(10)]
    assert [row.id for row in select_rows(rows, sample=4)] == ["0", "2", "5", "7"]
    with pytest.raises(ConfigError, match="matches none of 3 rows"):
        select_rows(ROWS, only="gb200")


def test_a_file_is_read_answered_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(
        serving, "answer_rows", lambda rows, **_: {r.id: ANSWERS["a"] for r in rows}
    )
    cells = ROWS[0].cells
    path = tmp_path / "points.csv"
    path.write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n", encoding="utf-8")
    found = validate_serving(path)
    assert found.file == "points.csv"
    assert found.points[0].errors["tpot"] == pytest.approx(0.1)


def test_a_point_pairs_what_was_measured_with_what_is_predicted(validation):
    first, *_, last = validation.points
    assert first.pair("tpot") == (20, 22.0)
    assert last.pair("tpot") == (20, None)
    assert first.pair("throughput") == (None, None)
    assert first.strata[0] == "all"
