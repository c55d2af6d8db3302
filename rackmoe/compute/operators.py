"""How long each operator of a serving engine takes on a GPU."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from rackmoe.backend.operators import OperatorConstants
from rackmoe.compute.attention import (
    Attention,
    AttentionDecodeLaw,
    AttentionPrefillLaw,
    attention_decode_law,
    attention_prefill_law,
)
from rackmoe.compute.attention_shapes import grouped_query, latent_attention
from rackmoe.compute.bounds import Floats
from rackmoe.compute.gemm import GemmLaw, gemm_law
from rackmoe.compute.grouped_gemm import ExpertShape, GroupedGemmLaw, grouped_gemm_law
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Gpu
from rackmoe.model.architecture import LatentAttention
from rackmoe.model.costs import Gemm

__all__ = ["OperatorLaws"]

L = TypeVar("L")


class OperatorLaws:
    """Closed-form operator times of one engine on one GPU; `times.OperatorTimes`.

    The methods look the law of a shape up and evaluate it. A caller that evaluates one
    shape often can keep the law itself: `gemm`, `grouped_gemm`, `attention_decode` and
    `attention_prefill` return functions of the load, which also tell the work.

    Parameters
    ----------
    gpu : Gpu
        The GPU.
    constants : OperatorConstants
        How well the engine's kernels do on it.
    """

    def __init__(self, gpu: Gpu, constants: OperatorConstants) -> None:
        self._gpu = gpu
        self._constants = constants
        self._laws: dict[Hashable, Any] = {}

    def gemm(self, *, n: int, k: int, dtype: str, batch: int = 1) -> GemmLaw:
        """Return the law of a matrix product.

        Parameters
        ----------
        n, k, batch : int
            Columns, length of the sums and independent products, counts.
        dtype : str
            Format of the weights.

        Returns
        -------
        GemmLaw
            A function of the rows.
        """
        return self._law(
            ("gemm", n, k, dtype, batch),
            lambda: gemm_law(
                self._gpu,
                constants=self._entry("gemm", dtype),
                gemm=Gemm(name="product", n=n, k=k, dtype=dtype, batch=batch),
            ),
        )

    def grouped_gemm(
        self, *, hidden: int, inter: int, dtype: str, n_local_experts: int, split: int = 1
    ) -> GroupedGemmLaw:
        """Return the law of a rank's routed experts.

        Parameters
        ----------
        hidden, inter, dtype, n_local_experts, split : int or str
            As in `grouped_gemm.ExpertShape`.

        Returns
        -------
        GroupedGemmLaw
            A function of assignments and active experts.
        """
        return self._law(
            ("grouped_gemm", hidden, inter, dtype, n_local_experts, split),
            lambda: grouped_gemm_law(
                self._gpu,
                constants=self._entry("grouped_gemm", dtype),
                shape=ExpertShape(
                    hidden=hidden,
                    inter=inter,
                    dtype=dtype,
                    n_local_experts=n_local_experts,
                    split=split,
                ),
            ),
        )

    def attention_decode(
        self, attention: Attention, *, tp: int = 1, kv_dtype: str
    ) -> AttentionDecodeLaw:
        """Return the law of attention to cached tokens in one layer.

        Parameters
        ----------
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
        operator = "mla_decode" if isinstance(attention, LatentAttention) else "gqa_decode"
        return self._law(
            (operator, attention, tp, kv_dtype),
            lambda: attention_decode_law(
                self._gpu,
                constants=self._entry(operator, kv_dtype),
                attention=attention,
                tp=tp,
                kv_dtype=kv_dtype,
            ),
        )

    def attention_prefill(
        self, attention: Attention, *, tp: int = 1, kv_dtype: str
    ) -> AttentionPrefillLaw:
        """Return the law of attention among new tokens in one layer.

        Parameters
        ----------
        attention, tp, kv_dtype : LatentAttention or GroupedQueryAttention, int and str
            As for `attention_decode`.

        Returns
        -------
        AttentionPrefillLaw
            A function of new tokens and scored pairs.
        """
        operator = "mla_prefill" if isinstance(attention, LatentAttention) else "gqa_prefill"
        return self._law(
            (operator, attention, tp, kv_dtype),
            lambda: attention_prefill_law(
                self._gpu,
                constants=self._entry(operator, kv_dtype),
                attention=attention,
                tp=tp,
                kv_dtype=kv_dtype,
            ),
        )

    def gemm_time_s(self, m: Floats, *, n: int, k: int, dtype: str, batch: int = 1) -> Floats:
        """Return the duration of a matrix product.

        Parameters
        ----------
        m : float or ndarray
            Rows, a count of any shape.
        n, k, dtype, batch : int or str
            As for `gemm`.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no rows. [s]
        """
        return self._timed(self.gemm(n=n, k=k, dtype=dtype, batch=batch)(m))

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
        """Return the duration of the routed experts of each rank.

        Parameters
        ----------
        assignments, active_experts : float or ndarray
            Pairs of token and expert, and experts with at least one, counts per rank.
        hidden, inter, dtype, n_local_experts : int or str
            As for `grouped_gemm`.
        tokens : float or ndarray, optional
            Tokens that the kernel is given, a count; one per assignment where omitted.
        split : int
            Ranks that share the width of an expert, a count.

        Returns
        -------
        float or ndarray
            Duration. [s]
        """
        law = self.grouped_gemm(
            hidden=hidden,
            inter=inter,
            dtype=dtype,
            n_local_experts=n_local_experts,
            split=split,
        )
        return self._timed(law(assignments, active_experts, tokens))

    def mla_decode_time_s(
        self,
        n_sequences: Floats,
        *,
        kv_tokens: Floats,
        heads: int,
        kv_dtype: str,
        query_tokens: int = 1,
    ) -> Floats:
        """Return the duration of DeepSeek's latent attention to cached tokens.

        Parameters
        ----------
        n_sequences, kv_tokens : float or ndarray
            Sequences, and their cached tokens in sum, counts of any shape.
        heads : int
            Query heads of the rank, a count.
        kv_dtype : str
            Format of the cache.
        query_tokens : int
            Tokens per sequence that query at once, a count.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no sequences. [s]
        """
        law = self.attention_decode(latent_attention(heads), kv_dtype=kv_dtype)
        return self._timed(law(n_sequences, kv_tokens, query_tokens))

    def mla_prefill_time_s(
        self,
        n_tokens: Floats,
        *,
        score_pairs: Floats,
        heads: int,
        kv_dtype: str,
        n_sequences: Floats = 1.0,
    ) -> Floats:
        """Return the duration of DeepSeek's latent attention among new tokens.

        Parameters
        ----------
        n_tokens, score_pairs : float or ndarray
            New tokens and scored pairs of all chunks, counts of any shape.
        heads, kv_dtype : int and str
            As for `mla_decode_time_s`.
        n_sequences : float or ndarray
            Chunks, a count.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no tokens. [s]
        """
        law = self.attention_prefill(latent_attention(heads), kv_dtype=kv_dtype)
        return self._timed(law(n_tokens, score_pairs, n_sequences))

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
        """Return the duration of grouped-query attention to cached tokens.

        Parameters
        ----------
        n_sequences, kv_tokens, kv_dtype, query_tokens : float, ndarray or str
            As for `mla_decode_time_s`, counts; of windowed layers the visible tokens.
        heads, kv_heads, head_dim : int
            Heads of the rank and their width, counts.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no sequences. [s]
        """
        shape = grouped_query(heads, kv_heads=kv_heads, head_dim=head_dim)
        law = self.attention_decode(shape, kv_dtype=kv_dtype)
        return self._timed(law(n_sequences, kv_tokens, query_tokens))

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
        """Return the duration of grouped-query attention among new tokens.

        Parameters
        ----------
        n_tokens, score_pairs, kv_dtype, n_sequences : float, ndarray or str
            As for `mla_prefill_time_s`, counts.
        heads, kv_heads, head_dim : int
            Heads of the rank and their width, counts.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no tokens. [s]
        """
        shape = grouped_query(heads, kv_heads=kv_heads, head_dim=head_dim)
        law = self.attention_prefill(shape, kv_dtype=kv_dtype)
        return self._timed(law(n_tokens, score_pairs, n_sequences))

    def attention_floor_s(self, n_tokens: Floats, *, dtype: str, phase: str) -> Floats:
        """Return what an attention module costs besides its kernel and its products.

        Parameters
        ----------
        n_tokens : float or ndarray
            Tokens of the step, a count of any shape.
        dtype : str
            Format of the module's weights.
        phase : {"decode", "prefill"}
            Which measured modules to go by.

        Returns
        -------
        float or ndarray
            Duration; zero where there are no tokens. [s]
        """
        module = self._entry(f"{phase}_module", dtype)
        floor: Floats = (module.floor_s + n_tokens * module.token_s) * np.greater(n_tokens, 0)
        return self._timed(floor)

    def elementwise_time_s(self, n_bytes: Floats) -> Floats:
        """Return the duration of a pass over activations.

        Parameters
        ----------
        n_bytes : float or ndarray
            Bytes read and written. [B]

        Returns
        -------
        float or ndarray
            Duration; zero where there are no bytes. [s]
        """
        constants = self._constants.elementwise
        rate = constants.hbm_efficiency * self._gpu.hbm_bandwidth_bytes_per_s
        duration: Floats = (constants.launch_s + n_bytes / rate) * np.greater(n_bytes, 0)
        return self._timed(duration)

    def _timed(self, duration_s: Floats) -> Floats:
        return duration_s * 0.0 if self._constants.is_free else duration_s

    def _law(self, key: Hashable, build: Callable[[], L]) -> L:
        law: L | None = self._laws.get(key)
        if law is None:
            law = self._laws[key] = build()
        return law

    def _entry(self, operator: str, dtype: str) -> Any:  # noqa: ANN401  one class per operator
        entries = getattr(self._constants, operator)
        if dtype not in entries:
            raise ConfigError(
                f"{operator}: {dtype}: no constants for {self._constants.name}; "
                f"expected one of {', '.join(entries) or 'none'}; choose another format or backend"
            )
        return entries[dtype]
