from dataclasses import replace

import numpy as np
import pytest

from rackmoe.compute.grouped_gemm import ExpertShape, grouped_gemm_law
from rackmoe.model.costs import expert_work

SHAPE = ExpertShape(hidden=100, inter=50, dtype="bf16", n_local_experts=8)


def test_load_of_a_rank_adds_launch_passes_flop_bytes_and_scan(gpu, grouped_constants):
    law = grouped_gemm_law(gpu, constants=grouped_constants, shape=SHAPE)
    # 10 assignments on 4 experts: 6 * 10 * 5000 FLOP at 50 TFLOP/s; 4 * 30,000 B of weights
    # and 10 * (200 + 200 + 100 + 200) B of activations at 0.5 TB/s; scan of 8 experts;
    # 10 results of 200 B added and 6 tokens of 400 B passed at 0.25 TB/s.
    flop_s = 6 * 10 * 5000 / 5e13
    bytes_s = (4 * 30_000 + 10 * 700) / 5e11
    passes_s = (10 * 200 + 6 * 400) / 2.5e11
    expected = 2e-5 + flop_s + bytes_s + 8e-7 + passes_s
    assert float(law(10.0, 4.0, 6.0)) == pytest.approx(expected, rel=1e-9)


def test_every_assignment_counts_as_a_token_unless_told(gpu, grouped_constants):
    law = grouped_gemm_law(gpu, constants=grouped_constants, shape=SHAPE)
    assert float(law(10.0, 4.0)) == float(law(10.0, 4.0, 10.0))
    assert float(law(10.0, 4.0, 2.0)) < float(law(10.0, 4.0))


def test_tile_planned_for_all_ranks_computes_empty_rows(gpu, grouped_constants):
    law = grouped_gemm_law(gpu, constants=grouped_constants, shape=SHAPE)
    planned = float(law(10.0, 4.0, 6.0, 1000.0)) - float(law(10.0, 4.0, 6.0))
    # 4 experts of one 64-row tile each instead of 10 rows.
    assert planned == pytest.approx((4 * 64 - 10) * 6 * 5000 / 5e13, rel=1e-6)
    assert float(law(10.0, 4.0, 6.0, 1.0)) == float(law(10.0, 4.0, 6.0))


def test_skewed_decode_reads_fewer_experts_and_skewed_prefill_computes_more(
    gpu, grouped_constants
):
    law = grouped_gemm_law(gpu, constants=grouped_constants, shape=SHAPE)
    assert float(law(8.0, 3.0)) < float(law(8.0, 8.0))
    assert float(law(20_000.0, 8.0)) > float(law(10_000.0, 8.0))


def test_work_is_that_of_the_experts_and_of_the_passes(gpu, grouped_constants):
    law = grouped_gemm_law(gpu, constants=grouped_constants, shape=SHAPE)
    work = law.work(np.array([10.0]), active_experts=np.array([4.0]), tokens=np.array([6.0]))
    experts = expert_work(10.0, active_experts=4.0, hidden=100, inter=50, dtype="bf16")
    assert work.tensor_flop.tolist() == [experts.tensor_flop]
    assert work.hbm_bytes.tolist() == [experts.hbm_bytes + 6 * 400]


def test_every_rank_of_every_layer_is_computed_at_once(gpu, grouped_constants):
    law = grouped_gemm_law(gpu, constants=grouped_constants, shape=SHAPE)
    assignments = np.arange(12.0).reshape(3, 4)
    times = law(assignments, np.minimum(assignments, 8.0))
    assert times.shape == (3, 4)
    assert (np.diff(times.ravel()) > 0).all()


def test_a_split_expert_pays_its_passes_and_its_share_of_slow_products(gpu, grouped_constants):
    constants = replace(grouped_constants, token_efficiency=0.05)
    whole = grouped_gemm_law(gpu, constants=constants, shape=SHAPE)
    split = grouped_gemm_law(gpu, constants=constants, shape=replace(SHAPE, inter=10, split=5))
    # 200 B at 5 % of 1 TB/s; a quarter of the bandwidth is the slowest pass
    assert whole.finalize_s == pytest.approx(200 / 5e10)
    assert split.finalize_s == pytest.approx(200 / 2.5e11 + (200 / 5e10 - 200 / 2.5e11) / 5)
