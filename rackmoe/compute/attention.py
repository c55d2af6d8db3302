"""How long attention takes on a GPU, for cached tokens and among new ones."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from rackmoe.backend.operators import AttentionDecodeConstants, AttentionPrefillConstants
from rackmoe.compute.bounds import Floats, join_bounds, peak_flop_per_s
from rackmoe.hardware.machine import Gpu
from rackmoe.model.architecture import GroupedQueryAttention, LatentAttention
from rackmoe.model.attention import (
    gqa_decode_work,
    gqa_prefill_work,
    mla_decode_work,
    mla_prefill_work,
)
from rackmoe.model.costs import Work, shard_heads
from rackmoe.model.dtypes import BITS_PER_BYTE, activation_bits

__all__ = [
    "Attention",
    "AttentionDecodeLaw",
    "AttentionPrefillLaw",
    "attention_decode_law",
    "attention_prefill_law",
]

Attention: TypeAlias = LatentAttention | GroupedQueryAttention

# Query heads that one work tile of absorbed latent attention holds, and queries of one
# head that a prefill tile holds (kind: assumed; source: FlashMLA and FlashAttention-3/4
# kernels, whose tiles are 64 rows of heads and 128 rows of queries).
_HEADS_PER_TILE: Final = 64
_QUERIES_PER_TILE: Final = 128

# Width of the heads of every measured table of grouped-query attention.
_MEASURED_HEAD_DIM: Final = 128
# Exponentials that one SM can compute: 16 a clock, on Hopper and on Blackwell (kind: datasheet;
# source: FlashAttention-3, arXiv 2407.08608, and FlashAttention-4, together.ai/blog, 2026), at
# the 1.85 GHz that their BF16 peaks amount to.
_EXPONENTIALS_PER_SM_S: Final = 16 * 1.85e9

_BF16_BYTES: Final = activation_bits("bf16") / BITS_PER_BYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionDecodeLaw:
    """The duration of attention to cached tokens in one layer.

    Attributes
    ----------
    launch_s : float
        Fixed time of a call. [s]
    sequence_s : float
        Time per sequence and query token: its tiles, its query and its result. [s]
    split_s : float
        Time to merge the parts of a long context. [s]
    split_tokens : float
        Context at which half of `split_s` is paid, a count.
    flop_s : float
        Time per cached token and query token at the achievable FLOP rate. [s]
    byte_s : float
        Time to read one cached token. [s]
    chain_s : float
        Time per token of the mean context when nothing else binds. [s]
    sharpness : float
        Exponent that joins the bounds.
    kv_work, query_work : Work
        What one cached token, and one query token of a sequence, ask of the GPU.
    """

    launch_s: float
    sequence_s: float
    split_s: float
    split_tokens: float
    flop_s: float
    byte_s: float
    chain_s: float
    sharpness: float
    kv_work: Work
    query_work: Work

    def __call__(self, n_sequences: Floats, kv_tokens: Floats, query_tokens: int = 1) -> Floats:
        r"""Return the duration for the sequences of each rank.

        Parameters
        ----------
        n_sequences : float or ndarray
            Sequences in the batch, a count of any shape.
        kv_tokens : float or ndarray
            Cached tokens attended to, summed over the sequences, a count.
        query_tokens : int
            Tokens per sequence that query at once, a count; above one when drafts are
            verified.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no sequences. [s]

        Notes
        -----
        For N sequences of mean context S, F FLOP, Q cache bytes and T tiles on M SMs:

        .. math::

            t = t_0 + \frac{T \tau_t}{M} + \frac{q}{e_q B} + \frac{t_s S}{S + S_0}
                + \left[ \left(\frac{F}{e_f P}\right)^p + \left(\frac{Q}{e_b B}\right)^p
                + (S \tau_k)^p \right]^{1/p}

        A context is split over SMs until merging the parts (:math:`t_s`) costs more than
        it saves, hence the chain :math:`S \tau_k` where few sequences are long.
        """
        context = kv_tokens / np.maximum(n_sequences, 1)
        joined = join_bounds(
            kv_tokens * (query_tokens * self.flop_s),
            second_s=kv_tokens * self.byte_s,
            third_s=context * self.chain_s,
            sharpness=self.sharpness,
        )
        fixed = self.launch_s + self.split_s * (context / (context + self.split_tokens))
        per_query = n_sequences * (query_tokens * self.sequence_s)
        duration: Floats = (fixed + per_query + joined) * np.greater(n_sequences, 0)
        return duration

    def work(self, n_sequences: Floats, *, kv_tokens: Floats, query_tokens: int = 1) -> Work:
        """Return what the sequences of each rank ask of the GPU.

        Parameters
        ----------
        n_sequences, kv_tokens, query_tokens : float or ndarray
            As for the duration, counts.

        Returns
        -------
        Work
            FLOP and HBM bytes.
        """
        return Work(
            tensor_flop=kv_tokens * (query_tokens * self.kv_work.tensor_flop),
            hbm_bytes=kv_tokens * self.kv_work.hbm_bytes
            + n_sequences * (query_tokens * self.query_work.hbm_bytes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPrefillLaw:
    """The duration of attention among new tokens in one layer.

    Attributes
    ----------
    launch_s : float
        Fixed time of a call. [s]
    token_s : float
        Time per token to move its queries, keys, values and results. [s]
    tile_s : float
        Time per tile of queries of all heads, spread over the SMs. [s]
    pair_s : float
        Time per scored pair at the achievable FLOP rate. [s]
    chain_s : float
        Time per token of mean context that one tile needs. [s]
    sharpness : float
        Exponent that joins the bounds.
    token_work, pair_work : Work
        What one new token and one scored pair ask of the GPU.
    """

    launch_s: float
    token_s: float
    tile_s: float
    pair_s: float
    chain_s: float
    sharpness: float
    token_work: Work
    pair_work: Work

    def __call__(self, n_tokens: Floats, score_pairs: Floats, n_sequences: Floats = 1.0) -> Floats:
        r"""Return the duration for the chunks of each rank.

        Parameters
        ----------
        n_tokens : float or ndarray
            New tokens, summed over the chunks, a count of any shape.
        score_pairs : float or ndarray
            Pairs of query and key that are scored (`model.attention.score_pairs`), a
            count.
        n_sequences : float or ndarray
            Chunks, a count: each has a tile of its own, however short it is.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no tokens. [s]

        Notes
        -----
        For F FLOP, q bytes of queries, keys, values and results, T tiles of 128 queries
        on M SMs and mean context S per query:

        .. math::

            t = t_0 + \frac{q}{e_q B} + \left[ \left(\frac{F}{e_f P}\right)^p
                + \left(\frac{T \tau_t}{M}\right)^p + (S \tau_k)^p \right]^{1/p}
        """
        tiles = np.maximum(n_tokens * (1.0 / _QUERIES_PER_TILE), n_sequences)
        context = score_pairs / np.maximum(n_tokens, 1)
        joined = join_bounds(
            score_pairs * self.pair_s,
            second_s=tiles * self.tile_s,
            third_s=context * self.chain_s,
            sharpness=self.sharpness,
        )
        duration: Floats = (self.launch_s + n_tokens * self.token_s + joined) * np.greater(
            n_tokens, 0
        )
        return duration

    def work(self, n_tokens: Floats, *, score_pairs: Floats) -> Work:
        """Return what the chunks of each rank ask of the GPU.

        Parameters
        ----------
        n_tokens, score_pairs : float or ndarray
            As for the duration, counts.

        Returns
        -------
        Work
            FLOP and HBM bytes.
        """
        return Work(
            tensor_flop=score_pairs * self.pair_work.tensor_flop,
            hbm_bytes=n_tokens * self.token_work.hbm_bytes,
        )


def attention_decode_law(
    gpu: Gpu,
    *,
    constants: AttentionDecodeConstants,
    attention: Attention,
    tp: int = 1,
    kv_dtype: str,
) -> AttentionDecodeLaw:
    """Return the law of attention to cached tokens on a GPU.

    Parameters
    ----------
    gpu : Gpu
        The GPU.
    constants : AttentionDecodeConstants
        How well its kernels do, for the kind of attention and the format of the cache.
    attention : LatentAttention or GroupedQueryAttention
        The attention.
    tp : int
        Ranks that share the heads, a count.
    kv_dtype : str
        Format of the cache.

    Returns
    -------
    AttentionDecodeLaw
        A function of sequences and cached tokens.
    """
    peak = peak_flop_per_s(gpu, dtype=kv_dtype)
    bandwidth = gpu.hbm_bandwidth_bytes_per_s
    heads, kv_heads = shard_heads(attention, tp=tp)
    if isinstance(attention, LatentAttention):
        kv_work = mla_decode_work(1.0, mla=attention, tp=tp, kv_dtype=kv_dtype)
        tiles = max(1.0, heads / _HEADS_PER_TILE)
        io_bytes = heads * (attention.kv_dim + attention.kv_lora_rank) * _BF16_BYTES
    else:
        kv_work = gqa_decode_work(1.0, gqa=attention, tp=tp, kv_dtype=kv_dtype)
        tiles = float(kv_heads)
        io_bytes = heads * 2 * attention.head_dim * _BF16_BYTES
    return AttentionDecodeLaw(
        launch_s=constants.launch_s,
        sequence_s=tiles * constants.tile_s / gpu.n_sms
        + io_bytes / (constants.io_efficiency * bandwidth),
        split_s=constants.split_s,
        split_tokens=constants.split_tokens,
        flop_s=float(kv_work.tensor_flop) / (constants.flop_efficiency * peak),
        byte_s=float(kv_work.hbm_bytes) / (constants.hbm_efficiency * bandwidth),
        chain_s=constants.kv_token_s,
        sharpness=constants.sharpness,
        kv_work=kv_work,
        query_work=Work(tensor_flop=0.0, hbm_bytes=io_bytes),
    )


def attention_prefill_law(
    gpu: Gpu,
    *,
    constants: AttentionPrefillConstants,
    attention: Attention,
    tp: int = 1,
    kv_dtype: str,
) -> AttentionPrefillLaw:
    """Return the law of attention among new tokens on a GPU.

    Parameters
    ----------
    gpu : Gpu
        The GPU.
    constants : AttentionPrefillConstants
        How well its kernels do, for the kind of attention and the format of the cache.
    attention : LatentAttention or GroupedQueryAttention
        The attention.
    tp : int
        Ranks that share the heads, a count.
    kv_dtype : str
        Format of the cache.

    Returns
    -------
    AttentionPrefillLaw
        A function of new tokens and scored pairs.
    """
    peak = peak_flop_per_s(gpu, dtype=kv_dtype)
    bandwidth = gpu.hbm_bandwidth_bytes_per_s
    heads, _ = shard_heads(attention, tp=tp)
    kept_s = 0.0
    if isinstance(attention, LatentAttention):
        per_pair = mla_prefill_work(0.0, pairs=1.0, mla=attention, tp=tp, kv_dtype=kv_dtype)
        per_token = mla_prefill_work(1.0, pairs=0.0, mla=attention, tp=tp, kv_dtype=kv_dtype)
    else:
        per_pair = gqa_prefill_work(0.0, pairs=1.0, gqa=attention, tp=tp, kv_dtype=kv_dtype)
        per_token = gqa_prefill_work(1.0, pairs=0.0, gqa=attention, tp=tp, kv_dtype=kv_dtype)
        kept_s = _kept_s(
            heads / (gpu.n_sms * _EXPONENTIALS_PER_SM_S),
            product_s=float(per_pair.tensor_flop) / peak,
            efficiency=constants.flop_efficiency,
            width=attention.head_dim / _MEASURED_HEAD_DIM,
        )
    return AttentionPrefillLaw(
        launch_s=constants.launch_s,
        token_s=float(per_token.hbm_bytes) / (constants.io_efficiency * bandwidth),
        tile_s=heads * constants.tile_s / gpu.n_sms,
        pair_s=float(per_pair.tensor_flop) / (constants.flop_efficiency * peak) + kept_s,
        chain_s=constants.kv_token_s,
        sharpness=constants.sharpness,
        token_work=per_token,
        pair_work=per_pair,
    )


def _kept_s(softmax_s: float, *, product_s: float, efficiency: float, width: float) -> float:
    r"""Return what a scored pair takes beside its products where heads are not of 128.

    Parameters
    ----------
    softmax_s : float
        Time of the exponentials of all heads. [s]
    product_s : float
        Time of the products at the peak. [s]
    efficiency : float
        Share of the peak that was measured at a width of 128.
    width : float
        Width of a head over 128.

    Returns
    -------
    float
        Time; below zero for wider heads. [s]

    Notes
    -----
    The products shrink with the width of a head, its exponential does not. Of what the
    measured kernel takes beyond its products, at most the time of the exponential is kept:

    .. math:: \min(t_{exp}, \frac{t_{product}}{w} (1/e - 1)) (1 - w)
    """
    beyond_s = product_s / width * (1 / efficiency - 1)
    return min(softmax_s, beyond_s) * (1 - width)
