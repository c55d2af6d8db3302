"""A source that gives every rank the same load."""

import math

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError
from rackmoe.routing.placement import Placement
from rackmoe.routing.step import Phase, StepRouting

__all__ = ["BalancedSource"]


class BalancedSource:
    """Route every token so that all ranks get exactly the same load.

    The load that perfect balancing would give; imbalance is exactly 1 (LAW-14).

    Parameters
    ----------
    placement : Placement
        Where the experts are.
    top_k : int
        Routed experts per token.
    """

    needs_rows = False
    spans = None
    span_domain = None

    def __init__(self, placement: Placement, *, top_k: int) -> None:
        self.placement = placement
        self.provenance = "exactly balanced routing; no trace, no randomness"
        self._top_k = top_k
        self._step = StepRouting.zeros(
            n_layers=placement.n_layers, n_experts=placement.n_experts, n_ranks=placement.n_ranks
        )
        self._tokens = np.zeros(placement.n_ranks, np.int64)
        n_experts, n_ranks = placement.n_experts, placement.n_ranks
        self._p_rank = _hit_probability(n_experts, top_k=top_k, n_parts=n_ranks)
        self._p_node = _hit_probability(n_experts, top_k=top_k, n_parts=placement.n_nodes)

    def begin(self) -> None:
        """Start a step without tokens."""
        self._tokens[:] = 0

    def add(
        self,
        tokens_per_rank: NDArray[np.int64],
        *,
        phase: Phase,  # noqa: ARG002 - both phases are alike here
        rows: NDArray[np.int64] | None = None,  # noqa: ARG002 - no trace to follow
        row_rank: NDArray[np.int32] | None = None,  # noqa: ARG002 - no trace to follow
        domain: int = 0,  # noqa: ARG002 - all are alike here
    ) -> None:
        """Add tokens to the step; see `RoutingSource.add`."""
        if tokens_per_rank.shape != self._tokens.shape:
            raise ShapeError(
                f"tokens_per_rank: shape {tokens_per_rank.shape}; "
                f"expected {self._tokens.shape}; give one number for each rank"
            )
        self._tokens += tokens_per_rank

    def finish(self) -> StepRouting:
        """Return the routing of the step; its arrays are reused."""
        place, step = self.placement, self._step
        tokens = self._tokens.astype(np.float64)
        total = float(tokens.sum())
        n_ranks, n_nodes = place.n_ranks, place.n_nodes
        load = total * self._top_k / n_ranks
        edges = np.arange(place.n_experts + 1) * int(total) * self._top_k // place.n_experts
        step.expert_counts[:] = np.diff(edges)
        step.rank_assignments[:] = load
        step.active_experts[:] = min(place.slots_per_rank, load)
        step.assignments_out[:] = tokens * self._top_k * (n_ranks - 1) / n_ranks
        step.assignments_in[:] = (total - tokens) * self._top_k / n_ranks
        step.copies_out[:] = tokens * self._p_rank * (n_ranks - 1)
        step.copies_in[:] = (total - tokens) * self._p_rank
        by_node = tokens.reshape(n_nodes, -1)
        other_nodes = total - by_node.sum(axis=1, keepdims=True)
        same_index = by_node.sum(axis=0) - by_node
        step.node_copies_out[:] = tokens * self._p_node * (n_nodes - 1)
        step.node_copies_in[:] = (same_index * self._p_node).reshape(-1)
        step.remote_assignments_out[:] = tokens * self._top_k * (n_nodes - 1) / n_nodes
        remote_in = np.broadcast_to(other_nodes * self._top_k / n_ranks, by_node.shape)
        step.remote_assignments_in[:] = remote_in.reshape(-1)
        return step

    def route(
        self,
        tokens_per_rank: NDArray[np.int64],
        *,
        phase: Phase,
        rows: NDArray[np.int64] | None = None,
        row_rank: NDArray[np.int32] | None = None,
    ) -> StepRouting:
        """Return the routing of a step of one phase; see `RoutingSource.route`."""
        self.begin()
        self.add(tokens_per_rank, phase=phase, rows=rows, row_rank=row_rank)
        return self.finish()


def _hit_probability(n_experts: int, *, top_k: int, n_parts: int) -> float:
    """Return how likely a token has an expert in one of `n_parts` equal parts."""
    others = n_experts - n_experts // n_parts
    return 1.0 - math.comb(others, top_k) / math.comb(n_experts, top_k)
