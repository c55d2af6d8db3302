"""Matrix products have the shapes that the engines run."""

import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.model.config import load_model
from rackmoe.model.costs import (
    Gemm,
    Work,
    attention_gemms,
    dense_gemms,
    dispatch_bytes,
    expert_work,
    head_gemm,
    mtp_gemm,
    router_gemm,
    shard_heads,
    shared_expert_gemms,
)


def shapes(gemms):
    return {gemm.name: (gemm.batch, gemm.n, gemm.k) for gemm in gemms}


def test_deepseek_decode_absorbs_keys_and_values_into_the_query():
    gemms = attention_gemms(load_model("deepseek-r1"), tp=1, phase="decode")
    assert shapes(gemms) == {
        "q_a_kv_a": (1, 1536 + 512 + 64, 7168),
        "q_b": (1, 128 * 192, 1536),
        "q_absorb": (128, 512, 128),
        "v_absorb": (128, 128, 512),
        "o": (1, 7168, 128 * 128),
    }


def test_deepseek_prefill_expands_keys_and_values():
    gemms = attention_gemms(load_model("deepseek-r1"), tp=8, phase="prefill")
    assert shapes(gemms) == {
        "q_a_kv_a": (1, 2112, 7168),
        "q_b": (1, 16 * 192, 1536),
        "kv_b": (1, 16 * 256, 512),
        "o": (1, 7168, 16 * 128),
    }


def test_uncompressed_queries_share_one_product_with_the_compressed_cache(latent_config, parse):
    arch = parse(latent_config | {"q_lora_rank": None})
    gemms = attention_gemms(arch, tp=2, phase="prefill")
    assert shapes(gemms)["q_kv_a"] == (1, 1 * 5 + 6, 8)
    assert "q_b" not in shapes(gemms)


def test_sparse_indexer_is_on_every_rank(sparse):
    for tp in (1, 2):
        found = shapes(attention_gemms(sparse, tp=tp, phase="decode"))
        assert found["index_q"] == (1, 2 * 4, 6)
        assert found["index_k"] == (1, 4, 8)
        assert found["index_weights"] == (1, 2, 8)


def test_indexer_without_compressed_queries_reads_the_hidden_vector(sparse_config, parse):
    arch = parse(sparse_config | {"q_lora_rank": None})
    assert shapes(attention_gemms(arch, tp=1, phase="decode"))["index_q"] == (1, 8, 8)


def test_grouped_query_products_are_the_same_in_both_phases(windowed):
    decode = attention_gemms(windowed, tp=2, phase="decode")
    assert shapes(decode) == {"qkv": (1, (2 + 2 * 1) * 4, 8), "o": (1, 8, 2 * 4)}
    assert decode == attention_gemms(windowed, tp=2, phase="prefill")


def test_more_ranks_than_key_value_heads_repeat_them(windowed):
    assert shard_heads(windowed.attention, tp=4) == (1, 1)
    assert shard_heads(windowed.attention, tp=1) == (4, 2)


def test_latent_cache_is_one_head_on_every_rank(latent):
    assert shard_heads(latent.attention, tp=2) == (1, 1)


@pytest.mark.parametrize("tp", [0, -2, 3, 8])
def test_ranks_that_cannot_share_the_heads_are_refused(windowed, tp):
    with pytest.raises(ConfigError, match=rf"tp: {tp} does not divide 4 attention heads; .*valid"):
        shard_heads(windowed.attention, tp=tp)


def test_ranks_that_cannot_share_the_key_value_heads_are_refused(windowed_config, parse):
    arch = parse(windowed_config | {"num_attention_heads": 12, "num_key_value_heads": 6})
    with pytest.raises(ConfigError, match="tp: 4 does not divide 6 key-value heads"):
        shard_heads(arch.attention, tp=4)


def test_gated_parts_fuse_gate_and_up(latent):
    assert shapes(dense_gemms(latent, tp=2)) == {
        "dense_gate_up": (1, 2 * 8, 8),
        "dense_down": (1, 8, 8),
    }
    assert shapes(shared_expert_gemms(latent, tp=1)) == {
        "shared_expert_gate_up": (1, 2 * 4, 8),
        "shared_expert_down": (1, 8, 4),
    }


def test_parts_that_a_model_lacks_need_no_products(windowed):
    assert dense_gemms(windowed, tp=1) == ()
    assert shared_expert_gemms(windowed, tp=1) == ()


def test_router_head_and_draft_joint_have_their_shapes(latent):
    assert router_gemm(latent) == Gemm(name="router", n=4, k=8)
    assert head_gemm(latent, tp=3) == Gemm(name="head", n=4, k=8)  # 10 tokens on 3 ranks
    assert mtp_gemm(latent) == Gemm(name="mtp_join", n=8, k=16)


def test_products_carry_the_format_of_their_component():
    arch = load_model("deepseek-r1", weights="nvfp4")
    assert {gemm.dtype for gemm in attention_gemms(arch, tp=1, phase="decode")} == {"bf16"}
    assert {gemm.dtype for gemm in dense_gemms(arch, tp=1)} == {"nvfp4"}
    assert router_gemm(arch).dtype == "bf16"


def test_batched_products_count_all_their_weights():
    assert Gemm(name="q_absorb", n=3, k=5, batch=7).n_weights == 105


def test_experts_cost_six_flop_per_weight_pair_and_the_bytes_of_active_ones():
    work = expert_work(10.0, active_experts=3.0, hidden=8, inter=4, dtype="bf16")
    assert work.tensor_flop == 6 * 8 * 4 * 10
    # weights 3 x 8 x 4 x 2 B for each active expert; activations 8 in, 8 gate-up, 4 in, 8 out
    assert work.hbm_bytes == 3 * (3 * 8 * 4) * 2 + 10 * (8 + 2 * 4 + 4 + 8) * 2


def test_expert_bytes_follow_the_format():
    idle = expert_work(0.0, active_experts=1.0, hidden=7168, inter=2048, dtype="nvfp4")
    assert idle.tensor_flop == 0
    assert idle.hbm_bytes == 44_040_192 * 4.5 / 8  # one DeepSeek-V3 expert, 24.8 MB


def test_expert_work_takes_arrays():
    assignments = np.array([[1.0, 2.0], [0.0, 4.0]])
    work = expert_work(assignments, active_experts=assignments, hidden=8, inter=4, dtype="fp8")
    single = expert_work(4.0, active_experts=4.0, hidden=8, inter=4, dtype="fp8")
    assert work.tensor_flop[1, 1] == single.tensor_flop
    assert work.hbm_bytes[1, 1] == single.hbm_bytes
    assert work.hbm_bytes[1, 0] == 0


def test_work_adds_up():
    total = Work(tensor_flop=1.0, hbm_bytes=2.0) + Work(tensor_flop=3.0, hbm_bytes=4.0)
    assert total == Work(tensor_flop=4.0, hbm_bytes=6.0)


@pytest.mark.parametrize(
    ("dtype", "payload_bytes"),
    [("bf16", 14336), ("fp8", 7168), ("fp8_block", 7168 + 4 * 56), ("nvfp4", 4032)],
)
def test_dispatch_payload_carries_its_scales(dtype, payload_bytes):
    assert dispatch_bytes(7168, dtype=dtype) == payload_bytes
