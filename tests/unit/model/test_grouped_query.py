"""The keys of models with grouped-query attention are read as their authors mean them."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.model.architecture import Window

GQA = {
    "hidden_size": 8,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "vocab_size": 10,
    "max_position_embeddings": 64,
}
MIXTRAL = GQA | {
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 4,
    "intermediate_size": 6,
}
QWEN = GQA | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_experts": 4,
    "moe_intermediate_size": 6,
    "intermediate_size": 16,
}
GLM = GQA | {
    "architectures": ["Glm4MoeForCausalLM"],
    "n_routed_experts": 4,
    "moe_intermediate_size": 6,
    "intermediate_size": 16,
    "first_k_dense_replace": 1,
}
MINIMAX = MIXTRAL | {"architectures": ["MiniMaxM2ForCausalLM"], "attn_type_list": [1, 1, 1, 1]}


def llama4(**values):
    text = GQA | {
        "num_local_experts": 4,
        "intermediate_size": 6,
        "intermediate_size_mlp": 16,
        "interleave_moe_layer_step": 2,
        "attention_chunk_size": 32,
    }
    return {"architectures": ["Llama4ForConditionalGeneration"], "text_config": text | values}


def test_width_of_a_head_follows_from_the_hidden_width(parse):
    assert parse(MIXTRAL).attention.head_dim == 2
    assert parse(MIXTRAL | {"head_dim": 16}).attention.head_dim == 16


def test_key_value_heads_must_divide_the_heads(parse):
    with pytest.raises(ConfigError, match="num_key_value_heads: 3; expected a divisor of 4 heads"):
        parse(MIXTRAL | {"num_key_value_heads": 3})


def test_mixtral_may_slide_in_every_layer(parse):
    assert parse(MIXTRAL).layers.windows == (None,) * 4
    assert parse(MIXTRAL | {"sliding_window": 32}).attention_window(3) == 32


def test_gpt_oss_slides_in_every_other_layer_unless_it_lists_them(windowed_config, parse):
    types = ["full_attention"] * 3 + ["sliding_attention"]
    arch = parse(windowed_config | {"layer_types": types})
    assert arch.layers.windows == (None, None, None, Window(n_tokens=16))
    assert arch.attention.has_sinks
    assert arch.attention.has_o_bias


@pytest.mark.parametrize("types", [["full_attention"], ["linear_attention"] * 4])
def test_unknown_attention_of_a_layer_is_refused(windowed_config, parse, types):
    with pytest.raises(ConfigError, match=r"layer_types: .*expected 4 of 'sliding_attention' or"):
        parse(windowed_config | {"layer_types": types})


def test_qwen_has_experts_everywhere_unless_it_says_otherwise(parse):
    assert parse(QWEN).moe_layers == (0, 1, 2, 3)
    assert parse(QWEN | {"mlp_only_layers": [2]}).dense_layers == (2,)
    assert parse(QWEN | {"decoder_sparse_step": 2}).moe_layers == (1, 3)
    assert parse(QWEN).attention.n_norm_weights == 2 * 2


def test_qwen_slides_only_when_it_says_so(parse):
    window = {"sliding_window": 16, "max_window_layers": 3}
    assert parse(QWEN | window).layers.windows == (None,) * 4
    used = parse(QWEN | window | {"use_sliding_window": True}).layers.windows
    assert used == (None, None, None, Window(n_tokens=16))


def test_llama4_has_experts_in_every_second_layer_and_one_shared(parse):
    arch = parse(llama4())
    assert arch.moe_layers == (1, 3)
    assert (arch.dense_inter, arch.moe.inter, arch.moe.shared_inter) == (16, 6, 6)
    assert parse(llama4(moe_layers=[0])).moe_layers == (0,)


def test_llama4_sees_its_chunk_in_three_of_four_layers(parse):
    chunk = Window(n_tokens=32, is_chunked=True)
    assert parse(llama4()).layers.windows == (chunk, chunk, chunk, None)
    assert parse(llama4(no_rope_layers=[1, 0, 0, 0])).layers.windows == (chunk, None, None, None)
    assert parse(llama4(attention_chunk_size=None)).layers.windows == (None,) * 4


def test_wrong_list_of_rotary_layers_is_refused(parse):
    with pytest.raises(ConfigError, match=r"text_config\.no_rope_layers: \[1\]; expected 4 of 0"):
        parse(llama4(no_rope_layers=[1]))


def test_glm_mixes_grouped_queries_with_deepseeks_experts(parse):
    arch = parse(GLM | {"use_qk_norm": True, "attention_bias": True, "n_shared_experts": 1})
    assert arch.dense_layers == (0,)
    assert arch.attention.n_norm_weights == 4
    assert arch.attention.has_qkv_bias
    assert not arch.attention.has_o_bias
    assert arch.moe.shared_inter == 6


def test_minimax_norms_span_all_heads_and_drafts_are_modules(parse):
    drafts = {"use_mtp": True, "num_mtp_modules": 3, "mtp_transformer_layers": 2}
    arch = parse(MINIMAX | drafts | {"use_qk_norm": True, "shared_intermediate_size": 5})
    assert arch.attention.n_norm_weights == (4 + 2) * 2
    assert arch.n_mtp_layers == 6
    assert (arch.moe.n_shared_experts, arch.moe.shared_inter) == (1, 5)
    assert parse(MINIMAX | {"num_mtp_modules": 3}).n_mtp_layers == 0


def test_linear_attention_is_refused(parse):
    with pytest.raises(ConfigError, match=r"attn_type_list: .*linear attention is not modeled"):
        parse(MINIMAX | {"attn_type_list": [1, 0, 1, 1]})
