import pytest
from surrogate_cases import one_answer, write_points

from rackmoe.backend.profile import load_backend
from rackmoe.report.serving_accuracy import accuracy_frame, accuracy_table, calibration_frame
from rackmoe.study.calibration.serving import fit_answers
from rackmoe.study.validation.serving_rows import read_serving_points


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    rows = read_serving_points(write_points(tmp_path_factory.mktemp("points")))[:3]
    return fit_answers(
        rows,
        answers={row.id: one_answer(row.count("concurrency")) for row in rows},
        profiles={"sglang-2026h1": load_backend("sglang-2026h1")},
        file="points.csv",
        date="2026-11-22",
    )


def test_each_group_has_its_constants_and_what_they_rest_on(found):
    (row,) = calibration_frame(found).to_dict("records")
    assert (row["backend"], row["gpus"]) == ("sglang-2026h1", "h200")
    assert (row["rows"], row["curves"]) == (3, 2)
    assert row["gap_s"] >= 0
    assert row["tpot_fitted"] < row["tpot_before"]


def test_each_stratum_has_its_errors_beside_those_of_the_baselines(found):
    rows = accuracy_frame(found).to_dict("records")
    whole = {row["figure"]: row for row in rows if row["stratum"] == "all"}
    assert set(whole) == {"tpot", "throughput", "ttft"}
    assert (whole["tpot"]["points"], whole["tpot"]["curves"]) == (3, 2)
    for stage in ("left_out", "fitted", "simulated", "nearest", "roofline"):
        assert whole["tpot"][f"{stage}_median"] > 0
    assert "HGX H200 DeepSeek-R1" in {row["stratum"] for row in rows}


def test_the_table_for_people_has_percents_of_medians_and_means(found):
    table = accuracy_table(found)
    assert [row[0] for row in table.rows] == ["all", "HGX H200 DeepSeek-R1"]
    assert table.rows[0][1] == "3 in 2"
    median, mean = table.rows[0][2].split(" / ")
    assert median.endswith(" %")
    assert mean.endswith(" %")
    assert table.rows[0][-1].count(" / ") == 2
