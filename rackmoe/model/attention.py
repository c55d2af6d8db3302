"""What the attention scores cost: how much context is seen, in FLOP and bytes."""

from dataclasses import dataclass

import numpy as np

from rackmoe.model.architecture import (
    GroupedQueryAttention,
    Indexer,
    LatentAttention,
    ModelArchitecture,
    Window,
)
from rackmoe.model.cache import index_key_bytes
from rackmoe.model.costs import Floats, Work, shard_heads
from rackmoe.model.dtypes import BITS_PER_BYTE, activation_bits, kv_element_bytes

__all__ = [
    "LayerGroup",
    "gqa_decode_work",
    "gqa_prefill_work",
    "index_work",
    "layer_groups",
    "mla_decode_work",
    "mla_prefill_work",
    "score_pairs",
    "sparse_tokens",
    "visible_tokens",
]

_BF16_BYTES = activation_bits("bf16") / BITS_PER_BYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Layers whose attention costs the same.

    Attributes
    ----------
    window : Window or None
        Their local attention; None where they see the whole context.
    n_layers : int
        How many there are, a count.
    """

    window: Window | None
    n_layers: int


def layer_groups(arch: ModelArchitecture) -> tuple[LayerGroup, ...]:
    """Return the layers grouped by how far their attention reaches.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    tuple of LayerGroup
        In order of first appearance; one group where all layers are alike.
    """
    counts: dict[Window | None, int] = {}
    for window in arch.layers.windows:
        counts[window] = counts.get(window, 0) + 1
    return tuple(LayerGroup(window=window, n_layers=n) for window, n in counts.items())


def visible_tokens(context_tokens: Floats, *, window: Window | None) -> Floats:
    """Return how many tokens the last token of a context attends to, itself included.

    Parameters
    ----------
    context_tokens : float or ndarray
        Length of the context, the querying token included, a count.
    window : Window or None
        Local attention of the layer.

    Returns
    -------
    float or ndarray
        Tokens read from the cache, a count: all of them, the last of a sliding window, or
        those since the chunk began.

    Examples
    --------
    >>> float(visible_tokens(8193, window=Window(n_tokens=8192, is_chunked=True)))
    1.0
    """
    if window is None:
        return context_tokens
    if window.is_chunked:
        return np.where(
            np.asarray(context_tokens) > 0,
            np.mod(np.asarray(context_tokens) - 1.0, window.n_tokens) + 1,
            0.0,
        )
    return np.minimum(context_tokens, float(window.n_tokens))


def sparse_tokens(context_tokens: Floats, *, indexer: Indexer | None) -> Floats:
    """Return how many tokens a query attends to after the sparse indexer has chosen.

    Parameters
    ----------
    context_tokens : float or ndarray
        Length of the context, a count.
    indexer : Indexer or None
        The indexer; None reads everything.

    Returns
    -------
    float or ndarray
        Tokens attended to, a count.
    """
    if indexer is None:
        return context_tokens
    return np.minimum(context_tokens, float(indexer.top_k))


def score_pairs(n_tokens: Floats, *, past_tokens: Floats, window: Window | None = None) -> Floats:
    r"""Return the pairs of query and key of a causal chunk.

    Parameters
    ----------
    n_tokens : float or ndarray
        New tokens of the chunk, a count.
    past_tokens : float or ndarray
        Tokens of the same sequence already cached, a count.
    window : Window or None
        Local attention of the layer.

    Returns
    -------
    float or ndarray
        Pairs that are scored, each new token with itself included, a count.

    Notes
    -----
    The sum of `visible_tokens` over the new positions, as the difference of
    :math:`S(p + n) - S(p)` with, for a context of :math:`x` tokens, a window of
    :math:`w`, :math:`T(x) = x (x + 1) / 2` and :math:`c = \lfloor x / w \rfloor`:

    .. math:: S(x) = T(x), \quad T(\min(x, w)) + w \max(x - w, 0), \quad c T(w) + T(x - c w)

    for full, sliding and chunked attention.
    """
    end = np.asarray(past_tokens, dtype=np.float64) + n_tokens
    return _pairs_up_to(end, window) - _pairs_up_to(np.asarray(past_tokens, np.float64), window)


def _pairs_up_to(context_tokens: Floats, window: Window | None) -> Floats:
    if window is None:
        return _triangle(context_tokens)
    width = float(window.n_tokens)
    if window.is_chunked:
        n_chunks = np.floor(context_tokens / width)
        return n_chunks * _triangle(width) + _triangle(context_tokens - n_chunks * width)
    inside = np.minimum(context_tokens, width)
    return _triangle(inside) + width * (context_tokens - inside)


def _triangle(n: Floats) -> Floats:
    return n * (n + 1) / 2


def mla_decode_work(
    kv_tokens: Floats, *, mla: LatentAttention, tp: int, kv_dtype: str, query_tokens: int = 1
) -> Work:
    r"""Return the work of absorbed latent attention in one layer, on one rank.

    Parameters
    ----------
    kv_tokens : float or ndarray
        Cached tokens attended to, summed over the sequences of the rank, a count.
    mla : LatentAttention
        The attention.
    tp : int
        Ranks that share the heads, a count; each reads the whole cache.
    kv_dtype : str
        Format of the cache.
    query_tokens : int
        Tokens per sequence that query at once, a count; above one when drafts are verified.

    Returns
    -------
    Work
        FLOP of scores and values, bytes of the cache.

    Notes
    -----
    With :math:`H` heads, :math:`S` cached tokens, :math:`q` query tokens, latent width
    :math:`d_c` and rotary width :math:`d_r`:

    .. math:: F = 2 q S H (2 d_c + d_r), \quad Q = S (d_c + d_r) b_{kv}

    The cache is read once for all heads and query tokens, which is what the measured
    kernels do [1]_.

    References
    ----------
    .. [1] Fits of the MLA kernel tables of aiconfigurator-core 0.12.0 (Apache-2.0), as
       shipped in scenarios/calibration/kernels.
    """
    heads, _ = shard_heads(mla, tp=tp)
    flop_per_token = 2 * query_tokens * heads * (mla.kv_dim + mla.kv_lora_rank)
    return Work(
        tensor_flop=kv_tokens * float(flop_per_token),
        hbm_bytes=kv_tokens * (mla.kv_dim * kv_element_bytes(kv_dtype)),
    )


def mla_prefill_work(
    n_tokens: Floats, *, pairs: Floats, mla: LatentAttention, tp: int, kv_dtype: str
) -> Work:
    r"""Return the work of expanded latent attention in one layer, on one rank.

    Parameters
    ----------
    n_tokens : float or ndarray
        New tokens of the chunks, a count.
    pairs : float or ndarray
        Scored pairs of all chunks, a count (`score_pairs`).
    mla : LatentAttention
        The attention.
    tp : int
        Ranks that share the heads, a count.
    kv_dtype : str
        Format of the cache that the new tokens are written to.

    Returns
    -------
    Work
        FLOP of scores and values; bytes of queries, keys, values and results in bf16, and
        of the cache entries written.

    Notes
    -----
    With :math:`P` pairs and widths per head :math:`d_{qk}, d_v`:

    .. math:: F = 2 P H (d_{qk} + d_v), \quad Q = 2 \cdot 2 n H (d_{qk} + d_v) + n d_{kv} b_{kv}
    """
    heads, _ = shard_heads(mla, tp=tp)
    width = heads * (mla.qk_dim + mla.v_dim)
    bytes_per_token = 2 * _BF16_BYTES * width + mla.kv_dim * kv_element_bytes(kv_dtype)
    return Work(tensor_flop=pairs * float(2 * width), hbm_bytes=n_tokens * bytes_per_token)


def gqa_decode_work(
    kv_tokens: Floats,
    *,
    gqa: GroupedQueryAttention,
    tp: int,
    kv_dtype: str,
    query_tokens: int = 1,
) -> Work:
    r"""Return the work of grouped-query attention on cached tokens, in one layer, on one rank.

    Parameters
    ----------
    kv_tokens : float or ndarray
        Cached tokens attended to, summed over the sequences of the rank, a count
        (`visible_tokens` of each).
    gqa : GroupedQueryAttention
        The attention.
    tp : int
        Ranks that share the heads, a count.
    kv_dtype : str
        Format of the cache.
    query_tokens : int
        Tokens per sequence that query at once, a count.

    Returns
    -------
    Work
        FLOP of scores and values, bytes of the rank's share of the cache.

    Notes
    -----
    .. math:: F = 4 q S H d, \quad Q = 2 S H_{kv} d b_{kv}

    with :math:`H` and :math:`H_{kv}` the heads of the rank and :math:`d` their width.
    """
    heads, kv_heads = shard_heads(gqa, tp=tp)
    flop_per_token = 2 * 2 * query_tokens * heads * gqa.head_dim
    cached_width = 2 * kv_heads * gqa.head_dim
    return Work(
        tensor_flop=kv_tokens * float(flop_per_token),
        hbm_bytes=kv_tokens * (cached_width * kv_element_bytes(kv_dtype)),
    )


def gqa_prefill_work(
    n_tokens: Floats, *, pairs: Floats, gqa: GroupedQueryAttention, tp: int, kv_dtype: str
) -> Work:
    r"""Return the work of grouped-query attention on new tokens, in one layer, on one rank.

    Parameters
    ----------
    n_tokens : float or ndarray
        New tokens of the chunks, a count.
    pairs : float or ndarray
        Scored pairs of all chunks, a count (`score_pairs`).
    gqa : GroupedQueryAttention
        The attention.
    tp : int
        Ranks that share the heads, a count.
    kv_dtype : str
        Format of the cache that the new tokens are written to.

    Returns
    -------
    Work
        FLOP of scores and values; bytes of queries, keys, values and results in bf16, and
        of the cache entries written.

    Notes
    -----
    .. math:: F = 4 P H d, \quad Q = 2 n d (2 H + 2 H_{kv}) + 2 n H_{kv} d b_{kv}
    """
    heads, kv_heads = shard_heads(gqa, tp=tp)
    moved_width = 2 * (heads + kv_heads) * gqa.head_dim
    cached_width = 2 * kv_heads * gqa.head_dim
    bytes_per_token = _BF16_BYTES * moved_width + cached_width * kv_element_bytes(kv_dtype)
    return Work(
        tensor_flop=pairs * float(2 * 2 * heads * gqa.head_dim),
        hbm_bytes=n_tokens * bytes_per_token,
    )


def index_work(kv_tokens: Floats, *, pairs: Floats, indexer: Indexer) -> Work:
    r"""Return the work of the sparse indexer's scores in one layer, on one rank.

    Every rank scores the whole context, so the work is not shared.

    Parameters
    ----------
    kv_tokens : float or ndarray
        Cached index keys read, summed over the sequences of the rank, a count.
    pairs : float or ndarray
        Pairs of query token and key, a count; equal to `kv_tokens` in plain decode.
    indexer : Indexer
        The indexer.

    Returns
    -------
    Work
        FLOP of the index scores, bytes of the fp8 index keys with their scales.

    Notes
    -----
    .. math:: F = 2 P H_I d_I, \quad Q = S (d_I + 4)

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V3.2," arXiv:2512.02556, section 2 (lightning indexer).
    """
    return Work(
        tensor_flop=pairs * float(2 * indexer.n_heads * indexer.head_dim),
        hbm_bytes=kv_tokens * index_key_bytes(indexer),
    )
