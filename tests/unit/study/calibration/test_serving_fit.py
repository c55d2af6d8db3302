import numpy as np
import pytest

from rackmoe.study.calibration.serving_fit import (
    PointFit,
    fit_groups,
    held_out_errors,
    median_error,
    nearest_point,
    row_misses,
)
from rackmoe.study.calibration.serving_surrogate import RowSurrogate
from rackmoe.study.validation.serving_features import RowFeatures, WaitFeatures
from rackmoe.study.validation.serving_rows import ServingRow

AT = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.6, 0.0])
TRUE = np.array([1e-3, 1e-5, 1e-4, 0.05, 1.1, 1.2, 0.6, 0.0])
PRIORS = {"a": AT, "b": AT}


def surrogate(index: int, *, curve: str, slower: float = 1.0) -> RowSurrogate:
    """Return a row whose measured times follow from the true constants."""
    n_sequences = 2.0 * 4**index
    features = RowFeatures(
        busy_s=(5e-3 + 1e-4 * n_sequences, 0.02),
        compute_frac=(0.8, 0.9),
        sequences=(n_sequences, n_sequences),
        has_prompts=(False, True),
        n_steps=(90.0, 10.0),
        first=WaitFeatures(counts=((0.5, 1.0 + index),), rest_s=(0.001,)),
        output=WaitFeatures(counts=((9.0, 1.0),), rest_s=(0.0,)),
        n_steps_out=(10.0,),
        weights=(1.0,),
        n_layers=60,
    )
    cells = {"id": f"{curve}{index}", "curve": curve, "trust": "A", "mode": "agg"}
    cells |= {"arrival": "closed", "tpot_stat": "mean", "ttft_stat": "mean"}
    raw = RowSurrogate(
        ServingRow(cells=cells), features=features, at=AT, host_step_s=0.0, figures={}
    )._raw(AT)
    row = ServingRow(cells=cells)
    one = RowSurrogate(row, features=features, at=AT, host_step_s=0.0, figures=raw)
    true = one.predict(TRUE)
    cells |= {
        "tpot_ms": f"{1e3 * true['tpot'] * slower}",
        "ttft_ms": f"{1e3 * true['ttft'] * slower}",
        "score_ttft": "yes",
    }
    row = ServingRow(cells=cells)
    return RowSurrogate(row, features=features, at=AT, host_step_s=0.0, figures=raw)


@pytest.fixture
def rows():
    return [surrogate(index, curve=curve) for curve in "pqr" for index in range(4)]


def errors_of(rows, point, metric):
    return [abs(row_misses(one, point=point)[metric]) for one in rows]


def test_measured_times_are_found_again(rows):
    fit = fit_groups({("a", "x"): rows}, priors=PRIORS)["a", "x"]
    assert fit.n_rows == 12
    assert fit.n_curves == 3
    assert max(errors_of(rows, AT, "tpot")) > 0.15
    # the prior pulls a little, and constants trade places
    assert max(errors_of(rows, fit.point, "tpot")) < 0.05
    assert max(errors_of(rows, fit.point, "ttft")) < 0.15


def test_one_wild_row_does_not_carry_the_fit(rows):
    wild = surrogate(0, curve="p", slower=20.0)
    fit = fit_groups({("a", "x"): [*rows[1:], wild]}, priors=PRIORS)["a", "x"]
    assert max(errors_of(rows, fit.point, "tpot")) < 0.06


def test_a_family_moves_its_hosts_away_from_the_backend_and_nothing_else(rows):
    slow = [surrogate(index, curve="s", slower=1.5) for index in range(4)]
    fits = fit_groups({("a", "x"): rows, ("a", "y"): slow}, priors=PRIORS)
    own, other = fits["a", "y"].point, fits["a", "x"].point
    assert max(errors_of(slow, own, "tpot")) < max(errors_of(slow, other, "tpot"))
    # what all families share stays
    assert own[6:].tolist() == other[6:].tolist()


def test_left_out_curves_are_not_seen(rows):
    odd = [surrogate(index, curve="z", slower=5.0) for index in range(4)]
    errors = held_out_errors({("a", "x"): [*rows, *odd]}, priors=PRIORS)
    assert set(errors) == {one.row.id for one in (*rows, *odd)}
    assert errors["z0"]["tpot"] < -0.6
    assert median_error(errors, rows=rows, metric="tpot") < 0.1


def test_a_single_curve_falls_back_on_the_nearest_group(rows):
    own = [surrogate(index, curve="s") for index in range(4)]
    errors = held_out_errors({("a", "x"): rows, ("a", "y"): own}, priors=PRIORS)
    # nothing of its own was seen, and the other family has the same constants
    assert max(abs(errors[one.row.id]["tpot"]) for one in own) < 0.05


def fit(n_curves: int, value: float) -> PointFit:
    return PointFit(point=np.full(8, value), n_rows=1, n_curves=n_curves)


def test_the_nearest_group_is_the_same_backend_then_the_same_gpus():
    fits = {("a", "x"): fit(2, 1.0), ("a", "y"): fit(9, 2.0), ("b", "z"): fit(30, 3.0)}
    assert nearest_point(("a", "x"), fits=fits, priors=PRIORS)[0] == 1.0
    assert nearest_point(("a", "z"), fits=fits, priors=PRIORS)[0] == 2.0
    assert nearest_point(("c", "z"), fits=fits, priors=PRIORS)[0] == 3.0
    assert nearest_point(("b", "w"), fits={}, priors=PRIORS) is AT


def test_nothing_scored_has_no_median(rows):
    assert np.isnan(median_error({one.row.id: {} for one in rows}, rows=rows, metric="tpot"))
