from dataclasses import replace
from functools import cache
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.backend.operators import ideal_constants
from rackmoe.compute.gemm import gemm_law
from rackmoe.compute.operators import OperatorLaws
from rackmoe.hardware.profile import load_machine
from rackmoe.model.costs import Gemm


@cache
def gpu_of(machine):
    return load_machine(machine).gpu


def test_bf16_product_adds_launch_flop_bytes_and_loop(gpu, gemm_constants):
    law = gemm_law(gpu, constants=gemm_constants, gemm=Gemm(name="x", n=1000, k=100))
    # 2 * 50 * 1000 * 100 FLOP, twice for the ramp of 100 on k = 100, at 50 TFLOP/s: 0.4 us.
    # 200,000 B of weights, 10,000 B in, 100,000 B out at 0.5 TB/s: 0.62 us. Loop: 0.1 us.
    assert law(50.0) == pytest.approx(5e-6 + 0.4e-6 + 0.62e-6 + 0.1e-6, rel=1e-9)


def test_quantized_product_pays_a_pass_over_its_activations(gpu, gemm_constants):
    gemm = Gemm(name="x", n=1000, k=100, dtype="fp8")
    quiet = replace(gemm_constants, quantize_efficiency=inf)
    slow = gemm_law(gpu, constants=gemm_constants, gemm=gemm)(50.0)
    fast = gemm_law(gpu, constants=quiet, gemm=gemm)(50.0)
    # 50 rows of 100 elements, 2 B read and 1 B written, at 0.25 TB/s.
    assert slow - fast == pytest.approx(50 * 300 / 0.25e12, rel=1e-6)


def test_few_columns_stream_slower(gpu, gemm_constants):
    strips = replace(gemm_constants, strip_exponent=0.5)
    few = Gemm(name="x", n=2560, k=4096)
    many = Gemm(name="x", n=20480, k=4096)
    plain, slowed = (
        gemm_law(gpu, constants=constants, gemm=few).weight_s
        for constants in (gemm_constants, strips)
    )
    assert slowed == pytest.approx(2 * plain, rel=1e-9)  # a quarter of the columns
    assert gemm_law(gpu, constants=strips, gemm=many).weight_s == pytest.approx(
        gemm_law(gpu, constants=gemm_constants, gemm=many).weight_s, rel=1e-9
    )


def test_no_rows_take_no_time_and_ask_for_nothing(gpu, gemm_constants):
    law = gemm_law(gpu, constants=gemm_constants, gemm=Gemm(name="x", n=1000, k=100))
    assert law(np.array([0, 1])).tolist()[0] == 0.0
    assert float(law.work(0).hbm_bytes) == 0.0


def test_work_counts_weights_once_and_activations_per_row(gpu, gemm_constants):
    gemm = Gemm(name="x", n=1000, k=100, batch=3)
    work = gemm_law(gpu, constants=gemm_constants, gemm=gemm).work(50)
    assert float(work.tensor_flop) == 3 * 2 * 50 * 1000 * 100
    assert float(work.hbm_bytes) == 3 * (200_000 + 10_000 + 100_000)


def test_ideal_product_is_the_roofline(gpu):
    law = OperatorLaws(gpu, ideal_constants()).gemm(n=4096, k=4096, dtype="fp8")
    rows = np.array([1.0, 65536.0])
    # One row streams 16.8 MB at 1 TB/s; 65,536 rows compute 2.2 PFLOP at 200 TFLOP/s.
    expected = [(4096 * 4096 + 4096 + 8192) / 1e12, 2 * 65536 * 4096 * 4096 / 2e14]
    assert law(rows).tolist() == pytest.approx(expected, rel=1e-9)


@given(
    st.integers(1, 131_071),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.floats(0.0, 1.0),
    st.floats(1.0, 8.0),
)
def test_larger_products_are_never_faster(m, n, k, exponent, sharpness):
    machine_gpu = gpu_of("hgx_h200")
    constants = replace(
        ideal_constants().gemm["bf16"],
        launch_s=5e-6,
        sharpness=sharpness,
        ramp_length=300.0,
        k_step_s=1e-9,
        strip_exponent=exponent,
    )

    def time_s(rows, columns, length):
        gemm = Gemm(name="x", n=columns, k=length)
        return float(gemm_law(machine_gpu, constants=constants, gemm=gemm)(rows))

    base = time_s(m, n, k) * (1 - 1e-9)
    assert time_s(m + 1, n, k) >= base
    assert time_s(m, n + 1, k) >= base
    assert time_s(m, n, k + 1) >= base
