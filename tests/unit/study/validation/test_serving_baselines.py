import pytest

from rackmoe.hardware.profile import load_machine
from rackmoe.study.validation.serving_baselines import nearest_points, roofline_points
from rackmoe.study.validation.serving_rows import ServingRow


def row_of(name, **cells):
    known = {"id": name, "curve": name, "trust": "A", "hardware": "hgx_h200"}
    known |= {"model": "deepseek-r1", "weights_dtype": "fp8", "engine": "sglang", "mode": "agg"}
    known |= {"isl": "1000", "osl": "200", "arrival": "closed", "concurrency": "64"}
    known |= {"decode_workers": "1", "decode_tp": "8", "tpot_stat": "mean"}
    return ServingRow(cells=known | cells)


def test_the_efficiency_is_that_of_the_rows_themselves():
    found = roofline_points([row_of("a", tpot_ms="20")])
    assert found["a"]["tpot_ms"] == pytest.approx(20, rel=1e-12)


def test_rates_follow_from_times_by_littles_law():
    figures = roofline_points([row_of("a", tpot_ms="20")])["a"]
    stay_s = (figures["ttft_ms"] + 199 * 20) / 1000
    assert figures["output_tokens_per_s_per_gpu"] == pytest.approx(64 / stay_s * 200 / 8)
    assert figures["total_tokens_per_s_per_gpu"] == pytest.approx(64 / stay_s * 1200 / 8)


def test_the_nearest_point_of_another_curve_is_scaled_by_bandwidth():
    rows = [
        row_of("a", tpot_ms="20"),
        row_of("near", hardware="hgx_h100", tpot_ms="30", concurrency="60"),
        row_of("far", hardware="hgx_h100", tpot_ms="90", concurrency="600"),
        row_of("own", curve="a", tpot_ms="21"),
    ]
    h100, h200 = (
        load_machine(name).gpu.hbm_bandwidth_bytes_per_s for name in ("hgx_h100", "hgx_h200")
    )
    assert nearest_points(rows)["a"]["tpot_ms"] == pytest.approx(30 * h100 / h200)


def test_another_model_is_farther_than_another_number_of_users():
    rows = [
        row_of("a", tpot_ms="20"),
        row_of("other", model="kimi-k2", tpot_ms="30"),
        row_of("same", tpot_ms="50", concurrency="640"),
    ]
    assert nearest_points(rows)["a"]["tpot_ms"] == pytest.approx(50)
    assert nearest_points(rows[:1])["a"]["tpot_ms"] is None


def test_rows_of_unknown_machines_and_models_have_no_baseline():
    rows = [row_of("a", tpot_ms="20"), row_of("b", hardware="hgx_h300", tpot_ms="1")]
    rows.append(row_of("c", model="unknown", tpot_ms="1"))
    for found in (roofline_points(rows), nearest_points(rows)):
        assert set(found) == {"a", "b", "c"}
        assert not any(found["b"].values())
        assert not any(found["c"].values())
    assert roofline_points(rows)["a"]["tpot_ms"] == pytest.approx(20)


def test_of_equally_near_points_the_first_counts():
    rows = [row_of("a", tpot_ms="20"), row_of("b", tpot_ms="30"), row_of("c", tpot_ms="40")]
    assert nearest_points(rows)["a"]["tpot_ms"] == pytest.approx(30)
    assert nearest_points(rows)["c"]["tpot_ms"] == pytest.approx(20)


def test_counts_of_zero_have_no_baseline():
    rows = [
        row_of("a", tpot_ms="20"),
        row_of("b", isl="0", osl="0", concurrency="0", decode_tp="0"),
    ]
    assert roofline_points(rows)["a"]["tpot_ms"] == pytest.approx(20)
    assert set(roofline_points(rows)) == {"a", "b"}
