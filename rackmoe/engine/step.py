"""How long one forward pass of a replica takes, and where the time, bytes and FLOP go."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.profile import HostTimes
from rackmoe.compute.operators import OperatorLaws
from rackmoe.engine.batch_routing import BatchRouting
from rackmoe.engine.dense_work import AttentionLoad, DenseWork
from rackmoe.engine.drafting import add_draft_totals, append_drafts, draft_part
from rackmoe.engine.exchanges import ReplicaExchanges
from rackmoe.engine.expert_counts import ExpertCounts
from rackmoe.engine.folding import Folding
from rackmoe.engine.micro_batches import MicroBatch, split_batch, whole_batch
from rackmoe.engine.planned import PlannedStep, StepTotals
from rackmoe.engine.step_arrays import in_all_layers, mean_of, mean_parts_s
from rackmoe.engine.step_clocks import plan_clocks
from rackmoe.engine.step_work import StepWork
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.linked_exchange import StepExchanges
from rackmoe.network.slowdown import Slowdown
from rackmoe.routing.step import RoutingSource, StepRouting
from rackmoe.serving.batching import StepBatch
from rackmoe.serving.running import RunningSequences

__all__ = ["ReplicaShape", "StepLaw", "StepSchedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaShape:
    """How the GPUs of a replica share the model.

    Attributes
    ----------
    tp : int
        GPUs of one attention group.
    n_groups : int
        Attention groups.
    is_expert_parallel : bool
        Whether each GPU holds whole experts; otherwise every expert is split over all GPUs.
    """

    tp: int
    n_groups: int
    is_expert_parallel: bool

    @property
    def n_gpus(self) -> int:
        """GPUs of the replica."""
        return self.tp * self.n_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSchedule:
    """What a step is made of besides one pass over its batch.

    Attributes
    ----------
    host : HostTimes
        What the host adds to a step.
    is_two_batch : bool
        Whether a step is split into two micro-batches that overlap.
    n_drafts : int
        Speculative tokens that a step drafts for each sequence.
    """

    host: HostTimes
    is_two_batch: bool = False
    n_drafts: int = 0


class StepLaw:
    """Plan the steps of the replicas of one pool.

    Parameters
    ----------
    arch : ModelArchitecture
        The model.
    shape : ReplicaShape
        How the GPUs share it.
    laws : OperatorLaws
        Operator laws of the GPU and backend.
    dense : DenseWork
        Everything but the routed experts.
    routing : RoutingSource
        Which experts the tokens choose.
    exchanges : ReplicaExchanges
        How tokens travel.
    schedule : StepSchedule
        Micro-batches, drafts and times of the host.
    domain_of_request : ndarray of shape (n_requests,), int64, optional
        What each request is about, where `routing` tells domains apart.

    Attributes
    ----------
    tokens : BatchRouting
        Takes the tokens of a step to their experts.
    experts : ExpertCounts
        What each expert computed.
    """

    def __init__(
        self,
        arch: ModelArchitecture,
        *,
        shape: ReplicaShape,
        laws: OperatorLaws,
        dense: DenseWork,
        routing: RoutingSource,
        exchanges: ReplicaExchanges,
        schedule: StepSchedule,
        domain_of_request: NDArray[np.int64] | None = None,
    ) -> None:
        self.shape = shape
        self.routing = routing
        self._arch = arch
        self._laws = laws
        self._dense = dense
        self._exchanges = exchanges
        self._host = schedule.host
        self._is_two_batch = schedule.is_two_batch
        self._n_drafts = schedule.n_drafts
        self._folding = Folding(arch, class_of_layer=dense.class_of_layer)
        self._inter = arch.moe.inter
        if not shape.is_expert_parallel:
            self._inter = -(-arch.moe.inter // shape.n_gpus)
        self.tokens = BatchRouting(routing, tp=shape.tp, domain_of_request=domain_of_request)
        self._work = StepWork(
            arch,
            dense=dense,
            tp=shape.tp,
            n_expert_copies=shape.n_gpus // routing.placement.n_ranks,
            expert_inter=self._inter,
        )
        self.experts = ExpertCounts(routing.placement, layer_ids=tuple(arch.moe_layers))

    @property
    def far_mask(self) -> NDArray[np.float64] | None:
        """Ones where a pair of ranks exchanges over NICs; None for a group in one domain."""
        return self._exchanges.traffic.far_mask

    def plan(
        self,
        batch: StepBatch,
        *,
        running: RunningSequences,
        slowdown: Slowdown | None = None,
        tier: ExchangeTier | None = None,
    ) -> PlannedStep:
        """Return the plan of a step.

        Parameters
        ----------
        batch : StepBatch
            What it computes.
        running : RunningSequences
            The decoding sequences, whose rows a replayed trace needs.
        slowdown : Slowdown, optional
            Steady factors of compute and ports; nominal by default.
        tier : ExchangeTier, optional
            How closely to look at exchanges; the plan then says who sends to whom.

        Returns
        -------
        PlannedStep
            The clocks of all ranks and the work.
        """
        parts = (
            split_batch(batch, running=running)
            if self._is_two_batch
            else whole_batch(batch, running=running)
        )
        times: list[LayerTimes] = []
        totals: list[StepTotals] = []
        paired: list[StepExchanges] = []
        for part in parts:
            layer_times, total, routed = self._micro_batch(part)
            exchanges = self._paired(part, routed, tier)
            if exchanges is not None:
                paired.append(exchanges)
            if self._n_drafts:
                layer_times, total = self._with_drafts(part, layer_times, total)
            times.append(layer_times)
            totals.append(total)
        tails_s = [self._tail_s(part.batch) for part in parts]
        plan = plan_clocks(times, tails_s=tails_s, slowdown=slowdown, paired=paired)
        return PlannedStep(
            times=tuple(times),
            plan=plan,
            paired=tuple(paired),
            slowdown=slowdown,
            parts_s=mean_parts_s(times, plan=plan),
            totals=totals[0] if len(totals) == 1 else totals[0].joined(totals[1]),
            host_step_s=self._host.work_s(self._arch.n_layers, has_prompts=bool(batch.chunks)),
            host_gap_s=self._host.gap_s.value
            + self._host.sequence_s.value * max(batch.decode_sequences.tolist()),
            batch=batch,
        )

    def reroute(self, routing: RoutingSource) -> None:
        """Route the next steps by another source, of another placement.

        Parameters
        ----------
        routing : RoutingSource
            For the same model, ranks and trace.
        """
        self.experts.place(routing.placement)
        self.routing = self.tokens.source = routing

    # ------------------------------------------------------------------ parts of a step
    def _micro_batch(self, part: MicroBatch) -> tuple[LayerTimes, StepTotals, StepRouting]:
        batch = part.batch
        rows = batch.decode_tokens
        chunks = self._dense.chunks(batch)
        if chunks is not None:
            rows = rows + batch.prefill_tokens
        routed = self.tokens.route(part)
        self.experts.add(routed.expert_counts)
        times, attention_s = self._times(batch, rows=rows, chunks=chunks, routed=routed)
        sent = self._exchanges.sent_bytes(routed, tokens=rows)
        work = self._work.total(batch, chunks=chunks, routed=routed, logits=_logits(batch))
        total = StepTotals(
            by_peak_flop=work.by_peak_flop,
            hbm_bytes=work.hbm_bytes,
            scale_up_bytes=sent[0],
            scale_out_bytes=sent[1],
            attention_s=attention_s,
            imbalance=mean_of(routed.imbalance()),
            port_bytes=self._exchanges.port_bytes(routed, tokens=rows),
        )
        return times, total, routed

    def _paired(
        self, part: MicroBatch, routed: StepRouting, tier: ExchangeTier | None
    ) -> StepExchanges | None:
        """Return who sends how much to whom; tokens that are followed say so themselves."""
        is_followed = self.routing.needs_rows and part.batch.has_decode
        return self._exchanges.traffic.exchanges(
            routed,
            tier=tier,
            sent_by=(lambda rank: self.tokens.route(part, sender=rank)) if is_followed else None,
        )

    def _with_drafts(
        self, part: MicroBatch, times: LayerTimes, total: StepTotals
    ) -> tuple[LayerTimes, StepTotals]:
        """Add the passes that draft the tokens of the next step."""
        alone = draft_part(part) if self._n_drafts > 1 else None
        draft_times, draft_total = (None, None) if alone is None else self._micro_batch(alone)[:2]
        return (
            append_drafts(times, drafts=draft_times, n_drafts=self._n_drafts),
            add_draft_totals(
                total,
                drafts=draft_total,
                n_layers=self._arch.n_layers,
                n_drafts=self._n_drafts,
            ),
        )

    def _times(
        self,
        batch: StepBatch,
        *,
        rows: NDArray[np.int64],
        chunks: AttentionLoad | None,
        routed: StepRouting,
    ) -> tuple[LayerTimes, float]:
        dense, tp = self._dense, self.shape.tp
        attention_s = dense.attention_time_s(batch, chunks=chunks)
        reduce_s = self._exchanges.group_reduce_s(rows)
        pre_s = self._folding.pre_times_s(
            block_s=dense.projection_time_s(batch, chunks=chunks) + reduce_s,
            dense_s=dense.dense.time_s(rows) + reduce_s,
            attention_s=attention_s,
            router_s=dense.router.time_s(rows),
            tp=tp,
        )
        # without a dispatch to run beside, shared experts run beside the routed ones
        is_beside = self.shape.n_groups == 1
        shared = dense.shared.beside_s(rows) if is_beside else dense.shared.time_s(rows)
        shared_s = shared if tp == 1 else np.repeat(shared, tp)
        stretch = self._host.stretch(has_prompts=bool(batch.chunks))
        dispatch, combine = self._exchanges.expert_exchanges(routed, tokens=rows)
        times = LayerTimes(
            pre_s=pre_s * stretch,
            shared_s=in_all_layers(shared_s * stretch, n_layers=len(pre_s)),
            expert_s=self._expert_s(routed, rows) * stretch,
            dispatch=dispatch,
            combine=combine,
        )
        return times, self._folding.attention_s(attention_s) * stretch

    def _expert_s(self, routed: StepRouting, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        place, shape = self.routing.placement, self.shape
        if shape.n_groups == 1 or place.n_ranks == 1:
            # every GPU is given all tokens of the replica
            given = np.array(float(sum(rows.tolist())))
        else:
            given = routed.copies_in + np.repeat(rows, shape.tp) / shape.tp
        time_s = np.asarray(
            self._laws.grouped_gemm_time_s(
                routed.rank_assignments,
                active_experts=routed.active_experts,
                hidden=self._arch.hidden,
                inter=self._inter,
                dtype=self._arch.dtypes.routed_expert,
                n_local_experts=place.slots_per_rank,
                tokens=given,
                split=1 if shape.is_expert_parallel else shape.n_gpus,
            )
        )
        if place.n_ranks == self.shape.n_gpus:
            return time_s
        return np.repeat(time_s, self.shape.n_gpus, axis=1)

    def _tail_s(self, batch: StepBatch) -> NDArray[np.float64]:
        """Return what follows the last MoE layer: trailing dense layers and the head."""
        tail_s = self._dense.head.time_s(_logits(batch))
        if self._n_drafts:
            # the first draft of a prompt's end too
            drafted = _logits(replace(batch, tokens_per_sequence=1))
            tail_s = tail_s + self._n_drafts * self._dense.draft_head.time_s(drafted)
        tail_s = tail_s * self._host.stretch(has_prompts=bool(batch.chunks))
        return tail_s if self.shape.tp == 1 else np.repeat(tail_s, self.shape.tp)


def _logits(batch: StepBatch) -> NDArray[np.int64]:
    """Return the tokens of each attention group that go through the head."""
    if not batch.chunks:
        return batch.decode_tokens
    logits = batch.decode_tokens.copy()
    for chunk in batch.chunks:
        logits[chunk.group] += chunk.is_last
    return logits
