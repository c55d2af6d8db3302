"""Placements for a recorded trace, and how far they are from the best."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rackmoe.engine.placements import SeenRouting, build_placement
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.config import load_model
from rackmoe.routing.bounds import best_split_imbalance, imbalance_floor, placed_imbalance
from rackmoe.routing.placement import Placement, contiguous
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.traces import CountTrace, TokenTrace, count_experts

__all__ = ["TracePlacement", "place_trace", "requests_as_steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePlacement:
    """A placement and its imbalance on the trace, as means over the layers.

    Attributes
    ----------
    placement : Placement
        Where the experts are.
    imbalance : float
        Load of the busiest rank over the mean, replicas sharing equally.
    contiguous_imbalance : float
        The same for experts in the order of their ids, without copies where the ranks allow.
    best_split : float
        The same for this placement under the best choice of replicas (a linear program).
    floor : float
        What no placement with as many slots undercuts.
    """

    placement: Placement
    imbalance: float
    contiguous_imbalance: float
    best_split: float
    floor: float


def place_trace(
    trace: TokenTrace,
    *,
    policy: str,
    n_ranks: int,
    n_redundant: int = 0,
    ranks_per_node: int | None = None,
    model: ModelArchitecture | Path | str | None = None,
) -> TracePlacement:
    """Find a placement for a trace.

    Parameters
    ----------
    trace : TokenTrace
        What the balancer sees: the output, or the prompts where no output was recorded.
    policy : str
        As ``experts.placement`` of a scenario.
    n_ranks, n_redundant : int
        Ranks of the group; slots beyond one for each expert.
    ranks_per_node : int, optional
        Ranks in one scale-up domain; all of them if not given.
    model : ModelArchitecture, path or str, optional
        The model, for the groups of its gate.

    Returns
    -------
    TracePlacement
        Placement and imbalances.

    Raises
    ------
    ConfigError
        If the ranks do not divide the experts.
    """
    n_groups = 1
    if model is not None:
        built = model if isinstance(model, ModelArchitecture) else load_model(model)
        n_groups = built.moe.n_groups
    rows = trace.phase_rows("decode")
    rows = rows if rows.size else trace.phase_rows("prefill")
    load = count_experts(trace, rows=rows).astype(np.float64)
    shape = MoeShape(
        n_layers=trace.n_layers,
        n_experts=trace.header.n_experts,
        top_k=trace.header.top_k,
        n_groups=n_groups,
        top_groups=n_groups,
    )
    placement = build_placement(
        policy,
        seen=SeenRouting(load=load, trace=trace, rows=rows),
        shape=shape,
        n_ranks=n_ranks,
        n_redundant=n_redundant,
        ranks_per_node=ranks_per_node or n_ranks,
        moe_layer_ids=trace.header.moe_layer_ids,
    )
    plain = contiguous(
        shape.n_experts,
        n_layers=shape.n_layers,
        n_ranks=n_ranks,
        n_redundant=n_redundant if shape.n_experts % n_ranks else 0,
    )
    floor = imbalance_floor(load, n_ranks=n_ranks, n_redundant=n_redundant)
    return TracePlacement(
        placement=placement,
        imbalance=float(placed_imbalance(load, placement=placement).mean()),
        contiguous_imbalance=float(placed_imbalance(load, placement=plain).mean()),
        best_split=float(best_split_imbalance(load, placement=placement).mean()),
        floor=float(floor.mean()),
    )


def requests_as_steps(trace: TokenTrace) -> CountTrace:
    """Return the counts of a token trace, one step for each request.

    Parameters
    ----------
    trace : TokenTrace
        The trace.

    Returns
    -------
    CountTrace
        Its counts.
    """
    ends = zip(trace.req_offsets[:-1].tolist(), trace.req_offsets[1:].tolist(), strict=True)
    counts = [count_experts(trace, rows=np.arange(*span)) for span in ends]
    return CountTrace(
        counts=np.stack(counts),
        step_tokens=np.diff(trace.req_offsets),
        header=replace(
            trace.header, note=f"{trace.header.note}; one step per request".strip("; ")
        ),
    )
