import dataclasses

import pytest

from rackmoe.study.validation.anchors import Anchor, OperatingPoint
from rackmoe.study.validation.validity import run_point, run_validity, validity_at

AT = OperatingPoint(
    hardware="hgx_h200",
    model="deepseek-r1",
    mode="agg",
    engine="sglang",
    speculation="off",
    batch_per_gpu=8.0,
    context_tokens=1000.0,
    n_gpus=8.0,
    weight_bits=8.0,
)


def anchor(name, *, errors=None, differs=(), **where):
    return Anchor(
        id=name,
        curve="c",
        point=dataclasses.replace(AT, **where),
        differs=differs,
        ratios={"batch_per_gpu": 1.0},
        errors={"tpot": 0.1} if errors is None else errors,
    )


def test_a_point_between_measured_ones_has_their_median_error():
    anchors = [
        anchor("a", batch_per_gpu=4.0),
        anchor("b", batch_per_gpu=16.0, errors={"tpot": -0.3, "ttft": 0.5}),
        anchor("c", batch_per_gpu=32.0, errors={"tpot": 0.2}),
        anchor("d", batch_per_gpu=64.0, errors={"tpot": 9.0}),
    ]
    found = validity_at(AT, anchors=anchors)
    assert found.status == "validated"
    assert found.outside == ()
    assert [one.id for one in found.anchors] == ["a", "b", "c"]
    assert found.errors == pytest.approx({"tpot": 0.2, "ttft": 0.5})
    assert found.statement == (
        "Validated. The nearest 3 measured points were off by TPOT 20%, TTFT 50%"
    )


def test_what_is_outside_the_measured_range_is_named_with_its_bounds():
    at = dataclasses.replace(AT, batch_per_gpu=200.0)
    found = validity_at(at, anchors=[anchor("a"), anchor("b", batch_per_gpu=64.0)])
    assert found.status == "extrapolated"
    assert found.outside == ("200 sequences per GPU: measured from 8 to 64",)


def test_slightly_beyond_a_range_is_not_outside():
    at = dataclasses.replace(AT, batch_per_gpu=70.0)
    assert validity_at(at, anchors=[anchor("b", batch_per_gpu=64.0)]).status == "validated"


def test_other_hardware_is_not_validated_whatever_its_errors():
    other = anchor("a", hardware="hgx_b200", differs=("hardware",))
    found = validity_at(AT, anchors=[other])
    assert found.status == "not validated"
    assert found.outside == ("hardware 'hgx_h200': not validated on this hardware",)


def test_the_same_engine_at_another_date_is_extrapolated():
    at = dataclasses.replace(AT, backend="sglang-2026h1")
    early, late = (anchor(date, backend=f"sglang-{date}") for date in ("2025h2", "2026h1"))
    assert validity_at(at, anchors=[early, late]).status == "validated"
    assert validity_at(at, anchors=[early]).outside == (
        "backend 'sglang-2026h1': measured with sglang-2025h2",
    )


def test_another_engine_is_extrapolated_and_no_errors_not_validated():
    differs = anchor("a", engine="vllm", differs=("engine",))
    assert validity_at(AT, anchors=[differs]).status == "extrapolated"
    assert "engine 'sglang': never measured" in validity_at(AT, anchors=[differs]).outside
    silent = validity_at(AT, anchors=[anchor("a", errors={})])
    assert silent.status == "not validated"
    assert "no known error" in silent.statement
    assert validity_at(AT, anchors=[]).status == "not validated"


def test_plain_data_holds_anchors_and_where_errors_come_from():
    data = validity_at(AT, anchors=[anchor("a")]).as_dict()
    assert data["source"] == "scenarios/calibration/serving_validation.csv"
    assert data["anchors"][0]["distance"] == 0
    assert data["anchors"][0]["errors"] == {"tpot": 0.1}


def test_a_run_operates_where_its_steps_and_requests_were(make_result):
    result = make_result()
    point = run_point(result)
    assert point.hardware == "hgx_h200"
    assert point.model == result.scenario.arch.name
    assert point.mode == "agg"
    assert point.batch_per_gpu > 0
    assert run_validity(result).point == point
