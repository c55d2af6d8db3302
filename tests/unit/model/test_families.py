"""The table of architectures is complete."""

import pytest

from rackmoe.model.config import load_model, model_names
from rackmoe.model.families import FAMILIES


def test_shipped_models_cover_the_families_that_are_not_aliases():
    shipped = {load_model(name).family for name in model_names()}
    # same keys as a shipped family, under another name
    aliases = {"KimiK2ForCausalLM", "KimiK25ForConditionalGeneration"}
    assert shipped == set(FAMILIES) - aliases


def test_table_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        FAMILIES["LlamaForCausalLM"] = FAMILIES["MixtralForCausalLM"]


@pytest.mark.parametrize("name", FAMILIES)
def test_nested_families_are_the_multimodal_ones(name):
    assert FAMILIES[name].is_nested == name.endswith("ForConditionalGeneration")
