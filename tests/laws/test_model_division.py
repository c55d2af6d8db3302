"""Dividing a model among ranks loses nothing, and two forms of one thing agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.model.architecture import GroupedQueryAttention, LatentAttention, Window
from rackmoe.model.attention import (
    gqa_decode_work,
    gqa_prefill_work,
    mla_decode_work,
    mla_prefill_work,
    score_pairs,
    visible_tokens,
)
from rackmoe.model.cache import kv_bytes_per_token, kv_window_bytes
from rackmoe.model.config import load_model, model_names
from rackmoe.model.costs import (
    attention_gemms,
    dense_gemms,
    expert_work,
    head_gemm,
    shared_expert_gemms,
)
from rackmoe.model.memory import Sharding, rank_weight_bytes
from rackmoe.model.parameters import component_parameters, weight_bytes
from rackmoe.model.quantization import WEIGHT_SCHEMES

ARCHITECTURES = {name: load_model(name) for name in model_names()}
REPLICATED = {"q_a_kv_a", "index_q", "index_k", "index_weights"}

names = st.sampled_from(model_names())
degrees = st.sampled_from([1, 2, 4, 8])
latents = st.builds(
    LatentAttention,
    n_heads=st.sampled_from([8, 16]),
    q_lora_rank=st.none() | st.integers(1, 64),
    kv_lora_rank=st.integers(1, 64),
    qk_nope_dim=st.integers(1, 64),
    qk_rope_dim=st.integers(1, 64),
    v_dim=st.integers(1, 64),
)
windows = st.none() | st.builds(Window, n_tokens=st.integers(1, 20), is_chunked=st.booleans())


@given(name=names, tp=degrees)
def test_ranks_hold_every_weight_of_attention_once_or_all_of_it(name, tp):
    arch = ARCHITECTURES[name]
    whole = {gemm.name: gemm for gemm in attention_gemms(arch, tp=1, phase="prefill")}
    for gemm in attention_gemms(arch, tp=tp, phase="prefill"):
        on_all_ranks = gemm.n_weights * tp
        if gemm.name in REPLICATED:
            assert gemm == whole[gemm.name]
        elif gemm.name == "qkv":
            repeats = max(1, tp // arch.attention.n_kv_heads)
            width = 2 * arch.attention.n_kv_heads * arch.attention.head_dim * arch.hidden
            assert on_all_ranks == whole["qkv"].n_weights + (repeats - 1) * width
        else:
            assert on_all_ranks == whole[gemm.name].n_weights


@given(name=names, tp=degrees)
def test_ranks_hold_every_weight_of_feed_forward_and_head_once(name, tp):
    arch = ARCHITECTURES[name]
    for divide in (dense_gemms, shared_expert_gemms):
        parts, whole = divide(arch, tp=tp), divide(arch, tp=1)
        assert [tp * gemm.n_weights for gemm in parts] == [gemm.n_weights for gemm in whole]
    assert 0 <= tp * head_gemm(arch, tp=tp).n - arch.vocab < tp


@given(name=names)
def test_products_hold_the_parameters_that_are_counted(name):
    arch = ARCHITECTURES[name]
    counts = component_parameters(arch)
    per_layer = sum(gemm.n_weights for gemm in attention_gemms(arch, tp=1, phase="prefill"))
    assert arch.n_layers * per_layer == counts["attention"]
    for part, gemms, layers in (
        ("dense", dense_gemms(arch, tp=1), arch.dense_layers),
        ("shared_expert", shared_expert_gemms(arch, tp=1), arch.moe_layers),
    ):
        assert len(layers) * sum(gemm.n_weights for gemm in gemms) == counts[part]


@given(name=names, scheme=st.sampled_from(WEIGHT_SCHEMES))
def test_one_rank_holds_the_whole_model_in_every_scheme(name, scheme):
    arch = load_model(name, weights=scheme)
    on_rank = sum(rank_weight_bytes(arch, sharding=Sharding()).values())
    # only the bias of the routers is left out, one value per expert and layer
    bias_bytes = 2 * len(arch.moe_layers) * arch.moe.n_routed_experts * arch.moe.has_router_bias
    assert on_rank + bias_bytes == pytest.approx(sum(weight_bytes(arch).values()), rel=1e-12)


@given(name=names, tp=degrees, attention_dp=degrees, is_spread=st.booleans())
def test_routed_experts_of_all_ranks_are_the_physical_experts(name, tp, attention_dp, is_spread):
    arch = ARCHITECTURES[name]
    n_ranks = tp * attention_dp
    if arch.moe.n_routed_experts % n_ranks:
        return
    ep = n_ranks if is_spread else 1
    whole = rank_weight_bytes(arch, sharding=Sharding())["routed_expert"]
    for n_redundant in (0, ep):
        sharding = Sharding(tp=tp, attention_dp=attention_dp, ep=ep, n_redundant=n_redundant)
        on_all = n_ranks * rank_weight_bytes(arch, sharding=sharding)["routed_expert"]
        n_physical = arch.moe.n_routed_experts + n_redundant
        assert on_all == pytest.approx(whole * n_physical / arch.moe.n_routed_experts)


@given(name=names, tp=degrees, kv_dtype=st.sampled_from(["bf16", "fp8"]))
def test_ranks_hold_the_cache_once_or_all_of_it(name, tp, kv_dtype):
    arch = ARCHITECTURES[name]
    for size in (kv_bytes_per_token, kv_window_bytes):
        whole, part = size(arch, kv_dtype=kv_dtype), size(arch, kv_dtype=kv_dtype, tp=tp)
        n_shares = 1 if arch.is_mla else min(tp, arch.attention.n_kv_heads)
        assert part * n_shares == whole


@given(name=names, tp=degrees)
def test_absorbed_products_cost_a_token_what_the_expansion_does(name, tp):
    arch = ARCHITECTURES[name]
    decode = attention_gemms(arch, tp=tp, phase="decode")
    prefill = attention_gemms(arch, tp=tp, phase="prefill")
    assert sum(gemm.n_weights for gemm in decode) == sum(gemm.n_weights for gemm in prefill)


@given(mla=latents, tp=degrees, n_tokens=st.integers(1, 500))
def test_absorbed_scores_cost_the_ratio_of_their_widths(mla, tp, n_tokens):
    pairs = n_tokens * (n_tokens + 1) / 2
    expanded = mla_prefill_work(
        float(n_tokens), pairs=pairs, mla=mla, tp=tp, kv_dtype="bf16"
    ).tensor_flop
    # one token after the other, each reading the cache up to itself
    contexts = np.arange(1.0, n_tokens + 1)
    absorbed = mla_decode_work(contexts, mla=mla, tp=tp, kv_dtype="bf16").tensor_flop.sum()
    ratio = (mla.kv_dim + mla.kv_lora_rank) / (mla.qk_dim + mla.v_dim)
    assert absorbed == pytest.approx(expanded * ratio)


@given(
    head_dim=st.integers(1, 64),
    tp=degrees,
    n_tokens=st.integers(1, 500),
    n_rope=st.integers(1, 64),
)
def test_expanded_latent_attention_costs_what_full_heads_do(head_dim, tp, n_tokens, n_rope):
    mla = LatentAttention(
        n_heads=8,
        q_lora_rank=None,
        kv_lora_rank=1,
        qk_nope_dim=head_dim,
        qk_rope_dim=n_rope,
        v_dim=head_dim + n_rope,
    )
    gqa = GroupedQueryAttention(n_heads=8, n_kv_heads=8, head_dim=head_dim + n_rope)
    load = {"pairs": float(n_tokens), "tp": tp, "kv_dtype": "bf16"}
    latent = mla_prefill_work(float(n_tokens), mla=mla, **load)
    full = gqa_prefill_work(float(n_tokens), gqa=gqa, **load)
    assert latent.tensor_flop == full.tensor_flop


@given(past_tokens=st.integers(0, 1000), window=windows, tp=degrees)
def test_prefill_of_one_token_scores_what_decode_does(past_tokens, window, tp):
    gqa = GroupedQueryAttention(n_heads=16, n_kv_heads=8, head_dim=4)
    seen = visible_tokens(float(past_tokens + 1), window=window)
    pairs = score_pairs(1.0, past_tokens=float(past_tokens), window=window)
    decode = gqa_decode_work(seen, gqa=gqa, tp=tp, kv_dtype="fp8")
    prefill = gqa_prefill_work(1.0, pairs=pairs, gqa=gqa, tp=tp, kv_dtype="fp8")
    assert decode.tensor_flop == prefill.tensor_flop


@given(cuts=st.lists(st.integers(1, 50), min_size=1, max_size=6), window=windows)
def test_cutting_a_prompt_into_chunks_changes_no_pair(cuts, window):
    sizes = np.array(cuts, dtype=np.float64)
    pasts = np.cumsum(sizes) - sizes
    in_chunks = score_pairs(sizes, past_tokens=pasts, window=window).sum()
    assert in_chunks == score_pairs(float(sizes.sum()), past_tokens=0.0, window=window)


@given(
    assignments=st.lists(st.integers(0, 100), min_size=1, max_size=8),
    dtype=st.sampled_from(["bf16", "fp8_block", "nvfp4", "w4a16_int4"]),
)
def test_expert_work_of_ranks_adds_up(assignments, dtype):
    shape = {"hidden": 64, "inter": 32, "dtype": dtype}
    per_rank = np.array(assignments, dtype=np.float64)
    active = np.minimum(per_rank, 3.0)
    split = expert_work(per_rank, active_experts=active, **shape)
    joint = expert_work(float(per_rank.sum()), active_experts=float(active.sum()), **shape)
    assert split.tensor_flop.sum() == pytest.approx(joint.tensor_flop)
    assert split.hbm_bytes.sum() == pytest.approx(joint.hbm_bytes)
