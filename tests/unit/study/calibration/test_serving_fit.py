import numpy as np
import pytest
from surrogate_cases import AT, PRIORS, errors_of, surrogate

from rackmoe.study.calibration.serving_fit import EngineFit, engine_of, fit_engines


@pytest.fixture
def rows():
    return [surrogate(index, curve=curve) for curve in "pqr" for index in range(4)]


def test_measured_times_are_found_again(rows):
    fit = fit_engines({("a-1", "x"): rows}, priors=PRIORS)["a"]
    assert max(errors_of(rows, AT, "tpot")) > 0.15
    # the prior pulls a little, and constants trade places
    point = fit.point(("a-1", "x"), weights="fp8_block")
    assert max(errors_of(rows, point, "tpot")) < 0.05
    assert max(errors_of(rows, point, "ttft")) < 0.15


def test_one_wild_row_does_not_carry_the_fit(rows):
    wild = surrogate(0, curve="p", slower=20.0)
    fit = fit_engines({("a-1", "x"): [*rows[1:], wild]}, priors=PRIORS)["a"]
    point = fit.point(("a-1", "x"), weights="fp8_block")
    assert max(errors_of(rows, point, "tpot")) < 0.06


def test_a_family_moves_its_hosts_away_from_the_engine_and_nothing_else(rows):
    slow = [surrogate(index, curve="s", slower=1.5) for index in range(4)]
    fit = fit_engines({("a-1", "x"): rows, ("a-1", "y"): slow}, priors=PRIORS)["a"]
    own, other = fit.point(("a-1", "y")), fit.point(("a-1", "x"))
    assert max(errors_of(slow, own, "tpot")) < max(errors_of(slow, other, "tpot"))
    # what all families share stays
    assert own[5:].tolist() == other[5:].tolist()


def test_a_slower_release_is_told_from_a_later_one(rows):
    slow = [surrogate(index, curve=f"s{index}", slower=1.3) for index in range(4)]
    fit = fit_engines({("a-2", "x"): rows, ("a-1", "x"): slow}, priors=PRIORS)["a"]
    early, late = fit.point(("a-1", "x")), fit.point(("a-2", "x"))
    assert early[3] > late[3]


def test_formats_whose_kernels_stretch_more_are_told_from_the_others(rows):
    for one in rows[:4]:
        one.weights = "nvfp4"
    for one in rows[4:]:
        one.weights = "bf16"
    fast = [surrogate(index, curve=f"f{index}", slower=0.8) for index in range(4)]
    fit = fit_engines({("a-1", "x"): rows, ("a-1", "y"): fast}, priors=PRIORS)["a"]
    fast_factor = fit.point(("a-1", "x"), weights="fp8_block")[5]
    assert fast_factor < fit.point(("a-1", "x"), weights="bf16")[5]
    assert fit.point(("a-1", "x"))[5] == 1


def test_engines_have_nothing_in_common(rows):
    alone = fit_engines({("a-1", "x"): rows}, priors=PRIORS)["a"]
    slow = [surrogate(index, curve="s", slower=3.0) for index in range(4)]
    both = fit_engines({("a-1", "x"): rows, ("b-1", "x"): slow}, priors=PRIORS)
    assert both["a"].point(("a-1", "x")).tolist() == alone.point(("a-1", "x")).tolist()


def test_an_engine_without_rows_has_what_is_assumed_of_it():
    fit = fit_engines({("a-1", "x"): []}, priors=PRIORS)["a"]
    assert fit.point(("a-1", "x")).tolist() == [0, 0, 0, 1, 1, 1, 0.6, 0]


def test_groups_without_rows_take_those_of_their_gpus_then_the_ones_with_most_curves():
    shifts = {("gpus", "x"): 0.01 * AT, ("gpus", "y"): 0.02 * AT, ("date", "a-1", "y"): 0.04 * AT}
    fit = EngineFit(prior=AT, shifts=shifts, groups=(("a-1", "x"), ("a-1", "y")))
    assert fit.point(("a-2", "y"))[3] == pytest.approx(1.06)
    assert fit.point(("a-2", "z"))[3] == fit.point(("a-1", "x"))[3] == pytest.approx(1.01)


def test_constants_stay_in_their_bounds():
    low = EngineFit(prior=AT, shifts={("engine",): np.full(8, -9.0)})
    high = EngineFit(prior=AT, shifts={("engine",): np.full(8, 9.0)})
    assert low.point(("a-1", "x"))[0] == 0
    assert high.point(("a-1", "x"))[3] == 1.6


def test_the_name_of_a_profile_ends_with_its_date():
    assert engine_of("trtllm-2026h1") == "trtllm"
