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
        """Return the duration [s] of a matrix product of m rows."""

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
        split: int = 1,
    ) -> Floats:
        """Return the duration [s] of a rank's routed experts."""

    def mla_decode_time_s(
        self,
        n_sequences: Floats,
        *,
        kv_tokens: Floats,
        heads: int,
        kv_dtype: str,
        query_tokens: int = 1,
    ) -> Floats:
        """Return the duration [s] of latent attention to cached tokens."""

    def mla_prefill_time_s(
        self,
        n_tokens: Floats,
        *,
        score_pairs: Floats,
        heads: int,
        kv_dtype: str,
        n_sequences: Floats = 1.0,
    ) -> Floats:
        """Return the duration [s] of latent attention among new tokens."""

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
        """Return the duration [s] of grouped-query attention to cached tokens."""

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
        """Return the duration [s] of grouped-query attention among new tokens."""

    def attention_floor_s(self, n_tokens: Floats, *, dtype: str, phase: str) -> Floats:
        """Return what an attention module costs [s] besides kernel and products."""

    def elementwise_time_s(self, n_bytes: Floats) -> Floats:
        """Return the duration of a pass over activations.

        Parameters
        ----------
        n_bytes : float or ndarray
            Bytes read and written. [B]

        Returns
        -------
        float or ndarray
            Duration. [s]
        """
