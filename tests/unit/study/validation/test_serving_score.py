import numpy as np
import pytest

from rackmoe.study.validation.serving_rows import ServingRow
from rackmoe.study.validation.serving_score import (
    measured_throughput,
    row_errors,
    score_strata,
    stratum_names,
    weighted_median,
)


def row_of(name="a", curve="c", trust="A", **cells):
    return ServingRow(cells={"id": name, "curve": curve, "trust": trust, **cells})


def test_errors_are_relative_and_only_of_what_is_scored():
    row = row_of(tpot_ms="20", tpot_stat="mean", ttft_ms="100", score_ttft="no")
    assert row_errors(row, figures={"tpot_ms": 25.0, "ttft_ms": 90.0}) == {"tpot": 0.25}
    assert row_errors(row, figures={}) == {"tpot": None}


def test_points_read_off_a_chart_and_implied_times_are_not_scored():
    assert row_errors(row_of(trust="C", tpot_ms="20"), figures={"tpot_ms": 20.0}) == {}
    implied = row_of(tpot_ms="20", tpot_stat="implied")
    assert row_errors(implied, figures={"tpot_ms": 20.0}) == {}


def test_throughput_of_a_phase_goes_before_that_of_all_gpus():
    row = row_of(total_tokens_per_s_per_gpu="5", output_tokens_per_s_per_decode_gpu="9")
    assert measured_throughput(row) == "output_tokens_per_s_per_decode_gpu"
    assert measured_throughput(row_of()) is None


def test_each_curve_weighs_the_same_and_a_failure_counts_whole():
    rows = [row_of("a"), row_of("b"), row_of("d", "other")]
    errors = {"a": {"tpot": 0.1}, "b": {"tpot": -0.3}, "d": {"tpot": None}}
    everything = score_strata(rows, errors=errors)[0]
    assert (everything.name, everything.n_points, everything.n_curves) == ("all", 3, 2)
    assert everything.n_answered == 2
    # half of (0.1 + 0.3) / 2, and half of a failure
    assert everything.tpot.mean == pytest.approx(0.6)
    assert everything.tpot.n_failed == 1
    assert everything.tpot.bias == pytest.approx(-0.1)
    assert everything.ttft.n == 0


def test_a_row_belongs_to_all_to_its_headline_and_to_its_own_kind():
    row = row_of(hardware="hgx_h200", model="kimi-k2", mode="agg", engine="vllm")
    assert stratum_names(row) == ("all", "Kimi K2", "hgx_h200 kimi-k2 agg vllm")


def test_the_weighted_median_lies_where_half_of_the_weight_is():
    assert weighted_median(np.array([3.0, 1.0, 2.0]), weights=np.array([1.0, 5.0, 1.0])) == 1
    assert weighted_median(np.array([4.0, 2.0]), weights=np.array([1.0, 1.0])) == 3
