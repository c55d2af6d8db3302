"""Reads architectures with grouped-query attention out of ``config.json``."""

from typing import Final

from rackmoe.model.architecture import GroupedQueryAttention, Layers, Moe, Window
from rackmoe.model.blueprints import (
    Blueprint,
    read_dense_first,
    read_dense_inter,
    read_grouped_experts,
    read_n_layers,
    read_top_k,
)
from rackmoe.model.fields import ConfigFields

__all__ = [
    "read_glm4_moe",
    "read_gpt_oss",
    "read_llama4",
    "read_minimax_m2",
    "read_mixtral",
    "read_qwen3_moe",
]

_FULL_ATTENTION: Final = "full_attention"
# Llama 4: every fourth layer sees the whole context unless the file says otherwise.
_LLAMA4_GLOBAL_INTERVAL: Final = 4


def _grouped_query(
    fields: ConfigFields, *, has_qk_norm: bool = False, has_sinks: bool = False
) -> GroupedQueryAttention:
    n_heads = fields.count("num_attention_heads")
    n_kv_heads = fields.count("num_key_value_heads", default=n_heads)
    if n_heads % n_kv_heads and fields.is_sound:
        fields.note(
            "num_key_value_heads", value=n_kv_heads, expected=f"a divisor of {n_heads} heads"
        )
    head_dim = fields.count("head_dim", default=max(1, fields.count("hidden_size") // n_heads))
    has_bias = fields.flag("attention_bias", default=False)
    return GroupedQueryAttention(
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        has_qkv_bias=has_bias,
        # only gpt-oss, the one with sinks, has a bias on the output projection as well
        has_o_bias=has_bias and has_sinks,
        n_norm_weights=2 * head_dim if has_qk_norm else 0,
        has_sinks=has_sinks,
    )


def read_mixtral(fields: ConfigFields) -> Blueprint:
    """Return the parts of a Mixtral model.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    Blueprint
        Experts in every layer.
    """
    n_layers = read_n_layers(fields)
    n_experts = fields.count("num_local_experts")
    width = fields.optional_count("sliding_window")
    window = None if width is None else Window(n_tokens=width)
    return Blueprint(
        attention=_grouped_query(fields),
        moe=Moe(
            n_routed_experts=n_experts,
            top_k=read_top_k(fields, n_experts=n_experts),
            inter=fields.count("intermediate_size"),
        ),
        layers=Layers(is_moe=(True,) * n_layers, windows=(window,) * n_layers),
    )


def read_gpt_oss(fields: ConfigFields) -> Blueprint:
    """Return the parts of a gpt-oss model.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    Blueprint
        Experts in every layer, sliding windows in every other one.
    """
    n_layers = read_n_layers(fields)
    n_experts = fields.count("num_local_experts")
    return Blueprint(
        attention=_grouped_query(fields, has_sinks=True),
        moe=Moe(
            n_routed_experts=n_experts,
            top_k=read_top_k(fields, n_experts=n_experts),
            inter=fields.count("intermediate_size"),
            has_expert_bias=True,
            has_router_bias=True,
        ),
        layers=Layers(
            is_moe=(True,) * n_layers,
            windows=_windows(
                fields,
                local="sliding_attention",
                window=Window(n_tokens=fields.count("sliding_window")),
                default=tuple(layer % 2 == 0 for layer in range(n_layers)),
            ),
        ),
    )


def _windows(
    fields: ConfigFields, *, local: str, window: Window, default: tuple[bool, ...]
) -> tuple[Window | None, ...]:
    """Return the window of each layer from ``layer_types``, or from the default pattern."""
    types = fields.texts("layer_types")
    is_local = default
    if types is not None:
        if len(types) == len(default) and set(types) <= {local, _FULL_ATTENTION}:
            is_local = tuple(kind == local for kind in types)
        elif fields.is_sound:
            fields.note(
                "layer_types",
                value=types,
                expected=f"{len(default)} of '{local}' or '{_FULL_ATTENTION}'",
            )
    return tuple(window if here else None for here in is_local)


def read_qwen3_moe(fields: ConfigFields) -> Blueprint:
    """Return the parts of a Qwen3 mixture of experts.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    Blueprint
        Experts in every layer unless the file lists dense ones.
    """
    n_layers = read_n_layers(fields)
    n_experts = fields.count("num_experts")
    step = fields.count("decoder_sparse_step", default=1)
    dense_only = fields.counts("mlp_only_layers") or ()
    is_moe = tuple(
        layer not in dense_only and (layer + 1) % step == 0 for layer in range(n_layers)
    )
    return Blueprint(
        attention=_grouped_query(fields, has_qk_norm=True),
        moe=Moe(
            n_routed_experts=n_experts,
            top_k=read_top_k(fields, n_experts=n_experts),
            inter=fields.count("moe_intermediate_size"),
        ),
        layers=Layers(
            is_moe=is_moe,
            windows=_qwen3_windows(fields, n_layers),
            dense_inter=read_dense_inter(fields, is_moe=is_moe),
        ),
    )


def _qwen3_windows(fields: ConfigFields, n_layers: int) -> tuple[Window | None, ...]:
    if not fields.flag("use_sliding_window", default=False):
        return (None,) * n_layers
    window = Window(n_tokens=fields.count("sliding_window"))
    n_full = fields.count("max_window_layers", default=0, minimum=0)
    return tuple(None if layer < n_full else window for layer in range(n_layers))


def read_llama4(fields: ConfigFields) -> Blueprint:
    """Return the parts of the text model of Llama 4.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    Blueprint
        Experts in every n-th layer, one shared expert, chunked local attention.
    """
    n_layers = read_n_layers(fields)
    n_experts = fields.count("num_local_experts")
    inter = fields.count("intermediate_size")
    is_moe = _llama4_layers(fields, n_layers)
    return Blueprint(
        attention=_grouped_query(fields),
        moe=Moe(
            n_routed_experts=n_experts,
            top_k=read_top_k(fields, n_experts=n_experts),
            inter=inter,
            n_shared_experts=1,
            shared_inter=inter,
            scoring="sigmoid",
        ),
        layers=Layers(
            is_moe=is_moe,
            windows=_llama4_windows(fields, n_layers),
            dense_inter=0 if all(is_moe) else fields.count("intermediate_size_mlp"),
        ),
    )


def _llama4_layers(fields: ConfigFields, n_layers: int) -> tuple[bool, ...]:
    listed = fields.counts("moe_layers")
    if listed is not None:
        return tuple(layer in listed for layer in range(n_layers))
    step = fields.count("interleave_moe_layer_step")
    return tuple((layer + 1) % step == 0 for layer in range(n_layers))


def _llama4_windows(fields: ConfigFields, n_layers: int) -> tuple[Window | None, ...]:
    chunk = fields.optional_count("attention_chunk_size")
    if chunk is None:
        return (None,) * n_layers
    interval = fields.count("no_rope_layer_interval", default=_LLAMA4_GLOBAL_INTERVAL)
    is_local = tuple((layer + 1) % interval != 0 for layer in range(n_layers))
    rotary = fields.counts("no_rope_layers")  # despite its name, 1 marks layers with rotation
    if rotary is not None:
        if len(rotary) == n_layers:
            is_local = tuple(bool(mark) for mark in rotary)
        elif fields.is_sound:
            fields.note("no_rope_layers", value=rotary, expected=f"{n_layers} of 0 or 1")
    return _windows(
        fields,
        local="chunked_attention",
        window=Window(n_tokens=chunk, is_chunked=True),
        default=is_local,
    )


def read_glm4_moe(fields: ConfigFields) -> Blueprint:
    """Return the parts of a GLM-4.5 model.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    Blueprint
        Grouped-query attention with DeepSeek's expert layers.
    """
    is_moe = read_dense_first(fields)
    return Blueprint(
        attention=_grouped_query(fields, has_qk_norm=fields.flag("use_qk_norm", default=False)),
        moe=read_grouped_experts(fields),
        layers=Layers(
            is_moe=is_moe,
            windows=(None,) * len(is_moe),
            dense_inter=read_dense_inter(fields, is_moe=is_moe),
            n_mtp_layers=fields.count("num_nextn_predict_layers", default=0, minimum=0),
        ),
    )


def read_minimax_m2(fields: ConfigFields) -> Blueprint:
    """Return the parts of a MiniMax-M2 model.

    Parameters
    ----------
    fields : ConfigFields
        The keys of the file.

    Returns
    -------
    Blueprint
        Experts in every layer, norms over all heads of a layer.
    """
    n_layers = read_n_layers(fields)
    n_experts = fields.count("num_local_experts")
    kinds = fields.counts("attn_type_list")
    if kinds is not None and set(kinds) != {1}:
        fields.note(
            "attn_type_list",
            value=kinds,
            expected="softmax attention (1) in every layer",
            remedy="linear attention is not modeled; choose another model",
        )
    has_mtp = fields.flag("use_mtp", default=False)
    n_modules = fields.count("num_mtp_modules", default=0, minimum=0)
    per_module = fields.count("mtp_transformer_layers", default=1)
    shared_inter = fields.count("shared_intermediate_size", default=0, minimum=0)
    return Blueprint(
        attention=_minimax_attention(fields),
        moe=Moe(
            n_routed_experts=n_experts,
            top_k=read_top_k(fields, n_experts=n_experts),
            inter=fields.count("intermediate_size"),
            n_shared_experts=1 if shared_inter else 0,
            shared_inter=shared_inter,
            scoring=fields.text("scoring_func", default="sigmoid", choices=("sigmoid", "softmax")),
            has_router_bias=fields.flag("use_routing_bias", default=False),
        ),
        layers=Layers(
            is_moe=(True,) * n_layers,
            windows=(None,) * n_layers,
            n_mtp_layers=n_modules * per_module if has_mtp else 0,
        ),
    )


def _minimax_attention(fields: ConfigFields) -> GroupedQueryAttention:
    """Return attention whose norms span all heads of a layer (``qk_norm_type: per_layer``)."""
    gqa = _grouped_query(fields)
    n_norm_weights = 0
    if fields.flag("use_qk_norm", default=False):
        n_norm_weights = (gqa.n_heads + gqa.n_kv_heads) * gqa.head_dim
    return GroupedQueryAttention(
        n_heads=gqa.n_heads,
        n_kv_heads=gqa.n_kv_heads,
        head_dim=gqa.head_dim,
        has_qkv_bias=gqa.has_qkv_bias,
        n_norm_weights=n_norm_weights,
    )
