from types import SimpleNamespace

import pytest

from rackmoe.serving.speculation import mean_tokens
from rackmoe.study.calibration import serving


def fit(n_curves, point):
    return SimpleNamespace(n_curves=n_curves, point=point)


def test_a_group_alone_takes_the_constants_of_its_backend_elsewhere():
    fits = {
        ("trtllm", "hopper"): fit(2, "few"),
        ("trtllm", "blackwell"): fit(9, "many"),
        ("sglang", "grace"): fit(30, "other backend"),
    }
    assert serving._nearest(("trtllm", "grace"), fits, "prior") == "many"


def test_a_backend_alone_takes_the_constants_of_another_on_these_gpus():
    fits = {("sglang", "hopper"): fit(3, "neighbor"), ("sglang", "grace"): fit(9, "far")}
    assert serving._nearest(("vllm", "hopper"), fits, "prior") == "neighbor"


def test_without_any_fit_the_prior_stays():
    assert serving._nearest(("vllm", "hopper"), {}, "prior") == "prior"


@pytest.mark.parametrize("chance", [0.0, 0.4, 0.85, 1.0])
def test_the_acceptance_gives_the_wanted_tokens_of_a_step(chance):
    wanted = mean_tokens((chance,), n_drafts=serving.DEFAULT_DRAFTS)
    assert serving._acceptance(wanted) == pytest.approx(chance, abs=1e-3)
