"""Checkpoints and schemes say which parts are quantized."""

from dataclasses import astuple

import pytest

from rackmoe.errors import ConfigError
from rackmoe.model.config import load_model, model_names
from rackmoe.model.costs import attention_gemms
from rackmoe.model.dtypes import WEIGHT_DTYPES, ComponentDtypes
from rackmoe.model.parameters import weight_bytes
from rackmoe.model.quantization import WEIGHT_SCHEMES

INT4 = {"weights": {"num_bits": 4, "type": "int", "group_size": 32, "strategy": "group"}}
FP8 = {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
FP8_BLOCK = {"weights": {"num_bits": 8, "type": "float", "strategy": "block"}}
NVFP4 = {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}


def compressed(*groups, **values):
    named = {f"group_{i}": group for i, group in enumerate(groups)}
    return {"quant_method": "compressed-tensors", "config_groups": named} | values


def parts(arch):
    """Return attention, dense, routed, shared."""
    return astuple(arch.dtypes)[:4]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deepseek-r1", ("fp8_block",) * 4),
        ("kimi-k2-thinking", ("bf16", "bf16", "w4a16_int4", "bf16")),
        ("gpt-oss-120b", ("bf16", "bf16", "w4a16_mxfp4", "bf16")),
        ("minimax-m2", ("fp8_block",) * 4),
        ("qwen3-235b-a22b", ("bf16",) * 4),
    ],
)
def test_native_formats_follow_the_checkpoint(name, expected):
    assert parts(load_model(name)) == expected


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("scheme", WEIGHT_SCHEMES)
def test_every_model_knows_every_scheme(name, scheme):
    dtypes = load_model(name, weights=scheme).dtypes
    assert {dtypes.router, dtypes.embedding, dtypes.head} == {"bf16"}
    assert set(astuple(dtypes)) <= {*WEIGHT_DTYPES, ""}
    assert (dtypes.routed_expert == "bf16") == (scheme == "bf16")


def test_nvfp4_leaves_latent_attention_alone_and_quantizes_grouped_queries():
    assert parts(load_model("deepseek-r1", weights="nvfp4")) == ("bf16", *["nvfp4"] * 3)
    assert parts(load_model("qwen3-30b-a3b", weights="nvfp4")) == ("nvfp4",) * 4


def test_the_second_nvfp4_checkpoint_quantizes_the_last_projection_of_attention():
    first = load_model("deepseek-r1", weights="nvfp4")
    second = load_model("deepseek-r1", weights="nvfp4_wo")
    assert parts(second) == parts(first)
    gemms = {one.name: one.dtype for one in attention_gemms(second, tp=1, phase="decode")}
    assert gemms.pop("o") == "nvfp4"
    assert set(gemms.values()) == {"bf16"}
    # 61 layers of 7168 x 128 x 128 weights, from 16 to 4.5 bits
    saved = sum(weight_bytes(first).values()) - sum(weight_bytes(second).values())
    assert saved == pytest.approx(61 * 7168 * 128 * 128 * (16 - 4.5) / 8)


def test_fp8_of_maverick_has_one_scale_per_tensor_and_leaves_attention_alone():
    assert parts(load_model("llama-4-maverick", weights="fp8")) == ("bf16", *["fp8"] * 3)


def test_expert_only_schemes_quantize_routed_experts():
    for scheme, dtype in {
        "mxfp4": "w4a16_mxfp4",
        "w4a8_mxfp4": "w4a8_mxfp4",
        "int4": "w4a16_int4",
    }.items():
        dtypes = load_model("deepseek-r1", weights=scheme).dtypes
        assert dtypes == ComponentDtypes(routed_expert=dtype)


def test_unknown_scheme_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"model\.weights: 'int3'; expected one of bf16, fp8, nv"
    ):
        load_model("deepseek-r1", weights="int3")


@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_algo": "FP8"}, "fp8"),
        (compressed(INT4), "w4a16_int4"),
        (compressed(FP8), "fp8"),
        (compressed(FP8_BLOCK), "fp8_block"),
        (compressed(NVFP4), "nvfp4"),
    ],
)
def test_methods_of_published_checkpoints_are_understood(
    latent_config, parse, quantization, dtype
):
    arch = parse(latent_config | {"quantization_config": quantization})
    assert parts(arch) == (dtype,) * 4


def test_mxfp4_converts_experts_only(latent_config, parse):
    arch = parse(latent_config | {"quantization_config": {"quant_method": "mxfp4"}})
    assert parts(arch) == ("bf16", "bf16", "w4a16_mxfp4", "bf16")


@pytest.mark.parametrize(
    ("key", "pattern", "kept"),
    [
        ("exclude_modules", "model.layers.*.self_attn*", "attention"),
        ("exclude_modules", "self_attn", "attention"),
        ("ignore", "re:.*self_attn.*", "attention"),
        ("ignore", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*", "dense"),
        ("modules_to_not_convert", "model.layers.1.mlp.experts", "routed_expert"),
        ("modules_to_not_convert", "shared_experts", "shared_expert"),
        ("ignore", "re:.*mlp\\.gate$", None),
        ("ignore", "mlp.gate", None),
        ("ignore", "gate", None),
        ("ignore", "lm_head", None),
    ],
)
def test_exclusions_keep_parts_in_bf16(latent_config, parse, key, pattern, kept):
    method = {"quant_method": "modelopt", "quant_algo": "NVFP4", key: [pattern]}
    dtypes = parse(latent_config | {"quantization_config": method}).dtypes
    for part in ("attention", "dense", "routed_expert", "shared_expert"):
        assert dtypes[part] == ("bf16" if part == kept else "nvfp4")


def test_part_counts_as_quantized_when_most_of_its_layers_are(latent_config, parse):
    names = [f"model.layers.{layer}.self_attn*" for layer in (0, 1, 2)]
    config = latent_config | {"num_hidden_layers": 9}
    for n_excluded, dtype in ((1, "nvfp4"), (3, "nvfp4")):
        method = {"quant_algo": "NVFP4", "ignore": names[:n_excluded]}
        assert parse(config | {"quantization_config": method}).dtypes.attention == dtype


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"quant_method": "gptq"}, r'quantization_config\.quant_method: "gptq"; expected fp8, mx'),
        ({}, "quant_method: .*; name a scheme instead, for example weights: nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED"}, 'quant_algo: "MIXED"; expected NV'),
        (compressed(), "config_groups: {}; expected one format of weights"),
        (compressed(INT4, FP8), "config_groups: .*; expected one format of weights"),
        (compressed({"weights": {"num_bits": 3}}), "expected one format of weights"),
        (compressed({"targets": []}), "expected one format of weights"),
        (compressed(INT4, ignore=["re:(a+)+$"]), "ignore: .*; expected a simple regular expr"),
        (compressed(INT4, ignore=["re:" + ".*a" * 20]), "expected a simple regular expression"),
        (compressed(INT4, ignore=["re:(a"]), "expected a simple regular expression"),
        (compressed(INT4, ignore=["re:" + "a" * 300]), "expected a simple regular expression"),
    ],
)
def test_unclear_quantization_is_refused_unless_a_scheme_is_named(
    latent_config, parse, quantization, message
):
    config = latent_config | {"quantization_config": quantization}
    with pytest.raises(ConfigError, match=message):
        parse(config)
    assert parse(config, weights="nvfp4").dtypes.routed_expert == "nvfp4"
