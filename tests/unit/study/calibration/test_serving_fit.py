from dataclasses import replace

import numpy as np
import pytest

from rackmoe.study.calibration.serving_fit import (
    fit_host,
    held_out_errors,
    median_error,
    surrogate_errors,
)
from rackmoe.study.calibration.serving_surrogate import RowSurrogate
from rackmoe.study.validation.serving_features import StepFeatures
from rackmoe.study.validation.serving_rows import ServingRow

TRUE = np.array([1e-3, 2e-5, 1e-3, 0.05, 1.0])
AT = np.array([0.0, 0.0, 0.0, 0.0, 1.0])


def surrogate(index: int, *, curve: str) -> RowSurrogate:
    """Return a row whose measured times follow from the true host times."""
    n_sequences = 2.0 * 4**index
    busy_s = 5e-3 + 1e-4 * n_sequences
    features = StepFeatures(
        decode_busy_s=(busy_s,) * 4,
        mixed_busy_s=(0.02,),
        prompt_busy_s=(0.02,),
        decode_sequences=(n_sequences,) * 4,
        mixed_sequences=(n_sequences,),
        mixed_share=0.1,
        prompt_steps=1.0,
        tokens_per_step=1.0,
        n_layers=60,
    )
    cells = {"id": f"{curve}{index}", "curve": curve, "trust": "A", "mode": "agg"}
    one = RowSurrogate(
        row=ServingRow(cells=cells),
        features=features,
        at=AT,
        host_step_s=0.0,
        tpot_s=0.9 * busy_s + 0.1 * 0.02,
        ttft_s=0.02 + 0.5 * busy_s,
    )
    measured = {
        "tpot_ms": f"{1e3 * one.tpot_at_s(TRUE)}",
        "ttft_ms": f"{1e3 * one.ttft_at_s(TRUE)}",
        "score_ttft": "yes",
    }
    return replace(one, row=ServingRow(cells=cells | measured))


@pytest.fixture
def rows():
    return [surrogate(index, curve=curve) for curve in "abc" for index in range(4)]


def test_measured_times_are_found_again(rows):
    fit = fit_host(rows, prior=np.array([2e-4, 2e-6, 4e-4, 0.04, 1.0]))
    assert fit.n_rows == 12
    assert fit.n_curves == 3
    # gap and layers trade places, what they give does not
    assert fit.point[1] == pytest.approx(TRUE[1], rel=0.3)
    assert max(abs(surrogate_errors(one, point=fit.point)["tpot"]) for one in rows) < 0.03


def test_left_out_curves_are_not_seen(rows):
    rows[0] = replace(rows[0], row=ServingRow(cells=dict(rows[0].row.cells) | {"tpot_ms": "1000"}))
    errors = held_out_errors(rows, prior=AT, fallback=AT)
    assert set(errors) == {one.row.id for one in rows}
    assert errors["a0"]["tpot"] < -0.9
    assert median_error(errors, rows=rows, metric="tpot") < 0.1


def test_a_single_curve_falls_back_on_the_nearest_group(rows):
    own = [one for one in rows if one.row.curve == "a"]
    errors = held_out_errors(own, prior=AT, fallback=TRUE)
    assert max(abs(one["tpot"]) for one in errors.values()) < 1e-9


def test_a_cold_start_delays_the_mean_of_split_runs_alone(rows):
    one = rows[0]
    split = replace(
        one, row=ServingRow(cells=dict(one.row.cells) | {"mode": "disagg", "ttft_stat": "mean"})
    )
    base_s = split.ttft_at_s(AT)
    assert split.ttft_at_s(AT, cold_start_s=30.0) == pytest.approx(base_s + 3.0)
    assert one.ttft_at_s(AT, cold_start_s=30.0) == pytest.approx(one.ttft_at_s(AT))


def test_nothing_scored_has_no_median(rows):
    assert np.isnan(median_error({one.row.id: {} for one in rows}, rows=rows, metric="tpot"))
