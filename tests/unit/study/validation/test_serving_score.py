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


def row(name: str, curve: str = "a", **cells: str) -> ServingRow:
    known = {
        "id": name,
        "curve": curve,
        "trust": "A",
        "hardware": "hgx_h200",
        "model": "deepseek-r1",
        "mode": "agg",
        "engine": "trtllm",
        "tpot_ms": "10",
        "ttft_ms": "100",
        "score_ttft": "yes",
        "total_tokens_per_s_per_gpu": "50",
    }
    return ServingRow(cells=known | cells)


def test_errors_are_relative_and_signed():
    figures = {"tpot_ms": 11.0, "ttft_ms": 50.0, "total_tokens_per_s_per_gpu": 60.0}
    errors = row_errors(row("x"), figures=figures)
    assert errors == pytest.approx({"tpot": 0.1, "throughput": 0.2, "ttft": -0.5})


def test_only_what_is_scored_has_an_error():
    assert set(row_errors(row("x", score_ttft="no"), figures={})) == {"tpot", "throughput"}
    assert set(row_errors(row("x", tpot_stat="implied"), figures={})) == {"throughput", "ttft"}
    assert row_errors(row("x", trust="C"), figures={}) == {}
    assert row_errors(row("x"), figures={})["tpot"] is None


def test_throughput_is_compared_in_its_own_denominator():
    assert measured_throughput(row("x")) == "total_tokens_per_s_per_gpu"
    assert (
        measured_throughput(row("x", output_tokens_per_s_per_decode_gpu="7"))
        == "output_tokens_per_s_per_decode_gpu"
    )
    assert measured_throughput(row("x", total_tokens_per_s_per_gpu="")) is None


def test_a_row_is_in_all_its_headline_and_its_own_stratum():
    assert stratum_names(row("x")) == (
        "all",
        "HGX H200 DeepSeek-R1",
        "hgx_h200 deepseek-r1 agg trtllm",
    )
    assert "saturated phases" in stratum_names(row("x", mode="decode_only"))


def test_every_curve_weighs_the_same():
    rows = [row(f"a{i}") for i in range(9)] + [row("b", curve="b")]
    errors = {one.id: {"tpot": 0.1} for one in rows[:9]} | {"b": {"tpot": -0.5}}
    (stratum, *_) = score_strata(rows, errors=errors)
    assert stratum.name == "all"
    assert stratum.tpot.mean == pytest.approx(0.3)
    assert stratum.n_curves == 2


def test_a_failure_counts_as_a_whole_error():
    rows = [row("a"), row("b", curve="b")]
    (stratum, *_) = score_strata(rows, errors={"a": {"tpot": 0.1}, "b": {"tpot": None}})
    assert stratum.tpot.n_failed == 1
    assert stratum.tpot.mean == pytest.approx(0.55)
    assert stratum.n_answered == 1
    assert stratum.ttft.median is None


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ([3.0, 1.0, 2.0], [1.0, 1.0, 1.0], 2.0),
        ([1.0, 2.0], [1.0, 1.0], 1.5),
        ([1.0, 9.0], [1, 3], 9),
    ],
)
def test_half_of_the_weight_lies_below_the_median(values, weights, expected):
    assert weighted_median(np.array(values), weights=np.array(weights)) == expected
