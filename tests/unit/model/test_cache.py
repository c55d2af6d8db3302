"""The cache of a token and of a sequence has an exact size."""

import pytest

from rackmoe.model.cache import (
    index_bytes_per_token,
    index_key_bytes,
    kv_bytes_per_token,
    kv_window_bytes,
)
from rackmoe.model.config import load_model


def test_every_rank_holds_the_whole_latent_cache():
    arch = load_model("deepseek-r1")
    for tp in (1, 8, 128):
        assert kv_bytes_per_token(arch, kv_dtype="bf16", tp=tp) == 70_272  # 61 x 576 x 2
        assert kv_bytes_per_token(arch, kv_dtype="fp8", tp=tp) == 35_136


def test_ranks_share_the_heads_of_a_grouped_query_cache_until_there_is_one_each():
    arch = load_model("qwen3-235b-a22b")  # 4 key-value heads
    sizes = [kv_bytes_per_token(arch, kv_dtype="bf16", tp=tp) for tp in (1, 2, 4, 8)]
    assert sizes == [192_512, 96_256, 48_128, 48_128]


def test_windows_bound_the_cache_of_their_layers():
    arch = load_model("gpt-oss-20b")  # 12 of 24 layers see 128 tokens
    assert kv_bytes_per_token(arch, kv_dtype="bf16") == 12 * 1024 * 2
    assert kv_window_bytes(arch, kv_dtype="bf16") == 12 * 128 * 1024 * 2
    assert kv_window_bytes(arch, kv_dtype="fp8", tp=8) == 12 * 128 * 128


def test_model_without_windows_holds_none():
    assert kv_window_bytes(load_model("mixtral-8x7b"), kv_dtype="bf16") == 0


def test_index_keys_come_on_top():
    arch = load_model("deepseek-v3.2")
    assert index_key_bytes(arch.attention.indexer) == 132
    assert index_bytes_per_token(arch) == 61 * 132


@pytest.mark.parametrize("name", ["deepseek-r1", "mixtral-8x7b"])
def test_model_without_indexer_holds_no_index_keys(name):
    assert index_bytes_per_token(load_model(name)) == 0
