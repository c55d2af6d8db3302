"""Steps from one machine to another, multiplied."""

import math

import pytest

from rackmoe.report.contributions import (
    contribution_headers,
    contributions_frame,
    draw_contributions,
)

OUTPUT, ENERGY, COST = (
    "output_tokens_per_s_per_gpu",
    "output_tokens_per_j",
    "usd_per_million_output_tokens",
)


@pytest.fixture
def outcomes(make_outcome):
    return [
        make_outcome("nodes", **{OUTPUT: 100.0, ENERGY: 0.1, COST: 8.0}),
        make_outcome("silicon", machine="hgx_b200", **{OUTPUT: 250.0, ENERGY: 0.2, COST: 6.0}),
        make_outcome("wide", machine="hgx_b200", **{OUTPUT: 200.0, ENERGY: 0.4, COST: 2.0}),
    ]


def test_each_step_is_compared_with_the_one_before_and_the_whole_with_the_first(outcomes):
    frame = contributions_frame(outcomes)
    assert frame["step"].tolist() == ["nodes", "silicon", "wide", "all"]
    assert frame["machine"].tolist() == ["hgx_h200", "hgx_b200", "hgx_b200", "hgx_b200"]
    times = frame[f"{OUTPUT}.times"].tolist()
    assert math.isnan(times[0])
    assert times[1:] == [2.5, 0.8, 2.0]


def test_a_cheaper_token_counts_as_better(outcomes):
    times = contributions_frame(outcomes)[f"{COST}.times"].tolist()
    assert times[1:] == pytest.approx([8 / 6, 3.0, 4.0], rel=1e-12)


@pytest.mark.parametrize("metric", [OUTPUT, ENERGY, COST])
def test_the_factors_multiply_to_the_whole(outcomes, metric):
    *steps, whole = contributions_frame(outcomes)[f"{metric}.times"].tolist()[1:]
    assert math.prod(steps) == pytest.approx(whole, rel=1e-12)


def test_a_run_that_serves_nobody_has_no_factor(make_outcome):
    dead = make_outcome("dead", **{OUTPUT: 0.0})
    frame = contributions_frame([dead, make_outcome("alive", **{OUTPUT: 5.0})])
    assert math.isnan(frame[f"{OUTPUT}.times"].iloc[1])


def test_every_factor_has_a_heading(outcomes):
    frame = contributions_frame(outcomes)
    factors = {name for name in frame.columns if name.endswith(".times")}
    assert factors < set(contribution_headers())
    assert contribution_headers()[f"{COST}.times"] == "output per dollar, times"


def test_bars_begin_where_the_one_before_ends(outcomes):
    figure = draw_contributions(contributions_frame(outcomes), title="A title", seed=3)
    panel = figure.axes[0]
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in panel.patches]
    assert edges[1] == pytest.approx((1.0, 2.5), rel=1e-12)
    assert edges[2] == pytest.approx((2.0, 2.5), rel=1e-12)
    assert edges[3] == pytest.approx((1.0, 2.0), rel=1e-12)
    assert [one.get_title(loc="left") for one in figure.axes][2] == "output per dollar"
