"""What an engine asks of any source of operator times: laws, or a table of measured times."""

from typing import Protocol

from rackmoe.compute.bounds import Floats

__all__ = ["OperatorTimes"]


class OperatorTimes(Protocol):
    """A source of operator times.

    `operators.OperatorLaws` is one; a table of a user's measured times can be another.
    Every method takes counts as floats or arrays of any shapes that broadcast.
    """

    def gemm_time_s(self, m: Floats, *, n: int, k: int, dtype: str, batch: int = 1) -> Floats:
        """Return the duration of a matrix product of m rows. [s]"""

    def grouped_gemm_time_s(
        self,
        assignments: Floats,
        *,
        active_experts: Floats,
        hidden: int,
        inter: int,
        dtype: str,
        n_local_experts: int,
        tokens: Floats | None = None,
    ) -> Floats:
        """Return the duration of a rank's routed experts. [s]"""

    def mla_decode_time_s(
        self,
        n_sequences: Floats,
        *,
        kv_tokens: Floats,
        heads: int,
        kv_dtype: str,
        query_tokens: int = 1,
    ) -> Floats:
        """Return the duration of latent attention to cached tokens. [s]"""

    def mla_prefill_time_s(
        self,
        n_tokens: Floats,
        *,
        score_pairs: Floats,
        heads: int,
        kv_dtype: str,
        n_sequences: Floats = 1.0,
    ) -> Floats:
        """Return the duration of latent attention among new tokens. [s]"""

    def gqa_decode_time_s(
        self,
        n_sequences: Floats,
        *,
        kv_tokens: Floats,
        heads: int,
        kv_heads: int,
        head_dim: int,
        kv_dtype: str,
        query_tokens: int = 1,
    ) -> Floats:
        """Return the duration of grouped-query attention to cached tokens. [s]"""

    def gqa_prefill_time_s(
        self,
        n_tokens: Floats,
        *,
        score_pairs: Floats,
        heads: int,
        kv_heads: int,
        head_dim: int,
        kv_dtype: str,
        n_sequences: Floats = 1.0,
    ) -> Floats:
        """Return the duration of grouped-query attention among new tokens. [s]"""

    def attention_floor_s(self, n_tokens: Floats, *, dtype: str, phase: str) -> Floats:
        """Return what an attention module costs besides kernel and products. [s]"""

    def elementwise_time_s(self, n_bytes: Floats) -> Floats:
        """Return the duration of a pass over activations of so many bytes. [s]"""
