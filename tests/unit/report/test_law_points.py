from types import SimpleNamespace

import pytest

from rackmoe.report.law_points import LawPoint, kernel_points, network_points, power_points


def test_an_error_is_relative_and_signed():
    known = {"name": "a", "group": "g", "unit": "us"}
    assert LawPoint(measured=10.0, predicted=11.0, **known).error == pytest.approx(0.1)
    assert LawPoint(measured=10.0, predicted=None, **known).error is None
    assert LawPoint(measured=None, predicted=1.0, **known).error is None


def test_kernels_are_in_microseconds_by_operator_source_and_format():
    row = SimpleNamespace(row=3, operator="gemm", source="trtllm", dtype="fp8")
    row.measured_s, row.predicted_s, row.reason, row.excluded = 2e-6, None, "no law", True
    (point,) = kernel_points(SimpleNamespace(points=[row]))
    assert (point.measured, point.predicted, point.unit) == (pytest.approx(2.0), None, "us")
    assert (point.group, point.is_left_out) == ("gemm trtllm fp8", True)


def test_communication_is_in_microseconds_or_gigabytes_by_machine_and_role():
    common = {"reason": "", "role": "held out", "predicted": None}
    rows = [
        SimpleNamespace(row="1", stratum="hgx_h200 nccl", measured=3e-6, unit="s", **common),
        SimpleNamespace(row="2", stratum="", measured=2e9, unit="B/s", **common),
    ]
    time, rate = network_points(SimpleNamespace(points=rows))
    assert (time.measured, time.unit, time.group) == (pytest.approx(3), "us", "hgx_h200, held out")
    assert (rate.measured, rate.unit) == (2.0, "GB/s")


def test_power_is_grouped_by_family_and_role():
    row = SimpleNamespace(id="a", family="limit", role="input", measured=700.0, predicted=690.0)
    row.unit, row.reason, row.is_scored = "W", "", False
    (point,) = power_points(SimpleNamespace(points=[row]))
    assert (point.name, point.group, point.is_left_out) == ("a", "limit (input)", True)
