"""FLOP and bytes of a step, by the peak that bounds them."""

import numpy as np
import pytest
from strategies import write_model

from rackmoe.backend.operators import ideal_constants
from rackmoe.compute.operators import OperatorLaws
from rackmoe.engine.dense_work import AttentionLoad, DenseWork
from rackmoe.engine.step_work import StepSum, StepWork
from rackmoe.hardware.profile import load_machine
from rackmoe.model.config import load_model
from rackmoe.model.costs import Work
from rackmoe.routing.step import StepRouting
from rackmoe.serving.batching import StepBatch


def test_work_is_booked_at_the_peak_of_its_format():
    total = StepSum()
    total.add(Work(tensor_flop=10.0, hbm_bytes=1.0), dtype="bf16", n_times=2.0)
    total.add(Work(tensor_flop=10.0, hbm_bytes=1.0), dtype="fp8_block", n_times=1.0)
    total.add(Work(tensor_flop=10.0, hbm_bytes=1.0), dtype="nvfp4", n_times=0.5)
    assert total.by_peak_flop.tolist() == [20.0, 10.0, 5.0]
    assert total.hbm_bytes == 3.5


def step_total(small_files, *, tp=1, n_copies=1, sequences=(1,), logits=(1,)):
    """Return the work of decoding without any cached token."""
    arch = load_model(write_model("grouped", small_files))
    laws = OperatorLaws(load_machine("hgx_h200").gpu, ideal_constants())
    dense = DenseWork(arch, laws=laws, tp=tp, kv_dtype="bf16", max_rows=8)
    work = StepWork(
        arch, dense=dense, tp=tp, n_expert_copies=n_copies, expert_inter=256 // n_copies
    )
    zeros = np.zeros(len(sequences), np.int64)
    batch = StepBatch(
        decode_sequences=np.array(sequences),
        decode_kv_tokens=zeros,
        decode_window_tokens=zeros,
        prefill_tokens=zeros,
        chunks=(),
        preempted=(),
    )
    routed = StepRouting.zeros(n_layers=3, n_experts=8, n_ranks=1)
    n_tokens = sum(sequences)
    routed.rank_assignments[:] = 2 * n_tokens
    routed.active_experts[:] = min(8, 2 * n_tokens)
    return work.total(batch, chunks=None, routed=routed, logits=np.array(logits))


def test_one_token_costs_twice_its_active_parameters(small_files):
    # qkv 256 -> (8 + 2 x 4) x 32, o 256 -> 256, router 8, two experts of 3 x 256 x 256
    layer = 256 * 16 * 32 + 256 * 256 + 256 * 8 + 2 * 3 * 256 * 256
    head = 512 * 256
    total = step_total(small_files)
    assert total.by_peak_flop.tolist() == [2 * (3 * layer + head), 0, 0]
    # all of it in bf16, and some activations
    assert total.hbm_bytes == pytest.approx(2 * (3 * layer + head), rel=0.05)
    assert total.hbm_bytes > 2 * (3 * layer + head)


def test_tokens_without_logits_spare_the_head(small_files):
    with_head, without = (step_total(small_files, logits=(n,)) for n in (1, 0))
    difference = with_head.by_peak_flop - without.by_peak_flop
    assert difference.tolist() == [2 * 512 * 256, 0, 0]


def test_split_experts_cost_what_whole_ones_cost(small_files):
    whole, split = (step_total(small_files, n_copies=n) for n in (1, 4))
    assert split.by_peak_flop.sum() == pytest.approx(whole.by_peak_flop.sum())


def test_tensor_parallel_groups_share_everything_but_the_router(small_files):
    one, two = (step_total(small_files, tp=tp) for tp in (1, 2))
    router = 3 * 2 * 256 * 8
    assert two.by_peak_flop.sum() == pytest.approx(one.by_peak_flop.sum() + router)


def test_every_attention_group_reads_the_weights(small_files):
    one = step_total(small_files, sequences=(2, 0), logits=(2, 0))
    two = step_total(small_files, sequences=(1, 1), logits=(1, 1))
    attention_and_head = 3 * (256 * 16 * 32 + 256 * 256 + 256 * 8) + 512 * 256
    assert two.hbm_bytes - one.hbm_bytes == pytest.approx(2 * attention_and_head)
    assert two.by_peak_flop.sum() == one.by_peak_flop.sum()


@pytest.mark.parametrize("model", ["latent", "grouped", "windowed", "alternate"])
@pytest.mark.parametrize("weights", ["bf16", "fp8"])
@pytest.mark.parametrize("with_prompts", [False, True])
@pytest.mark.parametrize("n_verified", [1, 4])
def test_work_is_linear_in_the_load(small_files, model, weights, with_prompts, n_verified):
    arch = load_model(write_model(model, small_files), weights=weights)
    laws = OperatorLaws(load_machine("hgx_h200").gpu, ideal_constants())
    dense = DenseWork(arch, laws=laws, tp=2, kv_dtype="bf16", max_rows=64)
    work = StepWork(arch, dense=dense, tp=2, n_expert_copies=1, expert_inter=128)
    rng = np.random.default_rng(5)
    decode, kv, prompt = rng.integers(0, 20, (3, 6)) * (rng.random((3, 6)) < 0.7)
    chunks = None
    if with_prompts:
        pairs = rng.integers(0, 500, (max(dense.class_of_layer) + 1, 6)).astype(float)
        chunks = AttentionLoad(
            tokens=prompt, kv_tokens=3 * prompt, pairs=pairs, n_chunks=np.ones(6, int)
        )
    batch = StepBatch(
        decode_sequences=decode,
        decode_kv_tokens=kv,
        decode_window_tokens=kv // 2,
        prefill_tokens=prompt * with_prompts,
        chunks=(),
        preempted=(),
        tokens_per_sequence=n_verified,
    )
    routed = StepRouting.zeros(n_layers=3, n_experts=8, n_ranks=2)
    routed.rank_assignments[:], routed.active_experts[:] = rng.integers(0, 9, (2, 3, 2))
    load = {"chunks": chunks, "routed": routed, "logits": decode}
    total, by_operator = work.total(batch, **load), work.total_by_operator(batch, **load)
    assert total.by_peak_flop.tolist() == by_operator.by_peak_flop.tolist()
    assert total.hbm_bytes == by_operator.hbm_bytes
    assert total.hbm_bytes > 0.0
