import json
from functools import cache

import pytest

from rackmoe.hardware.profile import load_machine
from rackmoe.study.validation.kernels import validate_kernels

MOE = "source,kernel,dtype,hidden,inter,topk,experts,ep,dist,tokens_global,latency_us\n"


@cache
def machine_of(name):
    return load_machine(name)


@pytest.fixture
def validated(tmp_path):
    def validate(text, machine="gb200_nvl72"):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return validate_kernels(path, machine=machine_of(machine))

    return validate


def test_every_row_becomes_a_point_in_its_place(validated):
    found = validated("dtype,m,n,k,latency_us\nnvfp4,1,7168,2048,9.6\nbfloat16,x,1,1,1\n")
    assert [point.row for point in found.points] == [1, 2]
    first, second = found.points
    assert first.answered
    assert first.measured_s == pytest.approx(9.6e-6, rel=1e-12)
    assert first.predicted_s == pytest.approx(9.6e-6, rel=0.2)
    assert first.reason == ""
    assert not second.answered
    assert second.predicted_s is None
    assert second.reason == "m: not a number above 0"


def test_excluded_rows_are_predicted_and_printed_but_not_scored(validated):
    row = "trtllm-1.3.0rc20,tf_cutlass,nvfp4,7168,2048,8,256,8,balanced,64,277\n"
    found = validated(MOE + row)
    assert found.points[0].answered
    assert found.points[0].excluded
    assert "autotuner" in found.points[0].reason
    assert all(stratum.n == 0 and stratum.error_median is None for stratum in found.strata)


def test_strata_measure_errors_of_what_they_share(validated):
    lines = "".join(f"nvfp4,{m},7168,2048,10\n" for m in (1, 2, 4, 8, 1024))
    found = validated("dtype,m,n,k,latency_us\n" + lines)
    errors = sorted(abs(point.predicted_s / 1e-5 - 1) for point in found.points)
    whole = next(one for one in found.strata if (one.key.phase, one.scope) == ("all", "all"))
    assert whole.n == 5
    assert whole.error_median == pytest.approx(errors[2], rel=1e-9)
    assert whole.error_mean == pytest.approx(sum(errors) / 5, rel=1e-9)
    prefill = next(one for one in found.strata if (one.key.phase, one.scope) == ("prefill", "all"))
    assert prefill.n == 1
    unseen = next(one for one in found.strata if (one.key.phase, one.scope) == ("all", "held_out"))
    assert unseen.n == sum(point.held_out for point in found.points)


def test_engine_or_kernel_without_constants_is_answered_by_the_nearest_law(validated):
    text = "source,kernel,dtype,m,n,k,latency_us\nvllm-0.30.0,cublas,nvfp4,1,7168,2048,10\n"
    point = validated(text).points[0]
    assert point.answered
    assert point.reason == "nearest law: trtllm-1.3.0rc20 gemm nvfp4"


def test_gpu_without_tables_says_whose_law_answers(validated):
    point = validated("dtype,m,n,k,latency_us\nfp8,1,512,512,10\n", "hgx_h100").points[0]
    assert point.reason == "nearest law: trtllm-1.3.0rc20 gemm fp8 on h200"


def test_format_that_the_gpu_lacks_is_unanswered_with_the_reason(validated):
    text = "dtype,m,n,k,latency_us\nnvfp4,1,512,512,10\nfp6,1,512,512,10\n"
    lacking, unknown = validated(text, "hgx_h200").points
    assert not lacking.answered
    assert "h200 has no fp4 units" in lacking.reason
    assert not unknown.answered
    assert "fp6: no law" in unknown.reason


def test_unknown_distribution_leaves_rows_unanswered(validated):
    row = "trtllm-1.3.0rc20,tf_cutlass,nvfp4,7168,2048,8,256,8,zipf,64,277\n"
    found = validated(MOE + row)
    assert not found.points[0].answered
    assert "dist: zipf" in found.points[0].reason
    whole = next(one for one in found.strata if one.scope == "all")
    assert (whole.n, whole.n_unanswered) == (0, 1)


def test_rows_far_beyond_the_tables_are_answered(validated):
    rows = "".join(
        f"trtllm-1.3.0rc20,tf_cutlass,nvfp4,7168,2048,8,256,{ep},power_law_1.2,{tokens},1\n"
        for ep in (2, 256, 320)
        for tokens in (1, 131_072)
    )
    points = validated(MOE + rows).points
    assert all(point.answered for point in points)
    for few, many in zip(points[::2], points[1::2], strict=True):
        assert few.predicted_s < many.predicted_s


def test_validation_is_plain_json(validated):
    found = validated("dtype,m,n,k,latency_us\nnvfp4,1,512,512,7\nnvfp4,1,512,512,nan\n")
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert data["gpu"] == "gb200"
    assert set(data["points"][0]) >= {"row", "answered", "measured_us", "predicted_us", "reason"}
    assert data["points"][1]["measured_us"] is None
