import pytest

from rackmoe.backend.profile import load_backend
from rackmoe.errors import CapacityError
from rackmoe.study.validation import serving_answers
from rackmoe.study.validation.serving_answers import answer_folder, answer_rows
from rackmoe.study.validation.serving_features import RowFeatures, WaitFeatures
from rackmoe.study.validation.serving_rows import ServingRow

FEATURES = RowFeatures(
    busy_s=(0.01,),
    compute_frac=(0.9,),
    sequences=(4.0,),
    has_prompts=(False,),
    n_steps=(7.0,),
    first=WaitFeatures(counts=((1.0,),), rest_s=(0.5,)),
    output=WaitFeatures(counts=((6.0,),), rest_s=(0.0,)),
    n_steps_out=(6.0,),
    weights=(1.0,),
    n_layers=61,
    expert_format="fp8_block",
)


def row_of(name="a", engine="sglang"):
    cells = {"id": name, "curve": "c", "hardware": "hgx_h200", "model": "deepseek-r1"}
    cells |= {"engine": engine, "mode": "agg", "isl": "1000", "osl": "200", "arrival": "closed"}
    cells |= {"concurrency": "64", "decode_workers": "1", "decode_tp": "8"}
    return ServingRow(cells=cells)


@pytest.fixture
def simulated(monkeypatch):
    """Return the backends of all runs, none of which is simulated."""
    backends = []

    def simulate_row(scenario, *, question):
        backends.append(scenario.backend)
        return {"tpot_ms": 10.0 * len(backends), "ttft_ms": float(question.users)}, FEATURES

    monkeypatch.setattr(serving_answers, "simulate_row", simulate_row)
    monkeypatch.setattr(serving_answers, "_version", lambda: "1")
    return backends


def test_an_answer_is_simulated_once_and_then_read(simulated, tmp_path):
    first = answer_rows([row_of()], jobs=1, cache_folder=tmp_path)
    again = answer_rows([row_of()], jobs=1, cache_folder=tmp_path)
    assert len(simulated) == 1
    assert again == first
    assert first["a"].figures == {"tpot_ms": 10.0, "ttft_ms": 64.0}
    assert again["a"].features == FEATURES


def test_another_backend_or_other_code_is_simulated_anew(simulated, tmp_path, monkeypatch):
    answer_rows([row_of()], jobs=1, cache_folder=tmp_path)
    backends = {"sglang-2026h1": load_backend("vllm-2026h1")}
    found = answer_rows([row_of()], backends=backends, jobs=1, cache_folder=tmp_path)
    assert found["a"].figures["tpot_ms"] == 20.0
    assert [one.name for one in simulated] == ["sglang-2026h1", "vllm-2026h1"]
    monkeypatch.setattr(serving_answers, "_version", lambda: "2")
    answer_rows([row_of()], jobs=1, cache_folder=tmp_path)
    assert len(simulated) == 3


def test_what_a_fit_changes_for_other_runs_leaves_an_answer_valid(simulated, tmp_path):
    profile = load_backend("sglang-2026h1")
    host = profile.host
    slow = host.gap_s.model_copy(update={"value": 1.0})

    def ask(**changes):
        changed = profile.model_copy(update={"host": host.model_copy(update=changes)})
        answer_rows([row_of()], backends={profile.name: changed}, jobs=1, cache_folder=tmp_path)
        return len(simulated)

    assert ask() == 1
    others = {gpu: one for gpu, one in host.by_gpu.items() if gpu != "h200"}
    others |= {"gb200": host.by_gpu["gb200"].model_copy(update={"gap_s": slow})}
    assert ask(by_gpu=others | {"h200": host.by_gpu["h200"]}) == 1
    # its own host
    assert ask(by_gpu=others | {"h200": others["gb200"]}) == 2


def test_rows_without_an_answer_say_why_and_keep_their_place(simulated):
    told = []
    found = answer_rows(
        [row_of("x", engine="tgi"), row_of("y")], jobs=1, progress=lambda *at: told.append(at)
    )
    assert list(found) == ["x", "y"]
    assert found["x"].figures == {}
    assert "engine: 'tgi'" in found["x"].reason
    assert found["y"].reason == ""
    assert told == [(2, 2)]
    assert len(simulated) == 1


def test_a_run_that_does_not_fit_is_a_reason_on_one_line(monkeypatch):
    def refuse(*_, **__):
        msg = "weights:\n  too large"
        raise CapacityError(msg)

    monkeypatch.setattr(serving_answers, "simulate_row", refuse)
    found = answer_rows([row_of()], jobs=1)
    assert found["a"].figures == {}
    assert found["a"].reason == "weights: too large"


def test_a_damaged_answer_on_disk_is_computed_again(simulated, tmp_path):
    answer_rows([row_of()], jobs=1, cache_folder=tmp_path)
    (kept,) = tmp_path.glob("*.json")
    kept.write_text("{")
    found = answer_rows([row_of()], jobs=1, cache_folder=tmp_path)
    assert found["a"].figures["tpot_ms"] == 20.0
    assert len(simulated) == 2


def test_a_folder_that_cannot_be_written_costs_only_time(simulated, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = answer_rows([row_of()], jobs=1, cache_folder=blocked / "cache")
    assert found["a"].reason == ""
    assert len(simulated) == 1


def test_answers_are_kept_in_the_caches_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert answer_folder() == tmp_path / "rackmoe" / "serving"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert answer_folder() == tmp_path / ".cache" / "rackmoe" / "serving"


def test_a_count_of_zero_is_a_reason(monkeypatch):
    def divide(_row):
        return 1 / 0

    monkeypatch.setattr(serving_answers, "row_document", divide)
    assert "a: a count of 0; expected GPUs" in answer_rows([row_of()], jobs=1)["a"].reason
