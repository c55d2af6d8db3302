from types import SimpleNamespace

import pytest
from serving_cases import validation

from rackmoe.report.serving import (
    baseline_frame,
    curve_frame,
    figure_frame,
    point_frame,
    strata_frame,
    unanswered_frame,
    worst_frame,
)
from rackmoe.study.validation.serving_score import METRICS


def score(value):
    return SimpleNamespace(median=value, mean=value + 0.01, bias=-value)


def stratum(value):
    scores = {metric: score(value) for metric in METRICS}
    return SimpleNamespace(name="gb200", n_points=9, n_curves=3, n_answered=8, **scores)


def test_a_stratum_is_a_row_with_the_median_of_each_figure():
    (row,) = strata_frame([stratum(0.1)]).to_dict("records")
    assert (row["stratum"], row["points"], row["answered"]) == ("gb200", 9, 8)
    assert row["tpot_median"] == pytest.approx(0.1)


def test_baselines_stand_beside_the_simulator():
    found = SimpleNamespace(strata=(stratum(0.1),), baselines={"roofline": (stratum(0.5),)})
    (row,) = baseline_frame(found).to_dict("records")
    assert (row["tpot_rackmoe"], row["tpot_roofline"]) == (0.1, 0.5)


def test_a_curve_shows_the_mean_errors_of_its_points():
    curve = SimpleNamespace(
        curve="a", n_points=4, n_answered=4, tpot_error=0.2, throughput_error=0.3, ttft_error=None
    )
    (row,) = curve_frame(SimpleNamespace(curves=(curve,))).to_dict("records")
    assert (row["curve"], row["tpot_mean"], row["throughput_mean"]) == ("a", 0.2, 0.3)


def test_the_worst_points_are_those_that_the_validation_names():
    asked = []

    def worst(metric, *, n):
        asked.append((metric, n))
        return [
            SimpleNamespace(id="p1", curve="a", errors={"ttft": 2.5}, pair=lambda _: (2.0, 7.0))
        ]

    frame = worst_frame(SimpleNamespace(worst=worst), metric="ttft", n=3)
    assert asked == [("ttft", 3)]
    assert frame.to_dict("records") == [
        {"id": "p1", "curve": "a", "measured": 2.0, "predicted": 7.0, "ttft_error": 2.5}
    ]


def test_points_are_flat_rows_and_failures_are_listed():
    found = validation()
    first = point_frame(found).to_dict("records")[0]
    assert (first["tpot_ms"], first["measured_tpot_ms"]) == (22.0, 20.0)
    assert first["error_tpot"] == pytest.approx(0.1)
    (row,) = unanswered_frame(found).to_dict("records")
    assert row == {"id": "d", "curve": "gb200/two", "reason": "weights do not fit; raise ep"}


def test_the_figures_of_a_point_have_signed_errors():
    rows = figure_frame(validation().points[0]).set_index("figure")
    assert rows.loc["ttft_ms", "error"] == pytest.approx(-0.5)
    assert rows.loc["tpot_ms", "measured"] == 20.0
