"""DeepSeek's keys are read as DeepSeek means them."""

import pytest

from rackmoe.errors import ConfigError


def test_leading_layers_are_dense(latent_config, parse):
    arch = parse(latent_config | {"num_hidden_layers": 5, "first_k_dense_replace": 2})
    assert arch.layers.is_moe == (False, False, True, True, True)


def test_expert_layers_may_be_listed(latent_config, parse):
    config = latent_config | {"mlp_layer_types": ["sparse", "dense"]}
    del config["first_k_dense_replace"]
    assert parse(config).moe_layers == (0,)


@pytest.mark.parametrize("types", [["sparse"], ["sparse", "thick"]])
def test_wrong_list_of_layers_is_refused(latent_config, parse, types):
    with pytest.raises(ConfigError, match=r"mlp_layer_types: .*expected 2 of 'dense' or 'sparse'"):
        parse(latent_config | {"mlp_layer_types": types})


def test_expert_layers_may_be_spaced(latent_config, parse):
    arch = parse(latent_config | {"num_hidden_layers": 5, "moe_layer_freq": 2})
    assert arch.moe_layers == (2, 4)


def test_model_without_dense_layers_needs_no_dense_width(latent_config, parse):
    config = latent_config | {"first_k_dense_replace": 0}
    del config["intermediate_size"]
    assert parse(config).dense_inter == 0


def test_model_with_dense_layers_needs_their_width(latent_config, parse):
    del latent_config["intermediate_size"]
    with pytest.raises(ConfigError, match=r"tiny\.json: intermediate_size: missing"):
        parse(latent_config)


def test_routing_is_read(latent_config, parse):
    routing = {"n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5}
    moe = parse(latent_config | routing | {"n_shared_experts": 3}).moe
    assert (moe.n_groups, moe.top_k_groups, moe.route_scale) == (2, 1, 2.5)
    assert (moe.n_shared_experts, moe.shared_inter) == (3, 12)
    assert moe.scoring == "sigmoid"
    assert moe.has_router_bias


def test_more_experts_per_token_than_there_are_is_refused(latent_config, parse):
    with pytest.raises(ConfigError, match="num_experts_per_tok: 5; expected at most the 4 routed"):
        parse(latent_config | {"num_experts_per_tok": 5})


def test_more_layers_than_any_model_has_are_refused(latent_config, parse):
    with pytest.raises(
        ConfigError, match=r"num_hidden_layers: 100000; expected .* from 1 to 1000"
    ):
        parse(latent_config | {"num_hidden_layers": 100_000})


def test_indexer_is_read_and_required(sparse_config, sparse, parse):
    index = sparse.attention.indexer
    assert (index.n_heads, index.head_dim, index.top_k) == (2, 4, 8)
    del sparse_config["index_topk"]
    with pytest.raises(ConfigError, match="index_topk: missing"):
        parse(sparse_config)


def test_mistral_scores_by_softmax_without_correction(latent_config, parse):
    moe = parse(latent_config | {"architectures": ["MistralLarge3ForCausalLM"]}).moe
    assert moe.scoring == "softmax"
    assert not moe.has_router_bias
