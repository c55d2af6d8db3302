"""Time and work of attention groups, by hand on a GPU of round numbers."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import write_model

from rackmoe.backend.operators import free_constants, ideal_constants
from rackmoe.compute.operators import OperatorLaws
from rackmoe.engine.dense_work import DenseWork
from rackmoe.hardware.machine import Gpu
from rackmoe.hardware.profile import load_machine
from rackmoe.model.architecture import Indexer
from rackmoe.model.config import load_model
from rackmoe.serving.batching import PrefillChunk, StepBatch

GPU = replace(
    load_machine("hgx_h200").gpu,
    peak_flop_per_s={"bf16": 1e12, "fp8": 2e12},
    hbm_bandwidth_bytes_per_s=1e9,
)


def laws(constants=None):
    assert isinstance(GPU, Gpu)
    return OperatorLaws(GPU, constants or ideal_constants())


def batch_of(sequences=(0, 0), kv=(0, 0), window=(0, 0), chunks=()):
    tokens = np.zeros(2, np.int64)
    for chunk in chunks:
        tokens[chunk.group] += chunk.n_tokens
    return StepBatch(
        decode_sequences=np.array(sequences),
        decode_kv_tokens=np.array(kv),
        decode_window_tokens=np.array(window),
        prefill_tokens=tokens,
        chunks=tuple(chunks),
        preempted=(),
    )


def chunk(group, new, past=0):
    return PrefillChunk(
        request=0, group=group, n_tokens=new, past_tokens=past, is_first=past == 0, is_last=True
    )


def dense_work(small_files, name="latent", *, tp=1, constants=None, is_free=False, arch=None):
    return DenseWork(
        arch or load_model(write_model(name, small_files)),
        laws=laws(constants),
        tp=tp,
        kv_dtype="bf16",
        max_rows=64,
        is_free=is_free,
    )


def test_chunks_are_summed_by_group(small_files):
    dense = dense_work(small_files)
    load = dense.chunks(batch_of(chunks=[chunk(0, 2), chunk(0, 3, past=4), chunk(1, 1, past=9)]))
    assert load.tokens.tolist() == [5, 1]
    assert load.kv_tokens.tolist() == [2 + 7, 10]
    assert load.n_chunks.tolist() == [2, 1]
    # causal pairs: 1 + 2, then 5 + 6 + 7, and 10
    assert load.pairs.tolist() == [[3 + 18, 10]]
    assert dense.chunks(batch_of(sequences=(1, 0), kv=(3, 0))) is None


def test_windows_bound_pairs_and_cached_tokens(small_files):
    dense = dense_work(small_files, "windowed")
    assert sorted(set(dense.class_of_layer)) == [0, 1]
    assert [dense.class_of_layer.count(c) for c in (0, 1)] == [2, 2]
    load = dense.chunks(batch_of(chunks=[chunk(0, 4, past=30)]))
    # 16 visible tokens for each of 4 in the window, 31 to 34 without
    assert sorted(load.pairs[:, 0].tolist()) == [4 * 16, 31 + 32 + 33 + 34]
    times_s = dense.attention_time_s(
        batch_of(sequences=(1, 0), kv=(1600, 0), window=(16, 0)), chunks=None
    )
    # 2 x 4 heads x 32 values in bf16 for each token, read at 1 GB/s
    token_s = 2 * 4 * 32 * 2 / 1e9
    assert sorted(times_s[:, 0]) == pytest.approx([16 * token_s, 1600 * token_s], rel=0.2)
    assert not times_s[:, 1].any()


def test_decode_and_prefill_kernels_of_a_mixed_step_run_in_turn(small_files):
    dense = dense_work(small_files, "grouped")
    decoding = batch_of(sequences=(2, 0), kv=(500, 0))
    prompts = batch_of(chunks=[chunk(0, 20)])
    both = batch_of(sequences=(2, 0), kv=(500, 0), chunks=[chunk(0, 20)])
    total_s = dense.attention_time_s(decoding, chunks=None) + dense.attention_time_s(
        prompts, chunks=dense.chunks(prompts)
    )
    assert dense.attention_time_s(both, chunks=dense.chunks(both)) == pytest.approx(total_s)


def test_cached_keys_of_a_chunk_are_expanded_again(small_files):
    dense = dense_work(small_files)
    first = batch_of(chunks=[chunk(0, 20)])
    later = batch_of(chunks=[chunk(0, 20, past=10_000)])
    first_s = dense.projection_time_s(first, chunks=dense.chunks(first))
    later_s = dense.projection_time_s(later, chunks=dense.chunks(later))
    # kv_b: 128 -> 8 heads x (32 + 32) for 10,000 more tokens, in and out in bf16
    more_s = 10_000 * (128 + 8 * 64) * 2 / 1e9
    assert later_s[0] - first_s[0] == pytest.approx(more_s, rel=1e-6)
    assert later_s[1] == first_s[1]
    work = dense.projection_work(later, chunks=dense.chunks(later))
    without = dense.projection_work(later, chunks=None)
    assert work.tensor_flop - without.tensor_flop == 2 * 128 * 8 * 64 * 10_020


def test_absorbed_products_belong_to_decode_alone(small_files):
    dense = dense_work(small_files)
    decode_s = dense.projection_time_s(batch_of(sequences=(4, 0), kv=(40, 0)), chunks=None)
    prompts = batch_of(chunks=[chunk(0, 4)])
    prefill_s = dense.projection_time_s(prompts, chunks=dense.chunks(prompts))
    absorbed_s = dense.absorb.time_s(np.array([4]))[0]
    assert absorbed_s > 0
    # prefill has kv_b instead: its weights and 4 tokens
    kv_b_s = (128 * 512 * 2 + 4 * (128 + 512) * 2) / 1e9
    assert prefill_s[0] - decode_s[0] == pytest.approx(kv_b_s - absorbed_s, rel=1e-9)


def test_nothing_takes_no_time(small_files):
    for name in ("latent", "windowed"):
        dense = dense_work(small_files, name)
        empty = batch_of()
        assert not dense.attention_time_s(empty, chunks=None).any()
        assert not dense.projection_time_s(empty, chunks=None).any()
        assert dense.score_work(empty, chunks=None).hbm_bytes == 0


def test_free_compute_takes_no_time_but_is_counted(small_files):
    dense = dense_work(small_files, constants=free_constants(), is_free=True)
    batch = batch_of(sequences=(4, 1), kv=(400, 7), chunks=[chunk(1, 6)])
    load = dense.chunks(batch)
    assert not dense.attention_time_s(batch, chunks=load).any()
    assert not dense.projection_time_s(batch, chunks=load).any()
    assert not dense.head.time_s(np.array([4, 1])).any()
    assert dense.score_work(batch, chunks=load).tensor_flop > 0


def test_tensor_parallel_ranks_read_their_share_of_grouped_keys(small_files):
    batch = batch_of(sequences=(1, 0), kv=(100_000, 0))
    one_s = dense_work(small_files, "grouped").attention_time_s(batch, chunks=None)[0, 0]
    two_s = dense_work(small_files, "grouped", tp=2).attention_time_s(batch, chunks=None)[0, 0]
    assert two_s == pytest.approx(one_s / 2, rel=1e-3)


def test_sparse_attention_reads_its_best_tokens_only(small_files):
    arch = load_model(write_model("latent", small_files))
    sparse = replace(
        arch,
        attention=replace(arch.attention, indexer=Indexer(n_heads=4, head_dim=16, top_k=64)),
    )
    dense = dense_work(small_files, arch=sparse)
    full = dense_work(small_files)
    short, long = (batch_of(sequences=(2, 0), kv=(n, 0)) for n in (100, 20_000))
    assert dense.attention_time_s(short, chunks=None)[0, 0] == pytest.approx(
        full.attention_time_s(short, chunks=None)[0, 0]
    )
    cached = batch_of(sequences=(2, 0), kv=(2 * 64, 0))
    assert dense.attention_time_s(long, chunks=None)[0, 0] == pytest.approx(
        full.attention_time_s(cached, chunks=None)[0, 0]
    )
