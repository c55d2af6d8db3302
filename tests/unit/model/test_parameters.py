"""Parameters, weights and cache of the shipped models match what is published."""

import csv
from pathlib import Path

import pytest

from rackmoe.model.config import load_model, model_names
from rackmoe.model.parameters import (
    component_parameters,
    expert_parameters,
    model_totals,
    mtp_parameters,
    parameters,
    weight_bytes,
)

FACTS = Path(__file__).parents[2] / "data" / "model" / "models.csv"
ROWS = {row["name"]: row for row in csv.DictReader(FACTS.read_text(encoding="utf-8").splitlines())}
BILLION = 1e9


def test_every_shipped_model_has_facts():
    of_a_bound = {"deepseek-v3-network-bound"}
    assert set(model_names()) == set(ROWS) | of_a_bound


@pytest.mark.parametrize("name", ROWS)
def test_parameters_are_within_a_thousandth(name):
    totals, row = model_totals(load_model(name)), ROWS[name]
    for key, column in {
        "total_parameters": "total_B",
        "active_parameters": "active_B",
        "active_parameters_without_embedding": "active_noembed_B",
        "mtp_parameters": "mtp_B",
    }.items():
        expected = float(row[column]) * BILLION
        assert totals[key] == pytest.approx(expected, rel=1e-3, abs=1), key


@pytest.mark.parametrize("name", ROWS)
def test_cache_bytes_are_exact(name):
    totals, row = model_totals(load_model(name)), ROWS[name]
    assert totals["kv_bytes_per_token"] == float(row["kv_bytes_bf16_growing"])
    assert totals["kv_bytes_per_token_fp8"] == float(row["kv_bytes_fp8_growing"])
    assert totals["kv_window_bytes"] == float(row["kv_window_bytes_bf16"])
    assert totals["index_bytes_per_token"] == float(row["index_bytes_per_token"])


@pytest.mark.parametrize("name", ROWS)
def test_native_weights_are_within_a_hundredth(name):
    totals = model_totals(load_model(name))
    expected = float(ROWS[name]["native_weight_GB"]) * BILLION
    assert totals["weight_bytes_total"] == pytest.approx(expected, rel=0.01)
    assert totals["weight_bytes_total"] == pytest.approx(sum(totals["weight_bytes"].values()))


@pytest.mark.parametrize("name", ROWS)
def test_published_figures_stand_beside_ours(name):
    arch, row = load_model(name), ROWS[name]
    totals = model_totals(arch)
    for key, column in {
        "published_total_parameters": "pub_total",
        "published_active_parameters": "pub_active",
    }.items():
        assert totals[key] == pytest.approx(float(row[column]) * BILLION)
    assert arch.published.title
    assert arch.published.source


@pytest.mark.parametrize("name", ROWS)
def test_shape_of_the_layers_is_right(name):
    arch, row = load_model(name), ROWS[name]
    assert (arch.n_layers, len(arch.moe_layers)) == (int(row["layers"]), int(row["moe_layers"]))
    assert expert_parameters(arch) == int(row["expert_params"])


def test_latent_parameters_are_worked_by_hand(latent):
    # q_a 8x6, q_b 6x(2x5), kv_a 8x6, kv_b 4x2x6, o (2x3)x8
    attention = 48 + 60 + 48 + 48 + 48
    assert component_parameters(latent) == {
        "attention": 2 * attention,
        "dense": 3 * 8 * 16,
        "routed_expert": 4 * 3 * 8 * 4,
        "shared_expert": 3 * 8 * 4,
        "router": 4 * 8 + 4,
        "embedding": 80,
        "head": 80,
        "norm": 2 * (6 + 4 + 2 * 8) + 8,
    }


def test_grouped_query_parameters_are_worked_by_hand(windowed):
    counts = component_parameters(windowed)
    assert counts["attention"] == 4 * (8 * (16 + 16) + 16 * 8)
    # biases of qkv and o, four sinks, two norms of the layer; one norm at the end
    assert counts["norm"] == 4 * (32 + 8 + 4 + 2 * 8) + 8
    assert counts["routed_expert"] == 4 * 4 * (3 * 8 * 6 + 2 * 6 + 8)
    assert counts["router"] == 4 * (4 * 8 + 4)


def test_active_parameters_take_the_top_k_of_the_experts(latent):
    counts = parameters(latent)
    assert counts["total"] - counts["active"] == counts["routed"] // 2
    assert counts["active"] - counts["active_without_embedding"] == 80


def test_tied_embedding_is_counted_once_and_stays_active(latent_config, parse):
    counts = parameters(parse(latent_config | {"tie_word_embeddings": True}))
    untied = parameters(parse(latent_config))
    assert untied["total"] - counts["total"] == 80
    assert counts["active_without_embedding"] == counts["active"]


def test_draft_layers_are_counted_apart(latent):
    counts = mtp_parameters(latent)
    assert counts["attention"] == 252 + 2 * 8 * 8
    assert counts["routed_expert"] == 384
    assert parameters(latent)["mtp"] == sum(counts.values())


def test_model_without_draft_layers_has_none_of_their_parameters(windowed):
    assert parameters(windowed)["mtp"] == 0


def test_weights_are_told_apart_by_format():
    sizes = weight_bytes(load_model("deepseek-r1", weights="nvfp4"))
    assert set(sizes) == {"bf16", "nvfp4"}
    # routed experts, shared experts and three dense layers at 4.5 bits
    n_quantized = 58 * 257 * 44_040_192 + 3 * 3 * 7168 * 18432
    assert sizes["nvfp4"] == n_quantized * 4.5 / 8


def test_minimax_matches_the_tensors_of_its_checkpoint():
    # 228,703,644,928 values in the published safetensors, one scale per 128 x 128 block included
    arch = load_model("minimax-m2")
    counts = component_parameters(arch)
    n_scales = (counts["attention"] + counts["routed_expert"]) // (128 * 128)
    assert parameters(arch)["total"] + n_scales == 228_703_644_928
