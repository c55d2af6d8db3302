"""Errors on the half of the shipped rows that no fit has seen."""

from functools import cache

import pytest

from rackmoe.hardware.profile import load_machine
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.validation.kernels import validate_kernels

MACHINES = {"h200": "hgx_h200", "gb200": "gb200_nvl72", "b200": "hgx_b200"}
TRTLLM = "trtllm-1.3.0rc20"


@cache
def points(file):
    gpu = next(part for part in file.removesuffix(".csv").split("_") if part in MACHINES)
    machine = load_machine(MACHINES[gpu])
    path = shipped_folder("scenarios/calibration/kernels") / file
    return validate_kernels(path, machine=machine).points


def median_error(files, *, operator, source=TRTLLM, dtype=None, kernel=None):
    errors = sorted(
        abs(point.predicted_s / point.measured_s - 1)
        for file in files
        for point in points(file)
        if point.held_out
        and not point.excluded
        and point.operator == operator
        and point.source == source
        and dtype in {None, point.dtype}
        and kernel in {None, point.kernel}
    )
    assert len(errors) >= 20
    return errors[len(errors) // 2]


@pytest.mark.parametrize(
    ("gpu", "dtype", "bound"),
    [
        ("h200", "bf16", 0.045),
        ("h200", "fp8", 0.03),
        ("h200", "fp8_block", 0.035),
        ("gb200", "bf16", 0.065),
        ("gb200", "fp8", 0.045),
        ("gb200", "fp8_block", 0.04),
        ("gb200", "nvfp4", 0.03),
    ],
)
def test_products_of_all_sizes_are_within_eight_percent(gpu, dtype, bound):
    # The bar is 8 %; each format is held to what it reaches.
    assert median_error([f"gemm_{gpu}.csv"], operator="gemm", dtype=dtype) <= bound


@pytest.mark.parametrize(
    ("gpu", "kernel", "dtype", "bound"),
    [
        ("h200", "tf_cutlass", "fp8_block", 0.05),
        ("h200", "tf_cutlass", "bf16", 0.07),
        ("h200", "tf", "w4a16_mxfp4", 0.075),
        ("gb200", "deepgemm", "fp8_block", 0.045),
        ("gb200", "tf_cutlass", "nvfp4", 0.065),
        ("gb200", "tf_min_latency", "nvfp4", 0.09),
        ("gb200", "tf_cutlass", "bf16", 0.05),
        ("gb200", "tf", "w4a16_mxfp4", 0.065),
        ("gb200", "tf", "w4a8_mxfp4", 0.08),
    ],
)
def test_routed_experts_are_within_ten_percent(gpu, kernel, dtype, bound):
    files = [f"moe_{gpu}_{model}.csv" for model in ("dsv3", "k2", "gptoss_mixtral")]
    error = median_error(files, operator="grouped_gemm", kernel=kernel, dtype=dtype)
    assert error <= bound


@pytest.mark.parametrize("gpu", ["h200", "gb200"])
@pytest.mark.parametrize("kv_dtype", ["bf16", "fp8"])
def test_latent_attention_kernels_are_within_eleven_and_fifteen_percent(gpu, kv_dtype):
    files = [f"mla_kernel_{gpu}.csv"]
    assert median_error(files, operator="mla_decode", dtype=kv_dtype) <= 0.09
    assert median_error(files, operator="mla_prefill", dtype=kv_dtype) <= 0.06


@pytest.mark.parametrize("gpu", ["h200", "gb200"])
@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_attention_modules_follow_from_kernel_products_and_floor(gpu, phase):
    files = [f"mla_module_{gpu}.csv"]
    assert median_error(files, operator=f"{phase}_module") <= 0.065


@pytest.mark.parametrize("gpu", ["h200", "gb200"])
def test_wide_expert_parallel_kernels_of_sglang_are_within_ten_percent(gpu):
    files = [f"moe_wideep_sglang_{gpu}_dsv3_fp8.csv"]
    for kernel in ("wide_ep_context", "wide_ep_generation"):
        error = median_error(files, operator="grouped_gemm", source="sglang", kernel=kernel)
        assert error <= 0.1


@pytest.mark.parametrize("operator", ["gqa_decode", "gqa_prefill"])
def test_grouped_query_attention_on_b200_is_within_ten_percent(operator):
    error = median_error(["power_b200_attention.csv"], operator=operator, source="vllm")
    assert error <= 0.06


@pytest.mark.parametrize("gpu", ["h200", "gb200"])
def test_every_shipped_row_is_answered(gpu):
    folder = shipped_folder("scenarios/calibration/kernels")
    names = [path.name for path in folder.glob(f"*_{gpu}*.csv") if "alltoall" not in path.name]
    for name in names:
        assert all(point.answered for point in points(name)), name
