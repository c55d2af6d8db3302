import dataclasses
import math

import pytest
from serving_cases import row_of

from rackmoe.errors import ConfigError
from rackmoe.study.validation.anchors import (
    KINDS,
    OperatingPoint,
    anchor_errors,
    measured_anchors,
    row_point,
)

AT = OperatingPoint(
    hardware="hgx_h200",
    model="deepseek-r1",
    mode="agg",
    engine="sglang",
    speculation="off",
    batch_per_gpu=8.0,
    context_tokens=990.0,
    n_gpus=8.0,
    weight_bits=8.0,
    backend="sglang-2026h1",
)


@pytest.fixture
def errors_csv(tmp_path):
    path = tmp_path / "errors.csv"
    path.write_text("id,error_tpot,error_throughput,error_ttft\na,0.1,-0.2,\n")
    return path


def test_a_row_is_an_operating_point_of_users_per_gpu_and_mean_lengths():
    point = row_point(row_of("a"))
    assert point == AT
    assert row_point(row_of("a", length_model="fixed")).context_tokens == 1100
    assert row_point(row_of("a", weights_dtype="nvfp4")).weight_bits == 4
    assert row_point(row_of("a", decode_workers="2")).n_gpus == 8
    assert row_point(row_of("a", decode_workers="2")).batch_per_gpu == 4


def test_tokens_of_a_prefill_step_are_no_batch():
    row = row_of("a", mode="prefill_only", prefill_workers="1", prefill_tp="4", batch_per_gpu="1")
    assert math.isnan(row_point(row).batch_per_gpu)
    assert row_point(row).n_gpus == 4


def test_points_with_more_in_common_come_first_then_nearer_ones():
    anchors = measured_anchors(AT)
    best = [one for one in anchors if not one.differs]
    assert anchors[: len(best)] == tuple(best)
    assert [one.distance for one in best] == sorted(one.distance for one in best)
    ranks = [[kind in one.differs for kind in KINDS] for one in anchors]
    assert ranks == sorted(ranks)
    assert all(one.point.hardware == "hgx_h200" for one in best)


def test_the_distance_sums_logarithms_of_ratios():
    (first, *_) = measured_anchors(dataclasses.replace(AT, batch_per_gpu=math.nan))
    assert "batch_per_gpu" not in first.ratios
    expected = sum(abs(math.log(ratio)) for ratio in first.ratios.values())
    assert first.distance == pytest.approx(expected)


def test_errors_are_those_of_a_validation_by_row(errors_csv, tmp_path):
    assert anchor_errors(errors_csv) == {"a": {"tpot": 0.1, "throughput": -0.2}}
    assert anchor_errors(tmp_path / "none.csv") == {}
    errors_csv.write_text("id,x\na,1\n")
    with pytest.raises(ConfigError, match="expected id, error_tpot"):
        anchor_errors(errors_csv)


def test_shipped_errors_are_those_of_shipped_points():
    known = {one.id for one in measured_anchors(AT)}
    errors = {name for name, found in anchor_errors().items() if found}
    assert errors
    assert errors <= known
