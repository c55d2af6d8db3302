"""What one forward pass asks of the expert-parallel group: who computes and who sends how much."""

from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.placement import Placement

__all__ = ["Phase", "RoutingSource", "StepRouting"]

Phase = Literal["prefill", "decode"]
"""The two phases of a request; their tokens may be routed by different statistics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRouting:
    """The routing of one step, per MoE layer and rank of the expert-parallel group.

    A source reuses the arrays: they hold until its next ``begin`` or ``route``.
    L layers, E logical experts, R ranks. Traffic that stays on the own rank (or
    node) is not counted. With a single node the four arrays of nodes are zero.

    Attributes
    ----------
    expert_counts : ndarray of shape (L, E), int32
        Assignments per logical expert.
    rank_assignments : ndarray of shape (L, R)
        Assignments that a rank computes.
    active_experts : ndarray of shape (L, R)
        Physical experts of a rank that got at least one token; an expected
        number where replicas are chosen at random and tokens are not followed.
    copies_in, copies_out : ndarray of shape (L, R)
        Token copies when a token goes to a rank once (DeepEP normal, one-sided NVLink).
    assignments_in, assignments_out : ndarray of shape (L, R)
        Token copies when a token goes to each expert (DeepEP low latency).
    node_copies_in, node_copies_out : ndarray of shape (L, R)
        Token copies when a token goes to a remote node once; it arrives at the
        rank with the local index of its sender.
    remote_assignments_in, remote_assignments_out : ndarray of shape (L, R)
        The part of the assignments that crosses nodes.
    """

    expert_counts: NDArray[np.int32]
    rank_assignments: NDArray[np.float64]
    active_experts: NDArray[np.float64]
    copies_in: NDArray[np.float64]
    copies_out: NDArray[np.float64]
    assignments_in: NDArray[np.float64]
    assignments_out: NDArray[np.float64]
    node_copies_in: NDArray[np.float64]
    node_copies_out: NDArray[np.float64]
    remote_assignments_in: NDArray[np.float64]
    remote_assignments_out: NDArray[np.float64]

    @classmethod
    def zeros(cls, *, n_layers: int, n_experts: int, n_ranks: int) -> Self:
        """Return the routing of a step without tokens.

        Parameters
        ----------
        n_layers, n_experts, n_ranks : int
            MoE layers, logical experts, ranks of the expert-parallel group.

        Returns
        -------
        StepRouting
            Zeros of the right shapes, C-contiguous.
        """
        names = [name for name in cls.__slots__ if name != "expert_counts"]
        return cls(
            expert_counts=np.zeros((n_layers, n_experts), np.int32),
            **{name: np.zeros((n_layers, n_ranks)) for name in names},
        )

    def imbalance(self) -> NDArray[np.float64]:
        """Return the load of the busiest rank over the mean, per layer.

        Returns
        -------
        ndarray of shape (L,)
            At least 1; 1 for a layer without tokens.
        """
        load = self.rank_assignments
        if load.shape[1] == 1:
            return np.ones(len(load))
        # the reductions themselves: the array methods cost more than these small sums
        mean: NDArray[np.float64] = np.add.reduce(load, axis=1) / load.shape[1]
        ratio = np.ones_like(mean)
        np.divide(np.maximum.reduce(load, axis=1), mean, out=ratio, where=mean > 0)
        return ratio


class RoutingSource(Protocol):
    """Where a step's expert choices come from; all sources are exchangeable.

    A step is ``begin``, one ``add`` for each phase in it, ``finish``; ``route``
    does all three for a step of one phase. The sum of ``rank_assignments`` of a
    layer is exactly tokens x top_k (LAW-01).
    """

    @property
    def placement(self) -> Placement:
        """Where the experts are."""

    @property
    def provenance(self) -> str:
        """Say in one sentence, for the result, where the choices come from."""

    @property
    def needs_rows(self) -> bool:
        """Whether decode tokens must come with their rows of the trace."""

    @property
    def spans(self) -> NDArray[np.int64] | None:
        """First row and number of rows of each recorded output; None without rows."""

    @property
    def span_domain(self) -> NDArray[np.int64] | None:
        """Domain of each recorded output; None where all are alike."""

    def begin(self) -> None:
        """Start a step without tokens."""

    def add(
        self,
        tokens_per_rank: NDArray[np.int64],
        *,
        phase: Phase,
        rows: NDArray[np.int64] | None = None,
        row_rank: NDArray[np.int32] | None = None,
        domain: int = 0,
    ) -> None:
        """Add the tokens of one phase to the step, or those of one domain.

        Parameters
        ----------
        tokens_per_rank : ndarray of shape (R,), int64
            Tokens that each rank routes in this step.
        phase : {"prefill", "decode"}
            What the tokens are.
        rows : ndarray of shape (n,), int64, optional
            Row of the trace of each token, where the source follows tokens.
        row_rank : ndarray of shape (n,), int32, optional
            Rank that routes each of these tokens.
        domain : int, optional
            What the tokens are about, where the source tells domains apart.
        """

    def finish(self) -> StepRouting:
        """Return the routing of the step; its arrays are reused."""

    def route(
        self,
        tokens_per_rank: NDArray[np.int64],
        *,
        phase: Phase,
        rows: NDArray[np.int64] | None = None,
        row_rank: NDArray[np.int32] | None = None,
    ) -> StepRouting:
        """Return the routing of a step of one phase: ``begin``, ``add``, ``finish``."""
