import json

import pytest

from rackmoe.backend.profile import load_backend
from rackmoe.study.calibration import serving
from rackmoe.study.calibration.serving import calibrate_serving, write_backend_files
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_features import RowFeatures, WaitFeatures

HEADER = "id,curve,trust,hardware,model,engine,mode,isl,osl,arrival,concurrency,decode_workers"
MEASURED = "decode_tp,tpot_ms,tpot_stat,ttft_ms,ttft_stat,score_ttft,total_tokens_per_s_per_gpu"
LINE = "hgx_h200,deepseek-r1,sglang,agg,1024,1024,closed"


@pytest.fixture
def points(tmp_path):
    lines = [
        f"{name},{name[0]},{trust},{LINE},{users},1,8,{12 + users / 8},p50,100,p50,yes,50"
        for name, trust, users in [("p1", "A", 4), ("p2", "A", 16), ("q1", "B", 8), ("c1", "C", 8)]
    ]
    path = tmp_path / "points.csv"
    path.write_text("\n".join([f"{HEADER},{MEASURED}", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def asked(monkeypatch):
    """Record the rows and profiles of each simulation, and answer without one."""
    calls = []

    def answer(rows, *, backends, **_):
        calls.append(([row.id for row in rows], backends))
        return {row.id: one_answer(row.count("concurrency")) for row in rows}

    monkeypatch.setattr(serving, "answer_rows", answer)
    return calls


def one_answer(users):
    busy_s = 0.01 + 1e-4 * users
    features = RowFeatures(
        busy_s=(busy_s,),
        compute_frac=(0.9,),
        sequences=(float(users),),
        has_prompts=(False,),
        n_steps=(100.0,),
        first=WaitFeatures(counts=((1.0,),), rest_s=(0.03,)),
        output=WaitFeatures(counts=((10.0,),), rest_s=(0.0,)),
        n_steps_out=(10.0,),
        weights=(1.0,),
        n_layers=61,
    )
    figures = {"tpot_ms": 1e3 * busy_s, "ttft_ms": 90.0, "total_tokens_per_s_per_gpu": 60.0}
    return Answer(figures=figures, features=features)


def test_each_round_simulates_with_the_last_fit_and_charts_are_left_out(points, asked):
    found = calibrate_serving(points, date="2026-11-22")
    (first_ids, first), (second_ids, second) = asked
    assert first_ids == second_ids == ["p1", "p2", "q1"]
    before = first["sglang-2026h1"].host_on("h200")
    after = second["sglang-2026h1"].host_on("h200")
    assert before.decode_stretch.value != after.decode_stretch.value
    assert set(found.groups) == {("sglang-2026h1", "h200")}
    assert set(found.strata) == {"simulated", "fitted", "left_out", "roofline", "nearest"}
    whole = found.strata["left_out"][0]
    assert (whole.n_points, whole.n_curves) == (3, 2)


def test_files_are_read_again_and_tell_the_errors(points, asked, tmp_path):
    found = calibrate_serving(points, date="2026-11-22", n_rounds=1)
    paths = write_backend_files(found, folder=tmp_path / "fitted")
    backend = next(path for path in paths if path.stem == "sglang-2026h1")
    host = load_backend(str(backend)).host_on("h200")
    assert host.request_s.kind == "fitted"
    assert "2026-11-22" in load_backend(str(backend)).sources[host.request_s.source]
    accuracy = json.loads((tmp_path / "fitted" / "serving_accuracy.json").read_text("utf-8"))
    assert accuracy["strata"]["left_out"][0]["name"] == "all"
    assert asked
