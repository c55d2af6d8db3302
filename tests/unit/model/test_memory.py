"""Memory holds the weights and the cache, or says what to change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import CapacityError
from rackmoe.model.config import load_model
from rackmoe.model.memory import (
    MemoryBudget,
    Sharding,
    check_fit,
    rank_weight_bytes,
)
from rackmoe.model.parameters import weight_bytes

H200 = MemoryBudget(hbm_bytes=141e9, usable_frac=0.9, workspace_bytes=5e9)


def test_one_rank_holds_the_whole_model(latent):
    sizes = rank_weight_bytes(latent, sharding=Sharding())
    # the correction bias of the router, four values in one layer, is not worth a byte count
    assert sum(sizes.values()) == sum(weight_bytes(latent).values()) - 4 * 2


def test_ranks_of_an_attention_group_share_heads_and_widths(latent):
    one = rank_weight_bytes(latent, sharding=Sharding())
    two = rank_weight_bytes(latent, sharding=Sharding(tp=2, ep=2))
    # q_a 8x6 and kv_a 8x6 are on both ranks; q_b, kv_b and o are halved; two layers, bf16
    assert one["attention"] == 2 * 252 * 2
    assert two["attention"] == 2 * (96 + 156 / 2) * 2
    assert two["dense"] == one["dense"] / 2
    assert two["shared_expert"] == one["shared_expert"] / 2
    assert two["head"] == one["head"] / 2
    assert two["router"] == one["router"]


def test_attention_groups_repeat_everything_but_the_routed_experts(latent):
    one = rank_weight_bytes(latent, sharding=Sharding())
    four = rank_weight_bytes(latent, sharding=Sharding(attention_dp=4, ep=4))
    assert four.pop("routed_expert") == one.pop("routed_expert") / 4
    assert four == one


def test_experts_are_split_where_they_are_not_spread(latent):
    spread = rank_weight_bytes(latent, sharding=Sharding(tp=2, ep=2))
    split = rank_weight_bytes(latent, sharding=Sharding(tp=2, ep=1))
    assert split["routed_expert"] == spread["routed_expert"]


def test_redundant_experts_take_memory(latent):
    plain = rank_weight_bytes(latent, sharding=Sharding(attention_dp=4, ep=4))
    more = rank_weight_bytes(latent, sharding=Sharding(attention_dp=4, ep=4, n_redundant=4))
    assert more["routed_expert"] == 2 * plain["routed_expert"]


def test_draft_layers_take_memory_only_when_loaded():
    arch = load_model("deepseek-r1")
    assert rank_weight_bytes(arch, sharding=Sharding())["mtp"] == 0
    loaded = rank_weight_bytes(arch, sharding=Sharding(has_mtp=True))["mtp"]
    assert loaded == pytest.approx(11.61e9, rel=0.01)


def test_tied_embedding_is_stored_once(latent_config, parse):
    arch = parse(latent_config | {"tie_word_embeddings": True})
    assert rank_weight_bytes(arch, sharding=Sharding())["head"] == 0


def test_nvfp4_weights_of_deepseek_at_wide_ep_are_worked_by_hand():
    arch = load_model("deepseek-r1", weights="nvfp4")
    sizes = rank_weight_bytes(arch, sharding=Sharding(attention_dp=48, ep=48, n_redundant=32))
    assert sizes["routed_expert"] == 58 * 6 * 44_040_192 * 4.5 / 8
    assert sizes["attention"] == 61 * 187_105_280 * 2


def test_share_of_free_memory_is_taken_after_the_weights():
    budget = MemoryBudget(
        hbm_bytes=100.0, usable_frac=0.9, workspace_bytes=10.0, is_share_of_free=True
    )
    assert budget.usable_bytes == 90.0
    assert budget.cache_bytes(40.0) == pytest.approx(45.0)
    whole = MemoryBudget(hbm_bytes=100.0, usable_frac=0.9, workspace_bytes=10.0)
    assert whole.cache_bytes(40.0) == pytest.approx(40.0)


def test_plan_says_how_many_tokens_fit(windowed):
    sharding = Sharding()
    weights = sum(rank_weight_bytes(windowed, sharding=sharding).values())
    budget = MemoryBudget(
        hbm_bytes=2 * (weights + 100 + 6400), usable_frac=0.5, workspace_bytes=100
    )
    plan = check_fit(windowed, sharding=sharding, budget=budget, kv_dtype="bf16")
    # two full layers: 2 x 16 elements x 2 B = 64 B a token; two windows of 16 tokens: 1024 B
    assert plan.token_bytes == 64
    assert plan.window_bytes == 1024
    assert plan.capacity_tokens() == 100
    assert plan.capacity_tokens(n_sequences=2) == 68
    assert plan.capacity_tokens(n_sequences=50) == 0


def test_index_keys_count_as_cache(sparse):
    plan = check_fit(sparse, sharding=Sharding(), budget=H200, kv_dtype="fp8")
    assert plan.token_bytes == 2 * 6 + 2 * (4 + 4)


def test_weights_that_do_not_fit_are_refused_with_the_smallest_ep_that_fits():
    with pytest.raises(CapacityError) as caught:
        check_fit(
            load_model("deepseek-r1"),
            sharding=Sharding(attention_dp=4, ep=4),
            budget=H200,
            kv_dtype="bf16",
        )
    assert str(caught.value) == (
        "deepseek-r1: rank 0 needs 182.6 GB of weights, 121.9 GB are usable; "
        "raise ep to 8 and attention_dp to 8"
    )


def test_split_model_is_told_how_many_ranks_it_takes():
    with pytest.raises(CapacityError, match=r"281\.2 GB of weights.*; raise tp to 4"):
        check_fit(load_model("mixtral-8x22b"), sharding=Sharding(), budget=H200, kv_dtype="bf16")


def test_fewer_redundant_experts_are_proposed_where_they_help():
    with pytest.raises(CapacityError, match=r"; raise ep to .* or lower redundant_experts to 56"):
        check_fit(
            load_model("deepseek-r1"),
            sharding=Sharding(attention_dp=8, ep=8, n_redundant=64),
            budget=H200,
            kv_dtype="bf16",
            context_tokens=9000,
        )


def test_cache_that_is_too_small_for_one_request_is_refused():
    with pytest.raises(
        CapacityError, match=r"needs 0.63 GB of cache for a request of 9000 tokens, 0.62 GB are le"
    ):
        check_fit(
            load_model("deepseek-r1"),
            sharding=Sharding(attention_dp=8, ep=8, n_redundant=64),
            budget=H200,
            kv_dtype="bf16",
            context_tokens=9000,
        )


def test_gpu_that_is_too_small_for_any_division_is_named():
    with pytest.raises(
        CapacityError, match=r"0\.0 GB are usable; choose lighter weights or a larg"
    ):
        check_fit(
            load_model("deepseek-r1"),
            sharding=Sharding(attention_dp=8, ep=8),
            budget=MemoryBudget(hbm_bytes=1e9, workspace_bytes=2e9),
            kv_dtype="bf16",
        )


def test_attention_groups_of_several_ranks_keep_their_size():
    with pytest.raises(CapacityError, match=r"raise ep to 8 and attention_dp to 4$"):
        check_fit(
            load_model("deepseek-r1"),
            sharding=Sharding(tp=2, attention_dp=2, ep=4),
            budget=H200,
            kv_dtype="fp8",
        )


@given(
    name=st.sampled_from(["deepseek-r1", "gpt-oss-120b", "glm-4.5", "llama-4-maverick"]),
    scheme=st.sampled_from(["bf16", "fp8", "nvfp4", "int4"]),
    n_ranks=st.sampled_from([1, 2, 4, 8]),
    is_spread=st.booleans(),
    hbm_gb=st.integers(1, 400),
)
def test_the_proposed_change_fits(name, scheme, n_ranks, is_spread, hbm_gb):
    arch = load_model(name, weights=scheme)
    budget = MemoryBudget(hbm_bytes=hbm_gb * 1e9)
    sharding = Sharding(tp=n_ranks, ep=n_ranks if is_spread else 1)
    try:
        plan = check_fit(arch, sharding=sharding, budget=budget, kv_dtype="fp8")
    except CapacityError as error:
        remedy = str(error).split("; ")[1]
        if not remedy.startswith("raise"):
            return
        changes = dict(
            change.split(" to ") for change in remedy.removeprefix("raise ").split(" and ")
        )
        proposed = Sharding(tp=int(changes["tp"]), ep=int(changes.get("ep", 1)))
        plan = check_fit(arch, sharding=proposed, budget=budget, kv_dtype="fp8")
    assert plan.weights_bytes + plan.cache_bytes == pytest.approx(budget.usable_bytes)
    assert plan.capacity_tokens() >= 1
