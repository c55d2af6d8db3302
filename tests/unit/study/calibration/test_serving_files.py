import csv
import json

import pytest
from surrogate_cases import one_answer, write_points

from rackmoe.backend.profile import load_backend
from rackmoe.study.calibration.serving import fit_answers
from rackmoe.study.calibration.serving_files import write_backend_files
from rackmoe.study.validation.serving_rows import read_serving_points


@pytest.fixture
def written(tmp_path):
    """A calibration's files, by name."""
    rows = read_serving_points(write_points(tmp_path))[:3]
    found = fit_answers(
        rows,
        answers={row.id: one_answer(row.count("concurrency")) for row in rows},
        profiles={"sglang-2026h1": load_backend("sglang-2026h1")},
        file="points.csv",
        date="2026-11-22",
    )
    return {path.name: path for path in write_backend_files(found, folder=tmp_path / "fitted")}


def test_profiles_are_read_again_with_constants_and_their_source(written):
    profile = load_backend(str(written["sglang-2026h1.yaml"]))
    host = profile.host_on("h200")
    assert host.request_s.kind == "fitted"
    assert "2026-11-22" in profile.sources[host.request_s.source]
    assert profile.host.weights_stretch["fp8_block"].kind == "fitted"


def test_comments_of_people_are_kept(written):
    text = written["sglang-2026h1.yaml"].read_text("utf-8")
    assert "# its table holds an absorbed kernel" in text


def test_errors_are_written_by_stratum_and_by_row(written):
    accuracy = json.loads(written["serving_accuracy.json"].read_text("utf-8"))
    assert accuracy["strata"]["left_out"][0]["name"] == "all"
    with written["serving_residuals.csv"].open(encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"p1", "p2", "q1"}
    # 10.4 ms in place of 12.5
    assert float(rows["p1"]["tpot_simulated"]) == pytest.approx(-0.168)
    assert rows["p1"]["backend"] == "sglang-2026h1"
    # what the other curve tells is nearer
    assert abs(float(rows["p1"]["tpot_left_out"])) < 0.1
