"""What an attention group computes for its own tokens: everything but the routed experts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.compute.attention_steps import AttentionOfSteps
from rackmoe.compute.operators import OperatorLaws
from rackmoe.engine.prompt_pairs import PromptPairs
from rackmoe.engine.token_table import TokenTable
from rackmoe.model.architecture import LatentAttention, ModelArchitecture
from rackmoe.model.attention import (
    gqa_decode_work,
    gqa_prefill_work,
    layer_groups,
    mla_decode_work,
    mla_prefill_work,
    sparse_tokens,
)
from rackmoe.model.costs import (
    Gemm,
    Work,
    attention_gemms,
    dense_gemms,
    head_gemm,
    mtp_gemm,
    router_gemm,
    shared_expert_gemms,
)
from rackmoe.serving.batching import StepBatch

__all__ = ["AttentionLoad", "DenseWork"]

_DECODE_ONLY = ("q_absorb", "v_absorb")
_PREFILL_ONLY = ("kv_b",)
# A block reads and writes the residual stream twice (attention, feed-forward) and writes the
# two normalized copies: six passes over the hidden vectors in bf16.
_RESIDUAL_PASSES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLoad:
    """Prompt chunks of a step as one number for each attention group.

    Attributes
    ----------
    tokens : ndarray of shape (n_groups,)
        New prompt tokens.
    kv_tokens : ndarray of shape (n_groups,)
        Prompt tokens that these attend to: new and cached.
    pairs : ndarray of shape (n_classes, n_groups)
        Scored pairs for each class of layers.
    n_chunks : ndarray of shape (n_groups,)
        Prompt pieces.
    """

    tokens: NDArray[np.int64]
    kv_tokens: NDArray[np.int64]
    pairs: NDArray[np.float64]
    n_chunks: NDArray[np.int64]


class DenseWork:
    """Durations and work of attention, dense layers, shared experts, router and head.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    laws : OperatorLaws
        Operator laws of the GPU and backend.
    tp : int
        GPUs that share an attention group.
    kv_dtype : str
        Format of the KV cache.
    max_rows : int
        Tokens that one attention group computes at most in a step.
    is_free : bool
        Whether operators take no time.

    Attributes
    ----------
    kv_dtype : str
        Format of the KV cache.
    class_of_layer : tuple of int
        Index of each layer's class of attention.
    """

    def __init__(
        self,
        arch: ModelArchitecture,
        *,
        laws: OperatorLaws,
        tp: int,
        kv_dtype: str,
        max_rows: int,
        is_free: bool = False,
    ) -> None:
        self._arch = arch
        self._laws = laws
        self._tp = tp
        self.kv_dtype = kv_dtype
        self._windows = [group.window for group in layer_groups(arch)]
        self.class_of_layer = tuple(self._windows.index(w) for w in arch.layers.windows)
        self._pairs = PromptPairs(self._windows)
        decode = attention_gemms(arch, tp=tp, phase="decode")
        prefill = attention_gemms(arch, tp=tp, phase="prefill")

        def table(gemms: Sequence[Gemm]) -> TokenTable:
            return TokenTable(gemms, laws=laws, max_rows=max_rows)

        self.projections = table([g for g in decode if g.name not in _DECODE_ONLY])
        self.absorb = table([g for g in decode if g.name in _DECODE_ONLY])
        self._expand = [g for g in prefill if g.name in _PREFILL_ONLY]
        # its rows are all tokens of a prompt, too many for a table of times
        self._expansion = TokenTable(self._expand, laws=laws, max_rows=0)
        self.dense = table(dense_gemms(arch, tp=tp))
        self.shared = table(shared_expert_gemms(arch, tp=tp))
        self.router = table([router_gemm(arch)])
        self.head = table([head_gemm(arch, tp=tp)])
        self.draft_head = table([mtp_gemm(arch), head_gemm(arch, tp=tp)])
        self._decoding = AttentionOfSteps(
            laws.attention_decode(arch.attention, tp=tp, kv_dtype=kv_dtype),
            is_windowed=np.array([window is not None for window in self._windows]),
        )
        self._prefill_law = laws.attention_prefill(arch.attention, tp=tp, kv_dtype=kv_dtype)
        self._is_timed = not is_free
        self._residual_bytes = _RESIDUAL_PASSES * arch.hidden * 2.0
        rows = np.arange(max_rows + 1, dtype=np.float64)
        residual_s = laws.elementwise_time_s(rows * self._residual_bytes)
        projection_s = self.projections.time_s(np.arange(max_rows + 1))
        dtype = arch.dtypes.attention
        self._block_s = {
            phase: projection_s
            + (residual_s + laws.attention_floor_s(rows, dtype=dtype, phase=phase))
            for phase in ("decode", "prefill")
        }
        self._has_absorb = bool(self.absorb.time_s(np.arange(max_rows + 1)).any())

    def chunks(self, batch: StepBatch) -> AttentionLoad | None:
        """Sum the prompt chunks of a step by attention group.

        Parameters
        ----------
        batch : StepBatch
            The step.

        Returns
        -------
        AttentionLoad or None
            None if the step holds no prompts.
        """
        if not batch.chunks:
            return None
        chunks = np.array([(c.group, c.n_tokens, c.past_tokens) for c in batch.chunks])
        pairs, kv_tokens, n_chunks = self._pairs.sums(chunks, n_groups=len(batch.prefill_tokens))
        return AttentionLoad(
            tokens=batch.prefill_tokens, kv_tokens=kv_tokens, pairs=pairs, n_chunks=n_chunks
        )

    def attention_time_s(
        self, batch: StepBatch, *, chunks: AttentionLoad | None
    ) -> NDArray[np.float64]:
        """Return the duration of the attention kernels in one layer of each class.

        Parameters
        ----------
        batch : StepBatch
            The step.
        chunks : AttentionLoad or None
            Its prompts.

        Returns
        -------
        ndarray of shape (n_classes, n_groups)
            Durations. [s]
        """
        sequences = batch.decode_sequences
        time_s = self._decoding.time_s(
            sequences,
            kv_tokens=self._seen(sequences, batch.decode_kv_tokens),
            window_tokens=self._seen(sequences, batch.decode_window_tokens),
            query_tokens=batch.tokens_per_sequence,
        )
        if chunks is not None:
            time_s += self._prefill_law(
                chunks.tokens.astype(np.float64),
                chunks.pairs,
                np.maximum(chunks.n_chunks, 1).astype(np.float64),
            )
        return time_s if self._is_timed else 0.0 * time_s

    def _seen(
        self, sequences: NDArray[np.int64], kv_tokens: NDArray[np.int64]
    ) -> NDArray[np.int64] | NDArray[np.float64]:
        """Return the tokens that sparse attention reads; all of them without an indexer."""
        attention = self._arch.attention
        indexer = attention.indexer if isinstance(attention, LatentAttention) else None
        if indexer is None:
            return kv_tokens
        mean = kv_tokens / np.maximum(sequences, 1)
        return np.asarray(sequences * sparse_tokens(mean, indexer=indexer), np.float64)

    def projection_time_s(
        self, batch: StepBatch, *, chunks: AttentionLoad | None
    ) -> NDArray[np.float64]:
        """Return the duration of projections, norms and residual passes in one layer.

        Parameters
        ----------
        batch : StepBatch
            The step.
        chunks : AttentionLoad or None
            Its prompts.

        Returns
        -------
        ndarray of shape (n_groups,)
            Durations. [s]
        """
        decoded = batch.decode_tokens
        time_s: NDArray[np.float64]
        if chunks is None:
            time_s = self._block_s["decode"][decoded]
        else:
            time_s = self._block_s["prefill"][decoded + batch.prefill_tokens]
        if self._has_absorb:
            time_s += self.absorb.time_s(decoded)
        if chunks is not None:
            for gemm in self._expand:
                expand_s = self._laws.gemm_time_s(
                    chunks.kv_tokens.astype(np.float64), n=gemm.n, k=gemm.k, dtype=gemm.dtype
                )
                time_s += np.where(chunks.kv_tokens > 0, expand_s, 0.0)
        return time_s

    def projection_work(self, batch: StepBatch, *, chunks: AttentionLoad | None) -> Work:
        """Return the work of projections and residual passes of one layer, one GPU per group.

        Parameters
        ----------
        batch : StepBatch
            The step.
        chunks : AttentionLoad or None
            Its prompts.

        Returns
        -------
        Work
            FLOP and HBM bytes.
        """
        rows = batch.decode_tokens + batch.prefill_tokens
        moved = Work(tensor_flop=0.0, hbm_bytes=self._residual_bytes * float(rows.sum()))
        work = self.projections.work(rows) + self.absorb.work(batch.decode_tokens) + moved
        return work if chunks is None else work + self._expansion.work(chunks.kv_tokens)

    def score_work(self, batch: StepBatch, *, chunks: AttentionLoad | None) -> Work:
        """Return the work of the attention kernels of all layers, one GPU per group.

        Parameters
        ----------
        batch : StepBatch
            The step.
        chunks : AttentionLoad or None
            Its prompts.

        Returns
        -------
        Work
            FLOP and HBM bytes.
        """
        total = Work(tensor_flop=0.0, hbm_bytes=0.0)
        for index, window in enumerate(self._windows):
            kv = batch.decode_kv_tokens if window is None else batch.decode_window_tokens
            read = self._decode_work(float(kv.sum()))
            work = Work(
                tensor_flop=read.tensor_flop * batch.tokens_per_sequence,
                hbm_bytes=read.hbm_bytes,
            )
            if chunks is not None:
                pairs = float(chunks.pairs[index].sum())
                work = work + self._prefill_work(float(chunks.tokens.sum()), pairs)
            count = self.class_of_layer.count(index)
            total = total + Work(
                tensor_flop=count * float(work.tensor_flop),
                hbm_bytes=count * float(work.hbm_bytes),
            )
        return total

    def _decode_work(self, kv_tokens: float) -> Work:
        attention = self._arch.attention
        if isinstance(attention, LatentAttention):
            return mla_decode_work(kv_tokens, mla=attention, tp=self._tp, kv_dtype=self.kv_dtype)
        return gqa_decode_work(kv_tokens, gqa=attention, tp=self._tp, kv_dtype=self.kv_dtype)

    def _prefill_work(self, n_tokens: float, pairs: float) -> Work:
        attention = self._arch.attention
        if isinstance(attention, LatentAttention):
            return mla_prefill_work(
                n_tokens, pairs=pairs, mla=attention, tp=self._tp, kv_dtype=self.kv_dtype
            )
        return gqa_prefill_work(
            n_tokens, pairs=pairs, gqa=attention, tp=self._tp, kv_dtype=self.kv_dtype
        )
