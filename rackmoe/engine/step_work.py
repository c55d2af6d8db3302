"""How many FLOP and HBM bytes a step asks of all GPUs, by the peak that bounds them."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.compute.bounds import peak_key
from rackmoe.engine.dense_work import AttentionLoad, DenseWork
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.costs import Work, expert_work
from rackmoe.routing.step import StepRouting
from rackmoe.serving.batching import StepBatch

__all__ = ["StepSum", "StepWork"]

_PEAKS = ("bf16", "fp8", "fp4")


class StepSum:
    """FLOP by the peak that bounds them, and HBM bytes.

    Attributes
    ----------
    by_peak_flop : ndarray of shape (3,)
        At the 16-, 8- and 4-bit peak. [FLOP]
    hbm_bytes : float
        Traffic. [B]
    """

    def __init__(self) -> None:
        self.by_peak_flop = np.zeros(len(_PEAKS))
        self.hbm_bytes = 0.0

    def add(self, work: Work, *, dtype: str, n_times: float) -> None:
        """Add the work of an operator.

        Parameters
        ----------
        work : Work
            FLOP and bytes of one.
        dtype : str
            Format that it computes in.
        n_times : float
            How often it is done, a count.
        """
        self.by_peak_flop[_PEAKS.index(peak_key(dtype))] += n_times * float(work.tensor_flop)
        self.hbm_bytes += n_times * float(work.hbm_bytes)


class StepWork:
    """The work of the steps of one pool.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    dense : DenseWork
        Everything but the routed experts.
    tp : int
        GPUs of an attention group.
    n_expert_copies : int
        Ranks that each compute the routed work of one expert rank.
    expert_inter : int
        Width of a routed expert on one rank.
    """

    def __init__(
        self,
        arch: ModelArchitecture,
        *,
        dense: DenseWork,
        tp: int,
        n_expert_copies: int,
        expert_inter: int,
    ) -> None:
        self._arch = arch
        self._dense = dense
        self._tp = tp
        self._n_copies = n_expert_copies
        self._inter = expert_inter

    def total(
        self,
        batch: StepBatch,
        *,
        chunks: AttentionLoad | None,
        routed: StepRouting,
        logits: NDArray[np.int64],
    ) -> StepSum:
        """Return the work of a step over all GPUs.

        Parameters
        ----------
        batch : StepBatch
            The step.
        chunks : AttentionLoad or None
            Its prompts.
        routed : StepRouting
            Its expert loads.
        logits : ndarray of shape (n_groups,), int64
            Tokens of each attention group that go through the head.

        Returns
        -------
        StepSum
            FLOP and HBM bytes.
        """
        arch, dense, tp = self._arch, self._dense, self._tp
        dtypes = arch.dtypes
        rows = batch.decode_sequences + batch.prefill_tokens
        n_moe, n_dense = len(arch.moe_layers), len(arch.dense_layers)
        total = StepSum()
        projections = dense.projection_work(batch, chunks=chunks)
        total.add(projections, dtype=dtypes.attention, n_times=tp * arch.n_layers)
        total.add(dense.score_work(batch, chunks=chunks), dtype=dense.kv_dtype, n_times=tp)
        total.add(dense.shared.work(rows), dtype=dtypes.shared_expert, n_times=tp * n_moe)
        total.add(dense.dense.work(rows), dtype=dtypes.dense, n_times=tp * n_dense)
        total.add(dense.router.work(rows), dtype=dtypes.router, n_times=tp * n_moe)
        total.add(dense.head.work(logits), dtype=dtypes.head, n_times=tp)
        experts = expert_work(
            float(routed.rank_assignments.sum()) * self._n_copies,
            active_experts=float(routed.active_experts.sum()) * self._n_copies,
            hidden=arch.hidden,
            inter=self._inter,
            dtype=dtypes.routed_expert,
        )
        total.add(experts, dtype=dtypes.routed_expert, n_times=1.0)
        return total
