import dataclasses
import json

import pytest

from rackmoe.errors import ConfigError
from rackmoe.metrics.catalog import METRICS
from rackmoe.report.comparison import (
    HEADLINES,
    breakdown_frame,
    compare_table,
    comparison_data,
    comparison_frame,
    comparison_tables,
    full_comparison_frame,
    labels_of,
    render_comparison,
    validity_lines,
)
from rackmoe.report.text import TableFormat


@pytest.fixture
def pair(make_outcome):
    """Return a base that is four times as fast as its variant, at twice the power."""
    base = make_outcome("base", machine="gb200_nvl72", it_power_w=20_000.0)
    slow = {"output_tokens_per_s_per_gpu": 50.0, "interactivity_p50_tokens_per_s": 0.0}
    return base, make_outcome("hgx", pool="aggregated", **slow)


def test_every_headline_is_a_metric_that_can_be_looked_up():
    assert not [line.metric for line in HEADLINES if line.metric not in METRICS]


def test_figures_stand_side_by_side_in_units_for_people(pair):
    frame = comparison_frame(pair).set_index("metric")
    assert list(frame.columns) == ["unit", "base", "hgx", "base / hgx"]
    assert frame.loc["output per GPU"].tolist() == ["tokens/s", 200.0, 50.0, 4.0]
    assert frame.loc["TTFT p50"].tolist() == ["ms", 200.0, 200.0, 1.0]
    assert frame.loc["rack power (IT)"].tolist() == ["kW", 20.0, 10.0, 2.0]


def test_ratio_is_left_out_where_it_says_nothing(pair):
    frame = comparison_frame(pair).set_index("metric")
    assert frame.loc["output per user, median", "base / hgx"] is None


def test_rows_that_no_run_has_are_left_out(pair):
    assert "TTFT p99" not in comparison_frame(pair)["metric"].tolist()


def test_one_run_has_no_ratios(make_outcome):
    frame = comparison_frame([make_outcome()])
    assert list(frame.columns) == ["metric", "unit", "base"]


def test_full_comparison_keeps_names_and_si_units(pair):
    frame = full_comparison_frame(pair).set_index("metric")
    assert frame.loc["it_power_w"].tolist() == ["W", 20_000.0, 10_000.0, 2.0]
    assert "stepping_frac" in frame.index


def test_breakdown_adds_up_and_leaves_rounding_errors_out(pair):
    rows = breakdown_frame(pair).to_numpy().tolist()
    assert rows == [
        ["decode", "attention", "ms", 2.0, None],
        ["decode", "expert", "ms", 6.0, None],
        ["decode", "all", "ms", 8.0, None],
        ["aggregated", "attention", "ms", None, 2.0],
        ["aggregated", "expert", "ms", None, 6.0],
        ["aggregated", "all", "ms", None, 8.0],
    ]


def test_people_read_machines_above_the_columns_where_these_differ(pair):
    assert labels_of(pair) == ["gb200_nvl72", "hgx_h200"]
    figures, parts = comparison_tables(pair)
    assert figures.head[2:] == ("gb200_nvl72", "hgx_h200", "gb200_nvl72 / hgx_h200")
    assert parts.head == ("pool", "part", "unit", "gb200_nvl72", "hgx_h200")
    assert "gb200_nvl72: NVIDIA gb200_nvl72, 8 GPUs, seed 0" in figures.title


def test_runs_of_one_machine_keep_their_names(make_outcome):
    runs = [make_outcome("a"), make_outcome("b"), make_outcome("c", machine="gb200_nvl72")]
    assert labels_of(runs) == ["a", "b", "gb200_nvl72"]
    assert labels_of([make_outcome("gb200_nvl72"), make_outcome("x"), runs[2]])[0] == "gb200_nvl72"
    assert labels_of(runs[:1]) == ["a"]


def test_data_names_the_base_and_its_ratios(pair):
    data = json.loads(render_comparison(pair, form=TableFormat.JSON))
    assert data["base"] == "base"
    assert list(data["results"]) == ["base", "hgx"]
    assert data["results"]["hgx"]["metrics"]["output_tokens_per_s_per_gpu"] == 50.0
    assert data["results"]["hgx"]["warnings"] == ["warning of hgx"]
    assert data["ratios"]["hgx"]["output_tokens_per_s_per_gpu"] == 4.0
    assert comparison_data(pair[:1])["ratios"] == {}


@pytest.mark.parametrize("form", list(TableFormat))
def test_every_format_names_the_runs_and_ends_in_a_newline(pair, form):
    text = render_comparison(pair, form=form)
    assert "hgx" in text
    assert text.endswith("\n")


def test_results_are_compared_directly_in_a_notebook(make_result):
    frame = compare_table(make_result())
    assert frame.loc[("output per GPU", "tokens/s"), "tiny"] == 100.0


def test_runs_with_one_name_are_refused(make_outcome):
    with pytest.raises(ConfigError, match="base, base; expected results with names of their own"):
        comparison_frame([make_outcome(), make_outcome()])
    with pytest.raises(ConfigError, match="no results"):
        compare_table()


def test_every_run_says_how_far_it_can_be_trusted(make_outcome):
    trusted = dataclasses.replace(make_outcome("a"), provenance={"validity": "Off by TPOT 9%"})
    silent = dataclasses.replace(make_outcome("b"), provenance={})
    assert validity_lines([trusted, silent]) == ["Validity of a: Off by TPOT 9%.\n"]
    text = render_comparison([trusted], form=TableFormat.MD)
    assert text.endswith("\n\nValidity of a: Off by TPOT 9%.\n")
