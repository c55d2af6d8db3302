"""A model's file is read strictly, and a foreign one as it is."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rackmoe.errors import ConfigError
from rackmoe.model.config import load_model, model_names, parse_model
from rackmoe.model.families import FAMILIES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "q_lora_rank",
    "kv_lora_rank",
    "n_group",
    "qk_nope_head_dim",
    "v_head_dim",
    "intermediate_size",
    "n_routed_experts",
    "num_experts_per_tok",
    "first_k_dense_replace",
    "moe_layer_freq",
    "mlp_layer_types",
    "vocab_size",
    "tie_word_embeddings",
    "quantization_config",
    "rackmoe",
    "scoring_func",
    "routed_scaling_factor",
    "architectures",
]


def test_shipped_models_are_listed():
    assert len(model_names()) == 18
    assert "deepseek-r1" in model_names()


def test_user_file_works_as_it_is(tmp_path, latent_config):
    extra = {"auto_map": {"AutoConfig": "x"}, "rope_theta": 1e4, "torch_dtype": "bfloat16"}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(latent_config | extra), encoding="utf-8")
    arch = load_model(path)
    assert (arch.name, arch.published.title) == ("mine", "mine")
    assert arch.published.total_parameters is None


@pytest.mark.parametrize("as_folder", [True, False])
def test_checkpoint_is_named_for_its_folder(tmp_path, latent_config, as_folder):
    folder = tmp_path / "my-model"
    folder.mkdir()
    file = folder / "config.json"
    file.write_text("\ufeff" + json.dumps(latent_config), encoding="utf-8")
    assert load_model(folder if as_folder else file).name == "my-model"


def test_nested_text_model_is_read_with_its_quantization(latent_config, parse):
    quantized = latent_config | {"quantization_config": {"quant_method": "fp8"}}
    config = {"architectures": ["KimiK25ForConditionalGeneration"], "text_config": quantized}
    assert parse(config).dtypes.attention == "fp8"


@pytest.mark.parametrize("text_config", [None, 3])
def test_nested_text_model_is_required(parse, text_config):
    config = {"architectures": ["Llama4ForConditionalGeneration"], "text_config": text_config}
    with pytest.raises(ConfigError, match=r"tiny\.json: text_config: .*; expected an object"):
        parse(config)


def test_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"deepseek-r2: not in scenarios/models; .*deepseek-r1"):
        load_model("deepseek-r2")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_model(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "names", [["LlamaForCausalLM"], [], None, "MixtralForCausalLM", [["x"]], [3], ["a", "b"]]
)
def test_unknown_architecture_is_refused_with_those_understood(parse, names):
    with pytest.raises(
        ConfigError, match=r"tiny\.json: architectures: .*; expected one of Deep"
    ) as (caught):
        parse({"architectures": names})
    for known in FAMILIES:
        assert known in str(caught.value)


def test_all_problems_are_reported_at_once(latent_config, parse):
    broken = latent_config | {"hidden_size": "8", "vocab_size": 0, "rackmoe": {"tilte": "x"}}
    del broken["kv_lora_rank"]
    with pytest.raises(ConfigError) as caught:
        parse(broken)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "kv_lora_rank",
        "hidden_size",
        "vocab_size",
        "rackmoe.tilte",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine:1:1: Expecting value; expected JSON; correct the text"),
        ('{"a": 1,\n "b" 2}', r"mine:2:6: .*; expected JSON"),
        ('{"a": NaN}', "mine: NaN; expected finite numbers"),
        ('{"a": -Infinity}', "mine: -Infinity; expected finite numbers"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "mine: c: given twice; expected each key once"),
        ("[1]", r"mine: \[1\]; expected an object"),
        ("[" * 100_000, "mine: .*; expected the config.json of a model"),
        ("1" * 10_000, "mine: .*; expected the config.json of a model"),
    ],
)
def test_damaged_text_is_refused_at_its_place(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_model(text, name="mine", place="mine")


def test_file_that_is_too_large_is_refused(tmp_path):
    path = tmp_path / "weights.json"
    path.write_bytes(b" " * (4 * 2**20 + 1))
    with pytest.raises(
        ConfigError, match=r"weights\.json: 4194305 bytes; expected at most 4194304"
    ):
        load_model(path)


def test_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "image.json"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match=r"image\.json: .*; expected a readable file in UTF-8"):
        load_model(path)


def test_model_without_experts_is_refused(latent_config, parse):
    with pytest.raises(ConfigError, match="num_hidden_layers: 2; expected a layer with routed"):
        parse(latent_config | {"first_k_dense_replace": 2})


@given(text=st.text(max_size=40) | JSON.map(json.dumps))
def test_any_text_is_a_model_or_one_clear_error(text):
    with pytest.raises(ConfigError, match="mine"):
        parse_model(text, name="mine", place="mine")


@given(key=st.sampled_from(KEYS), value=JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_of_any_key_gives_a_model_or_one_clear_error(latent_config, parse, key, value):
    try:
        arch = parse(latent_config | {key: value})
    except ConfigError as error:
        assert all(problem.startswith("tiny.json: ") for problem in error.problems)  # noqa: PT017 - either outcome is right
    else:
        assert arch.n_layers >= 1


@given(removed=st.sets(st.sampled_from(KEYS), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_missing_keys_are_all_named(latent_config, parse, removed):
    required = removed & set(latent_config) - {"q_lora_rank"}
    config = {key: value for key, value in latent_config.items() if key not in removed}
    if not required:
        assert parse(config).n_layers == 2
        return
    with pytest.raises(ConfigError) as caught:
        parse(config)
    if "architectures" not in removed:
        named = {problem.split(": ")[1] for problem in caught.value.problems}
        # without dense layers, or without knowing them, no dense width is asked for
        assert required - {"intermediate_size"} <= named <= required
