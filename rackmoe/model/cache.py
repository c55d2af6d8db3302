"""How many bytes of key-value cache a token or a sequence takes."""

from rackmoe.model.architecture import Indexer, LatentAttention, ModelArchitecture
from rackmoe.model.costs import shard_heads
from rackmoe.model.dtypes import kv_element_bytes

__all__ = ["index_bytes_per_token", "index_key_bytes", "kv_bytes_per_token", "kv_window_bytes"]

# DeepSeek-V3.2 keeps index keys in fp8 with one fp32 scale per token and layer.
_INDEX_SCALE_BYTES = 4


def kv_bytes_per_token(arch: ModelArchitecture, *, kv_dtype: str, tp: int = 1) -> float:
    """Return the cache that one more token adds on a rank, over all layers.

    Layers with local attention hold a window of bounded size (`kv_window_bytes`) and the
    keys of a sparse indexer come on top (`index_bytes_per_token`).

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    kv_dtype : str
        One of `dtypes.KV_DTYPES`.
    tp : int
        Ranks that share the heads, a count. Each holds the whole cache of latent
        attention, and its share of the heads of grouped-query attention.

    Returns
    -------
    float
        Bytes per token of context. [B]
    """
    n_full_layers = sum(window is None for window in arch.layers.windows)
    return _cached_width(arch, tp=tp) * n_full_layers * kv_element_bytes(kv_dtype)


def kv_window_bytes(arch: ModelArchitecture, *, kv_dtype: str, tp: int = 1) -> float:
    """Return the most that a rank's layers with local attention cache of one sequence.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    kv_dtype : str
        One of `dtypes.KV_DTYPES`.
    tp : int
        Ranks that share the heads, a count.

    Returns
    -------
    float
        Bytes per sequence that fills every window. [B]
    """
    n_tokens = sum(window.n_tokens for window in arch.layers.windows if window is not None)
    return _cached_width(arch, tp=tp) * n_tokens * kv_element_bytes(kv_dtype)


def _cached_width(arch: ModelArchitecture, *, tp: int) -> int:
    """Return the elements that a rank caches per token and layer."""
    if isinstance(arch.attention, LatentAttention):
        return arch.attention.kv_dim
    _, kv_heads = shard_heads(arch.attention, tp=tp)
    return 2 * kv_heads * arch.attention.head_dim


def index_bytes_per_token(arch: ModelArchitecture) -> float:
    """Return the index keys that one more token adds, over all layers.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.

    Returns
    -------
    float
        Bytes per token of context, fp8 keys with one scale each; 0 without indexer. [B]
    """
    if not isinstance(arch.attention, LatentAttention) or arch.attention.indexer is None:
        return 0.0
    return arch.n_layers * index_key_bytes(arch.attention.indexer)


def index_key_bytes(indexer: Indexer) -> float:
    """Return the bytes of the index key of one token in one layer.

    Parameters
    ----------
    indexer : Indexer
        The indexer.

    Returns
    -------
    float
        An fp8 key and its fp32 scale. [B]
    """
    return float(indexer.head_dim + _INDEX_SCALE_BYTES)
