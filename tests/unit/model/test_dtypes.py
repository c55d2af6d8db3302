"""Formats have a size, scales included."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.model.dtypes import (
    COMPONENTS,
    KV_DTYPES,
    WEIGHT_DTYPES,
    ComponentDtypes,
    activation_bits,
    kv_element_bytes,
    weight_bits,
)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        ("bf16", 16),
        ("fp8", 8),
        ("fp8_block", 8 + 32 / 16384),
        ("nvfp4", 4.5),
        ("w4a16_mxfp4", 4.25),
        ("w4a8_mxfp4", 4.25),
        ("w4a16_int4", 4.5),
    ],
)
def test_weights_carry_their_scales(dtype, bits):
    assert weight_bits(dtype) == bits
    assert dtype in WEIGHT_DTYPES


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("bf16", 16), ("fp8_block", 8.25), ("w4a16_int4", 16), ("w4a8_mxfp4", 8.25)],
)
def test_activations_have_the_format_that_the_operator_reads(dtype, bits):
    assert activation_bits(dtype) == bits


def test_cache_is_in_bf16_or_fp8():
    assert [kv_element_bytes(dtype) for dtype in KV_DTYPES] == [2, 1]


@pytest.mark.parametrize("look_up", [weight_bits, activation_bits, kv_element_bytes])
def test_unknown_format_is_refused_with_the_known_ones(look_up):
    with pytest.raises(ConfigError, match=r"dtype: 'fp7'; expected one of bf16, .*; choose"):
        look_up("fp7")


def test_components_are_found_by_name():
    dtypes = ComponentDtypes(routed_expert="nvfp4")
    assert [dtypes[component] for component in COMPONENTS].count("nvfp4") == 1
    assert dtypes["routed_expert"] == "nvfp4"


def test_unknown_component_is_refused():
    with pytest.raises(KeyError, match="lobe"):
        ComponentDtypes()["lobe"]
