"""How many parameters a model has, how many a token uses, and what they weigh."""

from rackmoe.model.architecture import (
    GroupedQueryAttention,
    LatentAttention,
    ModelArchitecture,
)
from rackmoe.model.cache import index_bytes_per_token, kv_bytes_per_token, kv_window_bytes
from rackmoe.model.dtypes import BITS_PER_BYTE, COMPONENTS, weight_bits

__all__ = [
    "component_parameters",
    "expert_parameters",
    "model_totals",
    "mtp_parameters",
    "parameters",
    "weight_bytes",
]

# Gate, up and down matrices of a gated feed-forward part.
_N_GATED_MATRICES = 3
# Norms stay in bf16 whatever the scheme.
_NORM = "norm"
_NORM_DTYPE = "bf16"


def _latent_parameters(mla: LatentAttention, *, hidden: int) -> tuple[int, int]:
    """Return the weights of one layer's projections and of its norms."""
    query_width = mla.n_heads * mla.qk_dim
    if mla.q_lora_rank is None:
        matrices, norms, query_input = hidden * query_width, 0, hidden
    else:
        matrices = mla.q_lora_rank * (hidden + query_width)
        norms, query_input = mla.q_lora_rank, mla.q_lora_rank
    matrices += hidden * mla.kv_dim
    matrices += mla.kv_lora_rank * mla.n_heads * (mla.qk_nope_dim + mla.v_dim)
    matrices += mla.n_heads * mla.v_dim * hidden
    norms += mla.kv_lora_rank
    if mla.indexer is not None:
        index = mla.indexer
        matrices += index.n_heads * index.head_dim * query_input
        matrices += (index.head_dim + index.n_heads) * hidden
        norms += 2 * index.head_dim  # a layer norm, with bias
    return matrices, norms


def _grouped_query_parameters(gqa: GroupedQueryAttention, *, hidden: int) -> tuple[int, int]:
    """Return the weights of one layer's projections and of its norms, biases and sinks."""
    query_width = gqa.n_heads * gqa.head_dim
    matrices = hidden * (2 * query_width + gqa.kv_dim)
    small = gqa.n_norm_weights
    if gqa.has_qkv_bias:
        small += query_width + gqa.kv_dim
    if gqa.has_o_bias:
        small += hidden
    if gqa.has_sinks:
        small += gqa.n_heads
    return matrices, small


def _attention_parameters(arch: ModelArchitecture) -> tuple[int, int]:
    if isinstance(arch.attention, LatentAttention):
        return _latent_parameters(arch.attention, hidden=arch.hidden)
    return _grouped_query_parameters(arch.attention, hidden=arch.hidden)


def expert_parameters(arch: ModelArchitecture) -> int:
    """Return the parameters of one routed expert.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    int
        Three matrices, and their biases where the model has them, a count.
    """
    inter = arch.moe.inter
    biases = 2 * inter + arch.hidden if arch.moe.has_expert_bias else 0
    return _N_GATED_MATRICES * arch.hidden * inter + biases


def _moe_layer_parameters(arch: ModelArchitecture) -> dict[str, int]:
    """Return the parameters of the feed-forward part of one expert layer, by component."""
    moe = arch.moe
    bias = moe.n_routed_experts if moe.has_router_bias else 0
    return {
        "routed_expert": moe.n_routed_experts * expert_parameters(arch),
        "shared_expert": _N_GATED_MATRICES * arch.hidden * moe.shared_inter,
        "router": moe.n_routed_experts * arch.hidden + bias,
    }


def component_parameters(arch: ModelArchitecture) -> dict[str, int]:
    """Return the parameters of each component, over all layers.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    dict of str to int
        Counts of `dtypes.COMPONENTS` and of ``norm`` (norms, attention biases and sinks);
        layers for multi-token prediction apart (`mtp_parameters`).
    """
    n_moe_layers = len(arch.moe_layers)
    n_dense_layers = arch.n_layers - n_moe_layers
    attention, small = _attention_parameters(arch)
    embedding = arch.vocab * arch.hidden
    per_moe_layer = _moe_layer_parameters(arch)
    return {
        "attention": arch.n_layers * attention,
        "dense": n_dense_layers * _N_GATED_MATRICES * arch.hidden * arch.dense_inter,
        **{part: n_moe_layers * count for part, count in per_moe_layer.items()},
        "embedding": embedding,
        "head": 0 if arch.has_tied_embeddings else embedding,
        _NORM: arch.n_layers * (small + 2 * arch.hidden) + arch.hidden,
    }


def mtp_parameters(arch: ModelArchitecture) -> dict[str, int]:
    """Return the parameters of the layers for multi-token prediction, by component.

    Embedding and head are the model's own.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    dict of str to int
        Counts of the components that such a layer has; all zero without such layers.
    """
    attention, small = _attention_parameters(arch)
    join = 2 * arch.hidden * arch.hidden
    per_layer = {
        "attention": attention + join,
        **_moe_layer_parameters(arch),
        _NORM: small + 5 * arch.hidden,  # two of the layer, two of the join, one before the head
    }
    return {part: arch.n_mtp_layers * count for part, count in per_layer.items()}


def parameters(arch: ModelArchitecture) -> dict[str, int]:
    """Return the total and active parameters.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    dict of str to int
        ``total`` without layers for multi-token prediction; ``active``: attention,
        shared and top-k experts, router, norms and both embeddings;
        ``active_without_embedding``: the same without the input embedding; ``routed``,
        ``mtp``. Counts.
    """
    parts = component_parameters(arch)
    total = sum(parts.values())
    routed = parts["routed_expert"]
    active = total - routed + routed * arch.moe.top_k // arch.moe.n_routed_experts
    # a tied embedding is the head too, so it stays active
    unused = 0 if arch.has_tied_embeddings else parts["embedding"]
    return {
        "total": total,
        "active": active,
        "active_without_embedding": active - unused,
        "routed": routed,
        "mtp": sum(mtp_parameters(arch).values()),
    }


def weight_bytes(arch: ModelArchitecture) -> dict[str, float]:
    """Return the bytes of the weights by the format they are in, scales included.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    dict of str to float
        Bytes by dtype over all components; layers for multi-token prediction apart. [B]
    """
    sizes: dict[str, float] = {}
    for part, count in component_parameters(arch).items():
        dtype = arch.dtypes[part] if part in COMPONENTS else _NORM_DTYPE
        output = arch.dtypes.attention_output if part == "attention" else ""
        n_output = _output_parameters(arch) if output else 0
        for form, n in ((dtype, count - n_output), (output or dtype, n_output)):
            sizes[form] = sizes.get(form, 0.0) + n * weight_bits(form) / BITS_PER_BYTE
    return {dtype: size for dtype, size in sorted(sizes.items()) if size > 0}


def _output_parameters(arch: ModelArchitecture) -> int:
    """Return the weights of the last projections of attention, a count."""
    heads = arch.attention
    width = heads.v_dim if isinstance(heads, LatentAttention) else heads.head_dim
    return arch.n_layers * arch.hidden * heads.n_heads * width


def model_totals(arch: ModelArchitecture) -> dict[str, object]:
    """Return the figures of a model that people compare with published ones.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    dict of str to object
        Parameter counts (``total_parameters``, ``active_parameters``,
        ``active_parameters_without_embedding``, ``mtp_parameters``), published counts or
        None (``published_total_parameters``, ``published_active_parameters``), cache
        bytes [B] in bf16 and fp8 per token that grow with the context
        (``kv_bytes_per_token``, ``kv_bytes_per_token_fp8``), bf16 bytes [B] of full
        windows per sequence (``kv_window_bytes``), bytes [B] of index keys per token
        (``index_bytes_per_token``) and bytes [B] of the weights by dtype
        (``weight_bytes``) and in all (``weight_bytes_total``).
    """
    counts = parameters(arch)
    by_dtype = weight_bytes(arch)
    return {
        "total_parameters": counts["total"],
        "published_total_parameters": arch.published.total_parameters,
        "active_parameters": counts["active"],
        "active_parameters_without_embedding": counts["active_without_embedding"],
        "published_active_parameters": arch.published.active_parameters,
        "mtp_parameters": counts["mtp"],
        "kv_bytes_per_token": kv_bytes_per_token(arch, kv_dtype="bf16"),
        "kv_bytes_per_token_fp8": kv_bytes_per_token(arch, kv_dtype="fp8"),
        "kv_window_bytes": kv_window_bytes(arch, kv_dtype="bf16"),
        "index_bytes_per_token": index_bytes_per_token(arch),
        "weight_bytes": by_dtype,
        "weight_bytes_total": sum(by_dtype.values()),
    }
