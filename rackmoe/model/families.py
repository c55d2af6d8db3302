"""Which architectures are understood, and how each is read."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rackmoe.model.blueprints import (
    Blueprint,
    read_deepseek,
    read_deepseek_sparse,
    read_mistral_large3,
)
from rackmoe.model.fields import ConfigFields
from rackmoe.model.grouped_query import (
    read_glm4_moe,
    read_gpt_oss,
    read_llama4,
    read_minimax_m2,
    read_mixtral,
    read_qwen3_moe,
)

__all__ = ["FAMILIES", "Family"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How to read one architecture.

    Attributes
    ----------
    build : Callable
        Reads the parts from the keys.
    dense, routed_expert, shared_expert : str
        Names of such modules within a layer, as exclusion lists of checkpoints spell them.
    is_nested : bool
        Whether the facts are in ``text_config``.
    nvfp4_attention, fp8_attention : str
        Format of attention in the published checkpoints of these schemes.
    fp8 : str
        Format of the other quantized parts in published fp8 checkpoints.
    """

    build: Callable[[ConfigFields], Blueprint]
    dense: str = "mlp.gate_proj"
    routed_expert: str = "mlp.experts.0.gate_proj"
    shared_expert: str = "mlp.shared_experts.gate_proj"
    is_nested: bool = False
    nvfp4_attention: str = "nvfp4"
    fp8_attention: str = "fp8_block"
    fp8: str = "fp8_block"


# The nvfp4 checkpoint of DeepSeek-V3-0324 excludes self_attn, that of Qwen3-30B-A3B does not.
_LATENT = Family(build=read_deepseek, nvfp4_attention="bf16")
_LATENT_SPARSE = Family(build=read_deepseek_sparse, nvfp4_attention="bf16")
_BLOCK_SPARSE_EXPERT = "block_sparse_moe.experts.0.w1"

# Keys and their meaning follow the files that ship with the checkpoints and the configuration
# classes of Hugging Face Transformers.
FAMILIES: Final = MappingProxyType(
    {
        "DeepseekV3ForCausalLM": _LATENT,
        "DeepseekV32ForCausalLM": _LATENT_SPARSE,
        "KimiK2ForCausalLM": _LATENT,
        "KimiK25ForConditionalGeneration": Family(
            build=read_deepseek, nvfp4_attention="bf16", is_nested=True
        ),
        "MistralLarge3ForCausalLM": Family(build=read_mistral_large3, nvfp4_attention="bf16"),
        "GlmMoeDsaForCausalLM": _LATENT_SPARSE,
        "GptOssForCausalLM": Family(
            build=read_gpt_oss,
            routed_expert="mlp.experts",
            nvfp4_attention="bf16",
            fp8_attention="bf16",
        ),
        "MixtralForCausalLM": Family(build=read_mixtral, routed_expert=_BLOCK_SPARSE_EXPERT),
        "Qwen3MoeForCausalLM": Family(build=read_qwen3_moe),
        "Llama4ForConditionalGeneration": Family(
            build=read_llama4,
            dense="feed_forward.gate_proj",
            routed_expert="feed_forward.experts.0.gate_proj",
            shared_expert="feed_forward.shared_expert.gate_proj",
            is_nested=True,
            fp8_attention="bf16",
            fp8="fp8",
        ),
        "Glm4MoeForCausalLM": Family(build=read_glm4_moe),
        "MiniMaxM2ForCausalLM": Family(
            build=read_minimax_m2,
            routed_expert=_BLOCK_SPARSE_EXPERT,
            shared_expert="block_sparse_moe.shared_expert.gate_proj",
        ),
    }
)
