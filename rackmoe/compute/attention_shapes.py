"""The shapes of attention that kernels were measured with."""

from dataclasses import replace
from functools import cache
from typing import Final

from rackmoe.model.architecture import GroupedQueryAttention, LatentAttention

__all__ = ["DEEPSEEK_ATTENTION", "grouped_query", "latent_attention"]

# The latent attention that every measured MLA kernel has (kind: datasheet; source:
# DeepSeek-AI, "DeepSeek-V3 Technical Report," arXiv:2412.19437, section 4.2).
DEEPSEEK_ATTENTION: Final = LatentAttention(
    n_heads=128,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_dim=128,
    qk_rope_dim=64,
    v_dim=128,
)


@cache
def latent_attention(heads: int) -> LatentAttention:
    """Return DeepSeek's latent attention with some of its heads.

    Parameters
    ----------
    heads : int
        Query heads of the rank, a count.

    Returns
    -------
    LatentAttention
        The shape.
    """
    return replace(DEEPSEEK_ATTENTION, n_heads=heads)


@cache
def grouped_query(heads: int, *, kv_heads: int, head_dim: int) -> GroupedQueryAttention:
    """Return a grouped-query attention.

    Parameters
    ----------
    heads, kv_heads, head_dim : int
        Heads of the rank and their width, counts.

    Returns
    -------
    GroupedQueryAttention
        The shape.
    """
    return GroupedQueryAttention(n_heads=heads, n_kv_heads=kv_heads, head_dim=head_dim)
