"""How many FLOP and HBM bytes a step asks of all GPUs, by the peak that bounds them."""

from typing import Any, TypeAlias

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

# FLOP by peak, and bytes, of one unit of a load.
_Units: TypeAlias = NDArray[np.float64]

_ONE = np.ones(1, dtype=np.int64)
_BATCH_LOADS = (
    "decode_sequences",
    "decode_kv_tokens",
    "decode_window_tokens",
    "prefill_tokens",
)
_CHUNK_LOADS = ("tokens", "kv_tokens", "pairs", "n_chunks")
_LOADS = (*_BATCH_LOADS, *_CHUNK_LOADS, "logits")


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
        # one row for each load of `total`: FLOP at each peak, and bytes, of one unit
        self._units = np.stack(self._unit_works())

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
        decoded = rows = _sum_and_groups(batch.decode_tokens)
        if chunks is not None:
            rows = _sum_and_groups(batch.decode_tokens + batch.prefill_tokens)
        cached = sum(batch.decode_kv_tokens.tolist())
        in_window = sum(batch.decode_window_tokens.tolist())
        loads = [
            float(np.add.reduce(routed.rank_assignments, axis=None)),
            float(np.add.reduce(routed.active_experts, axis=None)),
            *rows,
            *decoded,
            *_sum_and_groups(logits),
            # every query of a sequence scores its cache, which is read once
            cached * batch.tokens_per_sequence,
            in_window * batch.tokens_per_sequence,
            cached,
            in_window,
        ]
        if chunks is not None:
            loads += [
                float(np.add.reduce(chunks.tokens)),
                *_sum_and_groups(chunks.kv_tokens),
                *np.add.reduce(chunks.pairs, axis=1).tolist(),
            ]
        found = np.array(loads, np.float64) @ self._units[: len(loads)]
        total = StepSum()
        total.by_peak_flop, total.hbm_bytes = found[:-1], float(found[-1])
        return total

    def total_by_operator(
        self,
        batch: StepBatch,
        *,
        chunks: AttentionLoad | None,
        routed: StepRouting,
        logits: NDArray[np.int64],
    ) -> StepSum:
        """Return what `total` returns, operator by operator: the work is linear in the load.

        Parameters
        ----------
        batch, chunks, routed, logits : StepBatch, AttentionLoad, StepRouting and ndarray
            As for `total`.

        Returns
        -------
        StepSum
            FLOP and HBM bytes.
        """
        total = StepSum()
        self._add_dense(total, batch, chunks=chunks, logits=logits)
        assignments, active = routed.rank_assignments.sum(), routed.active_experts.sum()
        self._add_experts(total, assignments=float(assignments), active=float(active))
        return total

    def _add_dense(
        self,
        total: StepSum,
        batch: StepBatch,
        *,
        chunks: AttentionLoad | None,
        logits: NDArray[np.int64],
    ) -> None:
        arch, dense, tp = self._arch, self._dense, self._tp
        dtypes = arch.dtypes
        rows = batch.decode_tokens + batch.prefill_tokens
        n_moe, n_dense = len(arch.moe_layers), len(arch.dense_layers)
        projections = dense.projection_work(batch, chunks=chunks)
        total.add(projections, dtype=dtypes.attention, n_times=tp * arch.n_layers)
        total.add(dense.score_work(batch, chunks=chunks), dtype=dense.kv_dtype, n_times=tp)
        total.add(dense.shared.work(rows), dtype=dtypes.shared_expert, n_times=tp * n_moe)
        total.add(dense.dense.work(rows), dtype=dtypes.dense, n_times=tp * n_dense)
        total.add(dense.router.work(rows), dtype=dtypes.router, n_times=tp * n_moe)
        total.add(dense.head.work(logits), dtype=dtypes.head, n_times=tp)

    def _add_experts(self, total: StepSum, *, assignments: float, active: float) -> None:
        """Add the work of routed experts, of all ranks that compute it."""
        experts = expert_work(
            assignments * self._n_copies,
            active_experts=active * self._n_copies,
            hidden=self._arch.hidden,
            inter=self._inter,
            dtype=self._arch.dtypes.routed_expert,
        )
        total.add(experts, dtype=self._arch.dtypes.routed_expert, n_times=1.0)

    def _unit_works(self) -> tuple[_Units, ...]:
        """Return what one unit of each load of `total` asks for, in its order."""
        n_classes = max(self._dense.class_of_layer) + 1
        pairs = [{"pairs": np.eye(n_classes)[:, [one]]} for one in range(n_classes)]
        prompt, decoded = self._line("prefill_tokens"), self._line("decode_sequences")
        caches = (self._probe(decode_kv_tokens=_ONE), self._probe(decode_window_tokens=_ONE))
        scores = np.array([1.0] * len(_PEAKS) + [0.0])
        return (
            self._expert_units(assignments=1.0, active=0.0),
            self._expert_units(assignments=0.0, active=1.0),
            *prompt,
            *(one - same for one, same in zip(decoded, prompt, strict=True)),
            *self._line("logits"),
            *(one * scores for one in caches),
            *(one * (1.0 - scores) for one in caches),
            self._probe(tokens=_ONE),
            *self._line("kv_tokens"),
            *(self._probe(**one) for one in pairs),
        )

    def _line(self, load: str) -> tuple[_Units, _Units]:
        """Return the work of one more unit of a load, and of a group that has any."""
        one, two = self._probe(**{load: _ONE}), self._probe(**{load: 2 * _ONE})
        return two - one, one - (two - one)

    def _probe(self, **loads: NDArray[Any]) -> _Units:
        """Return the work of one attention group with the named loads only."""
        n_classes = max(self._dense.class_of_layer) + 1
        zero = {"pairs": np.zeros((n_classes, 1)), "n_chunks": _ONE}
        value = {name: loads.get(name, zero.get(name, 0 * _ONE)) for name in _LOADS}
        loads_of_batch: dict[str, Any] = {name: value[name] for name in _BATCH_LOADS}
        batch = StepBatch(**loads_of_batch, chunks=(), preempted=())
        total = StepSum()
        chunks = AttentionLoad(**{name: value[name] for name in _CHUNK_LOADS})
        self._add_dense(total, batch, chunks=chunks, logits=value["logits"])
        return np.append(total.by_peak_flop, total.hbm_bytes)

    def _expert_units(self, *, assignments: float, active: float) -> _Units:
        """Return the work of routed experts on one rank."""
        total = StepSum()
        self._add_experts(total, assignments=assignments, active=active)
        return np.append(total.by_peak_flop, total.hbm_bytes)


def _sum_and_groups(load: NDArray[np.int64]) -> tuple[float, float]:
    """Return a load of all groups, and how many groups have any."""
    counts = load.tolist()
    return float(sum(counts)), float(len(counts) - counts.count(0))
