import numpy as np
import pytest

from rackmoe.backend.profile import load_backend
from rackmoe.serving.speculation import mean_tokens
from rackmoe.study.calibration.serving_surrogate import (
    CONSTANTS,
    HOST_CONSTANTS,
    RowSurrogate,
    assumed_point,
    backend_point,
    equal_acceptance,
    row_surrogate,
)
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_features import RowFeatures, WaitFeatures
from rackmoe.study.validation.serving_rows import ServingRow

# gap, sequence, request, stretch of decode, prompts and weights, acceptance, handshake
AT = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.5, 0.0])
HOST = load_backend("ideal").host
# A decode step of 10 ms, half of it computing, and a prompt step of 20 ms.
FEATURES = RowFeatures(
    busy_s=(0.01, 0.02),
    compute_frac=(0.5, 1.0),
    sequences=(10.0, 0.0),
    has_prompts=(False, True),
    n_steps=(100.0, 10.0),
    first=WaitFeatures(counts=((0.0, 2.0), (0.0, 4.0)), rest_s=(0.01, 0.01)),
    output=WaitFeatures(counts=((9.0, 1.0), (9.0, 1.0)), rest_s=(0.0, 0.0)),
    n_steps_out=(10.0, 10.0),
    weights=(1.0, 1.0),
    n_layers=10,
    expert_format="fp8_block",
)
CELLS = {
    "id": "a",
    "mode": "agg",
    "arrival": "closed",
    "tpot_stat": "mean",
    "ttft_stat": "mean",
    "total_tokens_per_s_per_gpu": "1",
}
FIGURES = {"tpot": 0.011, "ttft": 0.07, "throughput": 100.0}


def surrogate(**cells: str) -> RowSurrogate:
    row = ServingRow(cells=CELLS | cells)
    return RowSurrogate(row, features=FEATURES, at=AT, host=HOST, figures=FIGURES)


def point(**values: float):
    changed = AT.copy()
    for name, value in values.items():
        changed[CONSTANTS.index(name)] = value
    return changed


def test_nothing_changes_where_the_constants_are_those_of_the_simulation():
    assert surrogate().predict(AT) == pytest.approx(FIGURES)


def test_gaps_and_sequences_lengthen_every_step():
    # 9 steps of 10 ms and one of 20 ms for 10 tokens, each 1 ms longer
    assert surrogate().predict(point(gap_s=1e-3))["tpot"] == pytest.approx(0.012)
    # 10 sequences in the decode steps alone
    found = surrogate().predict(point(sequence_s=1e-4))
    assert found["tpot"] == pytest.approx(0.011 + 0.9e-3)


def test_kernels_stretch_and_exchanges_do_not():
    found = surrogate().predict(point(decode_stretch=1.2))
    # half of 9 decode steps computes
    assert found["tpot"] == pytest.approx(0.011 + 0.9 * 0.2 * 0.005)
    assert found["ttft"] == pytest.approx(0.07)
    found = surrogate().predict(point(prompt_stretch=1.5))
    # 3 prompt steps on average
    assert found["ttft"] == pytest.approx(0.07 + 3 * 0.01)


def test_kernels_of_a_format_stretch_where_only_sequences_decode():
    changed, other = point(weights_stretch=1.2), point(decode_stretch=1.2)
    assert surrogate().predict(changed) == surrogate().predict(other)


def test_a_step_lasts_as_long_as_its_host_works():
    # the host bounds a decode step of 10 ms at 15 ms; a stretch of 1.2 stays below
    step = HOST.step_s.model_copy(update={"value": 0.015})
    host = HOST.model_copy(update={"step_s": step})
    row = ServingRow(cells=CELLS)
    one = RowSurrogate(row, features=FEATURES, at=AT, host=host, figures=FIGURES)
    assert one.predict(point(decode_stretch=1.2))["tpot"] == pytest.approx(FIGURES["tpot"])


def test_first_tokens_wait_for_the_frontend():
    assert surrogate().predict(point(request_s=0.3))["ttft"] == pytest.approx(0.37)


def test_a_loop_with_longer_stays_serves_less():
    stay_s = 0.07 + 0.11
    found = surrogate().predict(point(request_s=stay_s))
    assert found["throughput"] == pytest.approx(50.0)


def test_a_batch_takes_all_its_steps():
    found = surrogate(arrival="batch").predict(point(gap_s=12e-3))
    # 110 steps of 1.2 s
    assert found["throughput"] == pytest.approx(100.0 * 1.2 / (1.2 + 110 * 12e-3))


def test_handshakes_delay_the_first_tokens_of_split_runs():
    assert surrogate(mode="disagg").predict(point(setup_s=0.1))["ttft"] == pytest.approx(0.17)
    assert surrogate().predict(point(setup_s=0.1))["ttft"] == pytest.approx(0.07)


def test_accepted_drafts_shorten_the_time_per_token():
    one = surrogate(mtp="on", mtp_draft_tokens="1")
    assert one.predict(point(acceptance_frac=1.0))["tpot"] == pytest.approx(0.011 * 1.5 / 2)


def test_a_median_hardly_changes_with_the_extremes():
    one = surrogate(ttft_stat="p50")
    assert one.predict(point(request_s=0.1))["ttft"] == pytest.approx(0.17)


def test_profiles_say_where_a_fit_starts():
    profile = load_backend("ideal")
    found = backend_point(profile, gpu="h200", weights="bf16")
    assert found[:6].tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert len(HOST_CONSTANTS) == 5
    assert len(assumed_point(profile)) == len(CONSTANTS)


@pytest.mark.parametrize("chance", [0.0, 0.4, 0.85, 1.0])
def test_the_equal_acceptance_gives_the_wanted_tokens_of_a_step(chance):
    wanted = mean_tokens((chance,), n_drafts=3)
    assert equal_acceptance(wanted) == pytest.approx(chance, abs=1e-3)


def test_unanswered_rows_have_no_surrogate():
    row, profile = ServingRow(cells=CELLS), load_backend("ideal")
    assert row_surrogate(row, answer=Answer(figures={}), profile=profile, gpu="h200") is None


def test_the_surrogate_of_an_answer_has_its_figures_in_seconds():
    figures = {"tpot_ms": 20.0, "ttft_ms": None, "total_tokens_per_s_per_gpu": 7.0}
    answer = Answer(figures=figures, features=FEATURES)
    profile = load_backend("ideal")
    one = row_surrogate(ServingRow(cells=CELLS), answer=answer, profile=profile, gpu="h200")
    assert one is not None
    assert one.figures == {"tpot": 0.02, "throughput": 7.0}
