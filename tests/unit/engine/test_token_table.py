"""Chains of matrix products by their number of rows."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.backend.operators import ideal_constants
from rackmoe.compute.operators import OperatorLaws
from rackmoe.engine.token_table import TokenTable
from rackmoe.hardware.profile import load_machine
from rackmoe.model.costs import Gemm

GPU = replace(
    load_machine("hgx_h200").gpu,
    peak_flop_per_s={"bf16": 1e12, "fp8": 2e12},
    hbm_bandwidth_bytes_per_s=1e9,
)


def laws(constants=None):
    return OperatorLaws(GPU, constants or ideal_constants())


def test_a_table_holds_the_time_of_every_number_of_rows():
    table = TokenTable([Gemm(name="a", n=1000, k=500, dtype="bf16")], laws=laws(), max_rows=4)
    # 1 MB of weights at 1 GB/s, and 1 kB in and 2 kB out for each row
    expected_s = [0.0, *(1e-3 + rows * 3e-6 for rows in (1, 2, 3, 4))]
    assert table.time_s(np.arange(5)) == pytest.approx(expected_s)


def test_the_work_of_a_table_reads_the_weights_once_for_each_group_with_rows():
    table = TokenTable([Gemm(name="a", n=1000, k=500, dtype="bf16")], laws=laws(), max_rows=4)
    work = table.work(np.array([3, 0, 1]))
    assert work.tensor_flop == 2 * 1000 * 500 * 4
    assert work.hbm_bytes == 2 * 1e6 + 4 * 3000


def test_products_beside_larger_ones_hide_their_launches():
    gemms = [Gemm(name="product", n=1000, k=1000, dtype="bf16")]
    free = TokenTable(gemms, laws=laws(), max_rows=4)
    rows = np.array([0, 1, 4])
    # bound by their weights: 2 MB at 1 GB/s
    assert free.beside_s(rows) == pytest.approx([0.0, 2e-3, 2e-3], rel=0.02)
    slow = replace(ideal_constants().gemm["bf16"], launch_s=1e-3)
    constants = replace(ideal_constants(), gemm={"bf16": slow})
    launched = TokenTable(gemms, laws=laws(constants), max_rows=4)
    assert launched.time_s(rows)[1] > 1e-3
    assert launched.beside_s(rows) == pytest.approx(free.beside_s(rows))
