from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.backend.operator_files import operator_constants
from rackmoe.compute.attention import attention_decode_law, attention_prefill_law
from rackmoe.compute.attention_shapes import DEEPSEEK_ATTENTION
from rackmoe.compute.operators import OperatorLaws
from rackmoe.hardware.profile import load_machine
from rackmoe.model.architecture import GroupedQueryAttention
from rackmoe.model.attention import mla_decode_work, score_pairs

GQA = GroupedQueryAttention(n_heads=8, n_kv_heads=2, head_dim=100)


@cache
def laws_of(machine):
    machine_gpu = load_machine(machine).gpu
    return OperatorLaws(machine_gpu, operator_constants(machine_gpu.name))


def test_grouped_query_decode_adds_its_bounds(gpu, decode_constants):
    law = attention_decode_law(gpu, constants=decode_constants, attention=GQA, kv_dtype="bf16")
    # 3 sequences of 1000 tokens: 4 * 3000 * 8 * 100 FLOP at 50 TFLOP/s, 3000 * 800 B at
    # 0.5 TB/s, chain of 1000 ns, half of the 4 us merge, 3 * 2 tiles on 10 SMs, 3 * 3200 B.
    bounds_s = 4 * 3000 * 800 / 5e13 + 3000 * 800 / 5e11 + 1e-6
    fixed_s = 1e-5 + 2e-6 + 6 * 1e-6 / 10 + 3 * 3200 / 5e11
    assert float(law(3.0, 3000.0)) == pytest.approx(bounds_s + fixed_s, rel=1e-9)


def test_latent_decode_tiles_hold_64_heads(gpu, decode_constants):
    def tiles_s(heads):
        attention = replace(DEEPSEEK_ATTENTION, n_heads=heads)
        law = attention_decode_law(
            gpu, constants=decode_constants, attention=attention, kv_dtype="bf16"
        )
        return law.sequence_s - heads * 1088 * 2 / 5e11

    assert tiles_s(16) == pytest.approx(1e-7, rel=1e-6)
    assert tiles_s(128) == pytest.approx(2e-7, rel=1e-6)


def test_drafts_multiply_flop_but_not_cache_bytes(gpu, decode_constants):
    law = attention_decode_law(
        gpu, constants=decode_constants, attention=DEEPSEEK_ATTENTION, kv_dtype="bf16"
    )
    one, four = law.work(1.0, kv_tokens=1000.0), law.work(1.0, kv_tokens=1000.0, query_tokens=4)
    cache = mla_decode_work(1000.0, mla=DEEPSEEK_ATTENTION, tp=1, kv_dtype="bf16")
    assert float(four.tensor_flop) == 4 * float(one.tensor_flop)
    query_bytes = 128 * 1088 * 2
    assert float(four.hbm_bytes) == float(cache.hbm_bytes) + 4 * query_bytes
    assert float(law(1.0, 1000.0, 4)) > float(law(1.0, 1000.0))


def test_prefill_adds_its_bounds(gpu, prefill_constants):
    law = attention_prefill_law(gpu, constants=prefill_constants, attention=GQA, kv_dtype="bf16")
    # 256 tokens: 32,896 pairs of 4 * 8 * 100 FLOP at 50 TFLOP/s; 2 tiles of 8 heads on 10 SMs;
    # mean context 128.5; 2 * 2 * 10 * 100 B in and out and 800 B of cache per token. Heads of
    # 100 keep 28 of 128 parts of 8 exponentials a pair on 10 SMs of 29.6 G/s.
    bounds_s = 32_896 * 3200 / 5e13 + 16 * 1e-6 / 10 + 128.5e-8
    bounds_s += 32_896 * 8 / (10 * 29.6e9) * 28 / 128
    fixed_s = 1e-5 + 256 * (4000 + 800) / 5e11
    assert float(law(256.0, 32_896.0)) == pytest.approx(bounds_s + fixed_s, rel=1e-9)


def pair_s(gpu, constants, head_dim):
    attention = GroupedQueryAttention(n_heads=8, n_kv_heads=2, head_dim=head_dim)
    return attention_prefill_law(
        gpu, constants=constants, attention=attention, kv_dtype="bf16"
    ).pair_s


def test_narrow_heads_need_as_many_exponentials(gpu, prefill_constants):
    measured = pair_s(gpu, prefill_constants, 128)
    assert measured == pytest.approx(4 * 8 * 128 / 5e13)
    exponentials = 8 / (10 * 29.6e9)
    assert pair_s(gpu, prefill_constants, 64) == pytest.approx((measured + exponentials) / 2)
    # wider heads repeat the products only
    assert pair_s(gpu, prefill_constants, 256) == pytest.approx(2 * measured - exponentials)


def test_ideal_kernels_hide_their_exponentials(gpu, prefill_constants):
    ideal = replace(prefill_constants, flop_efficiency=1.0)
    assert pair_s(gpu, ideal, 64) == pytest.approx(pair_s(gpu, ideal, 128) / 2)


def test_short_chunks_have_a_tile_each(gpu, prefill_constants):
    law = attention_prefill_law(gpu, constants=prefill_constants, attention=GQA, kv_dtype="bf16")
    many = float(law(100.0, 550.0, 10.0)) - float(law(100.0, 550.0, 1.0))
    assert many == pytest.approx(9 * 8 * 1e-6 / 10, rel=1e-6)


def test_idle_ranks_take_no_time(gpu, decode_constants, prefill_constants):
    decode = attention_decode_law(gpu, constants=decode_constants, attention=GQA, kv_dtype="fp8")
    prefill = attention_prefill_law(
        gpu, constants=prefill_constants, attention=GQA, kv_dtype="fp8"
    )
    assert decode(np.array([0, 1]), np.array([0, 10]))[0] == 0.0
    assert prefill(np.array([0, 1]), np.array([0, 1]))[0] == 0.0


@given(
    st.sampled_from(["gb200_nvl72", "hgx_h200", "hgx_b300", "vera_rubin_nvl72"]),
    st.sampled_from(["bf16", "fp8"]),
    st.integers(1, 2048),
    st.integers(1, 200_000),
    st.integers(1, 131_071),
)
def test_more_tokens_are_never_faster(machine, kv_dtype, n_sequences, context, n_tokens):
    laws = laws_of(machine)
    for attention in (DEEPSEEK_ATTENTION, GQA):
        decode = laws.attention_decode(attention, kv_dtype=kv_dtype)
        base = float(decode(n_sequences, n_sequences * context)) * (1 - 1e-9)
        assert float(decode(n_sequences, n_sequences * (context + 1))) >= base
        assert float(decode(n_sequences + 1, (n_sequences + 1) * context)) >= base
        prefill = laws.attention_prefill(attention, kv_dtype=kv_dtype)
        short, longer = (
            float(prefill(n, score_pairs(n, past_tokens=context)))
            for n in (n_tokens, n_tokens + 1)
        )
        assert longer >= short * (1 - 1e-9)
