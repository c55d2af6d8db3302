import pytest
from surrogate_cases import one_answer, write_points

from rackmoe.backend.profile import load_backend
from rackmoe.study.calibration import serving
from rackmoe.study.calibration.serving import calibrate_serving, fit_answers
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_rows import read_serving_points


@pytest.fixture
def points(tmp_path):
    return write_points(tmp_path)


@pytest.fixture
def asked(monkeypatch):
    """Record the rows and profiles of each simulation, and answer without one."""
    calls = []

    def answer(rows, *, backends, **_):
        calls.append(([row.id for row in rows], backends))
        return {row.id: one_answer(row.count("concurrency")) for row in rows}

    monkeypatch.setattr(serving, "answer_rows", answer)
    return calls


def test_each_round_simulates_with_the_last_fit_and_charts_are_left_out(points, asked):
    found = calibrate_serving(points, date="2026-11-22")
    (first_ids, first), (second_ids, second) = asked
    assert first_ids == second_ids == ["p1", "p2", "q1"]
    before = first["sglang-2026h1"].host_on("h200")
    after = second["sglang-2026h1"].host_on("h200")
    assert before.decode_stretch.value != after.decode_stretch.value
    assert second["sglang-2026h1"].host.weights_stretch["fp8_block"].kind == "fitted"
    assert set(found.groups) == {("sglang-2026h1", "h200")}
    assert set(found.strata) == {"simulated", "fitted", "left_out", "roofline", "nearest"}
    whole = found.strata["left_out"][0]
    assert (whole.n_points, whole.n_curves) == (3, 2)


def test_a_round_that_nothing_was_simulated_in_fits_nothing(points):
    rows = read_serving_points(points)[:3]
    profiles = {"sglang-2026h1": load_backend("sglang-2026h1")}
    answers = {row.id: Answer(figures={}, reason="too big") for row in rows}
    found = fit_answers(rows, answers=answers, profiles=profiles, file="x.csv", date="2026-11-22")
    assert not found.groups
    assert found.profiles == profiles
    # a row without an answer is as wrong as can be
    assert found.strata["left_out"][0].tpot.median == 1
