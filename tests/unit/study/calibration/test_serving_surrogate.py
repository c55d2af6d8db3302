import numpy as np
import pytest

from rackmoe.backend.profile import load_backend
from rackmoe.study.calibration.serving_surrogate import HOST_CONSTANTS, host_point, row_surrogate
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_features import StepFeatures
from rackmoe.study.validation.serving_rows import ServingRow

FEATURES = StepFeatures(
    decode_busy_s=(0.01, 0.03),
    mixed_busy_s=(),
    prompt_busy_s=(0.02,),
    decode_sequences=(10.0, 30.0),
    mixed_sequences=(),
    mixed_share=0.0,
    prompt_steps=2.0,
    tokens_per_step=1.0,
    n_layers=10,
)
ANSWER = Answer(figures={"tpot_ms": 20.0, "ttft_ms": 100.0}, features=FEATURES)


def surrogate():
    host = load_backend("ideal").host
    found = row_surrogate(ServingRow(cells={"id": "a", "mode": "agg"}), answer=ANSWER, host=host)
    assert found is not None
    return found


def test_the_point_of_a_profile_holds_its_fitted_constants():
    host = load_backend("ideal").host
    assert host_point(host).tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert len(HOST_CONSTANTS) == 5


def test_gaps_and_sequences_lengthen_every_step():
    point = np.array([0.005, 1e-3, 0.0, 0.0, 1.0])
    # 20 ms, 5 ms of gap and 20 sequences of 1 ms
    assert surrogate().tpot_at_s(point) == pytest.approx(0.045)


def test_first_tokens_wait_for_prompt_steps_the_intake_and_the_frontend():
    one = surrogate()
    # two prompt steps bound by 10 layers of 4 ms instead of 20 ms
    assert one.ttft_at_s(np.array([0.0, 0.0, 0.004, 0.0, 1.0])) == pytest.approx(0.1 + 2 * 0.02)
    assert one.ttft_at_s(np.array([0.0, 0.0, 0.0, 0.3, 1.0])) == pytest.approx(0.4)
    # half of 10 more steps of 20 ms
    assert one.ttft_at_s(np.array([0.0, 0.0, 0.0, 0.0, 11.0])) == pytest.approx(0.2)


def test_unanswered_rows_have_no_surrogate():
    host = load_backend("ideal").host
    row = ServingRow(cells={"id": "a", "mode": "agg"})
    assert row_surrogate(row, answer=Answer(figures={}), host=host) is None
