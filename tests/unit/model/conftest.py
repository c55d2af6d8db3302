"""Small models whose numbers can be worked by hand."""

import json

import pytest

from rackmoe.model.config import parse_model


@pytest.fixture
def latent_config():
    """Two layers of width 8, the first dense; 2 heads; 4 experts of width 4, one shared."""
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "q_lora_rank": 6,
        "kv_lora_rank": 4,
        "qk_nope_head_dim": 3,
        "qk_rope_head_dim": 2,
        "v_head_dim": 3,
        "intermediate_size": 16,
        "moe_intermediate_size": 4,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "num_nextn_predict_layers": 1,
        "vocab_size": 10,
        "max_position_embeddings": 64,
    }


@pytest.fixture
def sparse_config(latent_config):
    """The same with a sparse indexer of 2 heads of width 4 that keeps 8 tokens."""
    return latent_config | {
        "architectures": ["DeepseekV32ForCausalLM"],
        "index_n_heads": 2,
        "index_head_dim": 4,
        "index_topk": 8,
    }


@pytest.fixture
def windowed_config():
    """Four gpt-oss layers of width 8 with 4 heads on 2, every other one sees 16 tokens."""
    return {
        "architectures": ["GptOssForCausalLM"],
        "hidden_size": 8,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "attention_bias": True,
        "intermediate_size": 6,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 16,
        "vocab_size": 10,
        "max_position_embeddings": 64,
    }


@pytest.fixture
def parse():
    """Return a function that reads a config given as a dict."""

    def parse_config(config, **options):
        return parse_model(json.dumps(config), name="tiny", place="tiny.json", **options)

    return parse_config


@pytest.fixture
def latent(latent_config, parse):
    return parse(latent_config)


@pytest.fixture
def sparse(sparse_config, parse):
    return parse(sparse_config)


@pytest.fixture
def windowed(windowed_config, parse):
    return parse(windowed_config)
