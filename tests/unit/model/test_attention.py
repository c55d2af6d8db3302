"""Attention costs what it sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.model.architecture import Indexer, Window
from rackmoe.model.attention import (
    LayerGroup,
    gqa_decode_work,
    gqa_prefill_work,
    index_work,
    layer_groups,
    mla_decode_work,
    mla_prefill_work,
    score_pairs,
    sparse_tokens,
    visible_tokens,
)
from rackmoe.model.config import load_model

SLIDING = Window(n_tokens=4)
CHUNKED = Window(n_tokens=4, is_chunked=True)


def test_layers_are_grouped_by_what_they_see():
    groups = layer_groups(load_model("gpt-oss-20b"))
    assert groups == (
        LayerGroup(window=Window(n_tokens=128), n_layers=12),
        LayerGroup(window=None, n_layers=12),
    )
    assert layer_groups(load_model("glm-4.5")) == (LayerGroup(window=None, n_layers=92),)


def test_maverick_sees_everything_in_every_fourth_layer():
    arch = load_model("llama-4-maverick")
    chunk = Window(n_tokens=8192, is_chunked=True)
    assert set(layer_groups(arch)) == {
        LayerGroup(window=chunk, n_layers=36),
        LayerGroup(window=None, n_layers=12),
    }
    assert [arch.attention_window(layer) for layer in (2, 3)] == [8192, None]


def test_sliding_window_sees_its_last_tokens():
    seen = visible_tokens(np.array([0.0, 1, 4, 5, 100]), window=SLIDING)
    assert seen.tolist() == [0, 1, 4, 4, 4]


def test_chunked_window_starts_anew_with_each_chunk():
    seen = visible_tokens(np.array([0.0, 1, 4, 5, 8, 9]), window=CHUNKED)
    assert seen.tolist() == [0, 1, 4, 1, 4, 1]


def test_full_attention_sees_everything():
    assert visible_tokens(7.0, window=None) == 7


def test_sparse_attention_sees_at_most_its_choice():
    indexer = Indexer(n_heads=2, head_dim=4, top_k=8)
    assert sparse_tokens(np.array([3.0, 8, 100]), indexer=indexer).tolist() == [3, 8, 8]
    assert sparse_tokens(100.0, indexer=None) == 100


@pytest.mark.parametrize(("window", "pairs"), [(None, 4 + 5 + 6), (SLIDING, 12), (CHUNKED, 7)])
def test_pairs_of_a_chunk_are_worked_by_hand(window, pairs):
    # three new tokens after three cached ones see 4, 5, 6; at most 4 each; 4, then 1 and 2
    assert score_pairs(3.0, past_tokens=3.0, window=window) == pairs


@given(
    n_tokens=st.integers(0, 40),
    past_tokens=st.integers(0, 40),
    window=st.sampled_from([None, SLIDING, CHUNKED, Window(n_tokens=7)]),
)
def test_pairs_are_the_sum_over_tokens_of_what_each_sees(n_tokens, past_tokens, window):
    one_by_one = sum(
        float(visible_tokens(float(past_tokens + i), window=window))
        for i in range(1, n_tokens + 1)
    )
    pairs = score_pairs(float(n_tokens), past_tokens=float(past_tokens), window=window)
    assert float(pairs) == one_by_one


def test_latent_decode_follows_the_measured_form():
    mla = load_model("deepseek-r1").attention
    work = mla_decode_work(1000.0, mla=mla, tp=1, kv_dtype="fp8")
    assert work.tensor_flop == 2 * 1000 * 128 * 1088
    assert work.hbm_bytes == 1000 * 576
    assert work.tensor_flop / work.hbm_bytes == pytest.approx(2 * 128 * 1088 / 576)


def test_verified_drafts_multiply_the_flop_and_not_the_bytes():
    mla = load_model("deepseek-r1").attention
    one = mla_decode_work(1000.0, mla=mla, tp=8, kv_dtype="bf16")
    three = mla_decode_work(1000.0, mla=mla, tp=8, kv_dtype="bf16", query_tokens=3)
    assert three.tensor_flop == 3 * one.tensor_flop
    assert three.hbm_bytes == one.hbm_bytes


def test_latent_prefill_follows_the_measured_form():
    mla = load_model("deepseek-r1").attention
    n = 4096.0
    work = mla_prefill_work(n, pairs=n * n / 2, mla=mla, tp=1, kv_dtype="bf16")
    assert work.tensor_flop == 128 * n**2 * 320
    # q and k of 192, v and o of 128, 128 heads, bf16; 576 elements cached in bf16
    assert work.hbm_bytes == n * (128 * (192 + 192 + 128 + 128) * 2 + 576 * 2)


def test_grouped_query_decode_reads_the_ranks_heads():
    gqa = load_model("qwen3-235b-a22b").attention  # 64 heads on 4, of 128
    work = gqa_decode_work(10.0, gqa=gqa, tp=2, kv_dtype="bf16", query_tokens=2)
    assert work.tensor_flop == 2 * 4 * 10 * 32 * 128
    assert work.hbm_bytes == 10 * 2 * 2 * 128 * 2


def test_grouped_query_prefill_moves_queries_keys_values_and_results():
    gqa = load_model("qwen3-235b-a22b").attention
    work = gqa_prefill_work(10.0, pairs=55.0, gqa=gqa, tp=1, kv_dtype="fp8")
    assert work.tensor_flop == 4 * 55 * 64 * 128
    assert work.hbm_bytes == 10 * (2 * 128 * (2 * 64 + 2 * 4) + 2 * 4 * 128)


def test_indexer_reads_one_key_of_each_token():
    indexer = Indexer(n_heads=64, head_dim=128, top_k=2048)
    work = index_work(1000.0, pairs=3000.0, indexer=indexer)
    assert work.tensor_flop == 2 * 64 * 128 * 3000
    assert work.hbm_bytes == 1000 * 132
