"""Reads the facts that families of architectures share out of ``config.json``."""

from dataclasses import dataclass
from typing import Final

from rackmoe.model.architecture import (
    GroupedQueryAttention,
    Indexer,
    LatentAttention,
    Layers,
    Moe,
)
from rackmoe.model.fields import ConfigFields

__all__ = [
    "Blueprint",
    "read_deepseek",
    "read_deepseek_sparse",
    "read_dense_first",
    "read_dense_inter",
    "read_grouped_experts",
    "read_mistral_large3",
    "read_n_layers",
    "read_top_k",
]

_MAX_LAYERS: Final = 1000
# DeepSeek's name for selection by score plus a correction bias per expert.
_BIASED_SELECTION: Final = "noaux_tc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """The parts of an architecture that differ by family.

    Attributes
    ----------
    attention : LatentAttention or GroupedQueryAttention
        Attention of every layer.
    moe : Moe
        Expert layers.
    layers : Layers
        Order of the layers.
    """

    attention: LatentAttention | GroupedQueryAttention
    moe: Moe
    layers: Layers


def read_n_layers(fields: ConfigFields) -> int:
    """Return the number of decoder layers.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    int
        Layers, a count.
    """
    return fields.count("num_hidden_layers", maximum=_MAX_LAYERS)


def read_top_k(fields: ConfigFields, *, n_experts: int) -> int:
    """Return the routed experts per token.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.
    n_experts : int
        Routed experts of a layer, a count.

    Returns
    -------
    int
        Experts, a count; noted as a problem where it exceeds the experts there are.
    """
    top_k = fields.count("num_experts_per_tok")
    if top_k > n_experts and fields.is_sound:
        fields.note(
            "num_experts_per_tok", value=top_k, expected=f"at most the {n_experts} routed experts"
        )
        return n_experts
    return top_k


def read_deepseek(fields: ConfigFields, *, indexer: Indexer | None = None) -> Blueprint:
    """Return the parts of a model in the keys of DeepSeek-V3.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.
    indexer : Indexer, optional
        The sparse indexer, where there is one.

    Returns
    -------
    Blueprint
        Latent attention, shared experts, leading dense layers.
    """
    attention = LatentAttention(
        n_heads=fields.count("num_attention_heads"),
        q_lora_rank=fields.optional_count("q_lora_rank"),
        kv_lora_rank=fields.count("kv_lora_rank"),
        qk_nope_dim=fields.count("qk_nope_head_dim"),
        qk_rope_dim=fields.count("qk_rope_head_dim"),
        v_dim=fields.count("v_head_dim"),
        indexer=indexer,
    )
    is_moe = read_dense_first(fields)
    return Blueprint(
        attention=attention,
        moe=read_grouped_experts(fields),
        layers=Layers(
            is_moe=is_moe,
            windows=(None,) * len(is_moe),
            dense_inter=read_dense_inter(fields, is_moe=is_moe),
            n_mtp_layers=fields.count("num_nextn_predict_layers", default=0, minimum=0),
        ),
    )


def read_dense_first(fields: ConfigFields) -> tuple[bool, ...]:
    """Return which layers have experts, from DeepSeek's keys.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    tuple of bool
        One entry per layer: by list, or after the leading dense ones.
    """
    n_layers = read_n_layers(fields)
    types = fields.texts("mlp_layer_types")
    if types is not None:
        if len(types) == n_layers and set(types) <= {"dense", "sparse"}:
            return tuple(kind == "sparse" for kind in types)
        if fields.is_sound:
            fields.note(
                "mlp_layer_types", value=types, expected=f"{n_layers} of 'dense' or 'sparse'"
            )
    n_dense = fields.count("first_k_dense_replace", minimum=0)
    step = fields.count("moe_layer_freq", default=1)
    return tuple(layer >= n_dense and layer % step == 0 for layer in range(n_layers))


def read_dense_inter(fields: ConfigFields, *, is_moe: tuple[bool, ...]) -> int:
    """Return the intermediate width of the dense layers.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.
    is_moe : tuple of bool
        Which layers have experts.

    Returns
    -------
    int
        Width, a count; 0 where every layer has experts.
    """
    return 0 if all(is_moe) else fields.count("intermediate_size")


def read_grouped_experts(
    fields: ConfigFields, *, scoring: str = "sigmoid", selection: str = _BIASED_SELECTION
) -> Moe:
    """Return the expert layers from DeepSeek's keys.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.
    scoring, selection : str
        What the family does where the file says nothing.

    Returns
    -------
    Moe
        Routed experts, in groups where the file says so, and shared ones.
    """
    n_experts = fields.count("n_routed_experts")
    inter = fields.count("moe_intermediate_size")
    n_shared = fields.count("n_shared_experts", default=0, minimum=0)
    return Moe(
        n_routed_experts=n_experts,
        top_k=read_top_k(fields, n_experts=n_experts),
        inter=inter,
        n_shared_experts=n_shared,
        shared_inter=n_shared * inter,
        n_groups=fields.count("n_group", default=1),
        top_k_groups=fields.count("topk_group", default=1),
        scoring=fields.text("scoring_func", default=scoring, choices=("sigmoid", "softmax")),
        route_scale=fields.number("routed_scaling_factor", default=1.0),
        has_router_bias=fields.text("topk_method", default=selection) == _BIASED_SELECTION,
    )


def read_deepseek_sparse(fields: ConfigFields) -> Blueprint:
    """Return the parts of a model with the sparse indexer of DeepSeek-V3.2.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    Blueprint
        As `read_deepseek`, with an indexer.
    """
    indexer = Indexer(
        n_heads=fields.count("index_n_heads"),
        head_dim=fields.count("index_head_dim"),
        top_k=fields.count("index_topk"),
    )
    return read_deepseek(fields, indexer=indexer)


def read_mistral_large3(fields: ConfigFields) -> Blueprint:
    """Return the parts of Mistral Large 3, written in DeepSeek's keys.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    Blueprint
        As `read_deepseek`, with softmax scores and no correction bias.
    """
    drawn = read_deepseek(fields)
    moe = read_grouped_experts(fields, scoring="softmax", selection="greedy")
    return Blueprint(attention=drawn.attention, moe=moe, layers=drawn.layers)
