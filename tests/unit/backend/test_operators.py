from math import inf

import pytest

from rackmoe.backend.operators import (
    KV_FORMATS,
    WEIGHT_FORMATS,
    free_constants,
    ideal_constants,
)
from rackmoe.model.dtypes import KV_DTYPES, WEIGHT_DTYPES


def test_formats_are_those_of_the_models():
    assert WEIGHT_FORMATS == WEIGHT_DTYPES
    assert KV_FORMATS == KV_DTYPES


@pytest.mark.parametrize("operator", ["gemm", "grouped_gemm"])
def test_ideal_products_have_no_latency_and_full_rates_in_every_format(operator):
    entries = getattr(ideal_constants(), operator)
    assert set(entries) == set(WEIGHT_FORMATS)
    for constants in entries.values():
        assert constants.launch_s == 0.0
        assert constants.flop_efficiency == constants.hbm_efficiency == 1.0
        assert constants.sharpness == inf


@pytest.mark.parametrize("operator", ["mla_decode", "mla_prefill", "gqa_decode", "gqa_prefill"])
def test_ideal_attention_has_no_latency_in_every_cache_format(operator):
    entries = getattr(ideal_constants(), operator)
    assert set(entries) == set(KV_FORMATS)
    assert all(one.launch_s == one.tile_s == one.kv_token_s == 0.0 for one in entries.values())


def test_only_free_constants_are_free():
    assert free_constants().is_free
    assert not ideal_constants().is_free
