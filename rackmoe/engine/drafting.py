"""What speculative drafts add to a step: passes of the layer for multi-token prediction."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.micro_batches import MicroBatch
from rackmoe.engine.planned import StepTotals
from rackmoe.network.layer_times import ExchangeTimes, LayerTimes
from rackmoe.network.traffic import PortTimes

__all__ = ["add_draft_totals", "append_drafts", "draft_part"]


def draft_part(part: MicroBatch) -> MicroBatch | None:
    """Return what a draft after the first one computes: one token of every sequence.

    Parameters
    ----------
    part : MicroBatch
        The step.

    Returns
    -------
    MicroBatch or None
        None if nothing decodes.
    """
    if not part.batch.has_decode:
        return None
    batch = part.batch
    alone = replace(
        batch,
        prefill_tokens=np.zeros_like(batch.prefill_tokens),
        chunks=(),
        tokens_per_sequence=1,
    )
    return replace(part, batch=alone)


def append_drafts(times: LayerTimes, *, drafts: LayerTimes | None, n_drafts: int) -> LayerTimes:
    """Return the layers of a step and those of its drafts, one after the other.

    The first draft reads every token of the step, as the last layer does; each further
    one reads the token drafted before it.

    Parameters
    ----------
    times : LayerTimes
        The step. [s]
    drafts : LayerTimes or None
        A pass of one token per sequence through the whole model, of whose layers the last
        ones stand for the drafts; None if nothing decodes. [s]
    n_drafts : int
        Drafts, the first one included.

    Returns
    -------
    LayerTimes
        With 1 to `n_drafts` layers more. [s]
    """
    n_more = 0 if drafts is None else n_drafts - 1

    def stacked(name: str) -> NDArray[np.float64]:
        first = getattr(times, name)
        parts = [first, first[-1:]]
        if n_more:
            parts.append(getattr(drafts, name)[-n_more:])
        return np.concatenate(parts)

    def exchange(name: str) -> PortTimes | None:
        first: ExchangeTimes | None = getattr(times, name)
        if first is None:
            return None
        further = getattr(drafts, name) if n_more else None

        def side(way: str) -> NDArray[np.float64]:
            own = getattr(first, way)
            parts = [own, own[-1:]]
            if further is not None:
                parts.append(getattr(further, way)[-n_more:])
            return np.concatenate(parts)

        return PortTimes(
            egress_s=side("egress_s"), ingress_s=side("ingress_s"), latency_s=first.latency_s
        )

    return replace(
        times,
        pre_s=stacked("pre_s"),
        shared_s=stacked("shared_s"),
        expert_s=stacked("expert_s"),
        dispatch=exchange("dispatch"),
        combine=exchange("combine"),
    )


def add_draft_totals(
    total: StepTotals, *, drafts: StepTotals | None, n_layers: int, n_drafts: int
) -> StepTotals:
    """Return the work of a step with that of its drafts, a layer's share of a pass each.

    Parameters
    ----------
    total : StepTotals
        The step.
    drafts : StepTotals or None
        A pass of one token per sequence through the whole model.
    n_layers : int
        Layers of the model.
    n_drafts : int
        Drafts, the first one included.

    Returns
    -------
    StepTotals
        Their sum; attention and imbalance are those of the step.
    """
    added = [(total, 1.0 / n_layers)]
    if drafts is not None:
        added.append((drafts, (n_drafts - 1) / n_layers))
    return replace(
        total,
        by_peak_flop=total.by_peak_flop + sum(share * one.by_peak_flop for one, share in added),
        **{
            name: getattr(total, name) + sum(share * getattr(one, name) for one, share in added)
            for name in ("hbm_bytes", "scale_up_bytes", "scale_out_bytes")
        },
    )
