"""Turn counted or expected assignments into the loads and traffic of each rank."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError
from rackmoe.routing.expected import clear, count_active, gather_expected, idle_chances
from rackmoe.routing.placement import Placement
from rackmoe.routing.replicas import (
    ReplicaChoice,
    build_replica_table,
    check_replica_choice,
    nearest_shares,
    split_counts,
)
from rackmoe.routing.spread import (
    FIRST_NODE_FIELD,
    RANK_FIELDS,
    add_tally,
    gather_counted,
    spread_nodes,
    spread_senders,
)
from rackmoe.routing.step import StepRouting
from rackmoe.routing.tally import Tally

__all__ = ["StepLoad"]

_NO_EXACT = np.empty((0, 0), np.int64)


class StepLoad:
    """Collect the parts of a step and turn them into one `StepRouting`.

    A part is exact (`add_exact`: each token and its sender were followed),
    counted (`add_counted`: exact loads, senders in proportion to their tokens)
    or expected (`add_expected`: loads per expert, everything else by shares).

    Parameters
    ----------
    placement : Placement
        Where the experts are.
    top_k : int
        Routed experts per token.
    replica_choice : ReplicaChoice
        How tokens pick replicas, where they are not followed one by one.
    """

    def __init__(
        self, placement: Placement, *, top_k: int, replica_choice: ReplicaChoice = "random"
    ) -> None:
        check_replica_choice(replica_choice)
        self.placement = placement
        self.top_k = top_k
        self.replica_choice = replica_choice
        n_layers, n_ranks, n_nodes = placement.n_layers, placement.n_ranks, placement.n_nodes
        self._counts = np.zeros((n_layers, placement.n_experts), np.int32)
        self._ranks = np.zeros((len(RANK_FIELDS), n_layers, n_ranks))
        self._step = StepRouting(
            expert_counts=self._counts, **dict(zip(RANK_FIELDS, self._ranks, strict=True))
        )
        self._used_ranks = self._ranks if n_nodes > 1 else self._ranks[:FIRST_NODE_FIELD]
        self._exact = np.zeros((placement.n_physical, n_layers), np.int64)
        self._expected = np.zeros((n_layers, placement.n_experts), np.int32)
        table = build_replica_table(placement)
        layers = np.arange(n_layers)[:, None]
        self._n_replicas = table.n_replicas[layers, placement.slots]
        self._shares = 1.0 / self._n_replicas
        self._idle = np.empty((0, 0))
        if replica_choice == "random":
            self._idle = idle_chances(int(self._n_replicas.max()))
        self._own_share = np.full((n_layers, n_ranks), 1.0 / n_ranks)
        self._node_share = np.full((n_layers, n_ranks), 1.0 / n_nodes)
        if replica_choice == "nearest":
            self._shares, self._own_share, self._node_share = nearest_shares(placement)
        self._rank_load = np.zeros((n_layers, n_ranks))
        self._hits = np.zeros((n_layers, n_ranks))
        self._node_hits = np.zeros((n_layers, n_nodes))
        self._has_exact = False

    def begin(self) -> None:
        """Start a step without tokens."""
        if self._has_exact:
            self._exact[:] = 0
        self._has_exact = False
        clear(self._counts, self._expected, self._used_ranks)

    def add_exact(self, tally: Tally, *, tokens_per_rank: NDArray[np.int64]) -> None:
        """Add tokens that were followed one by one.

        Parameters
        ----------
        tally : Tally
            Their counts.
        tokens_per_rank : ndarray of shape (R,), int64
            How many tokens each rank sent.
        """
        self._check_tokens(tokens_per_rank)
        self._has_exact = True
        self._exact += tally.slots
        add_tally(
            tally.slots,
            tally.per_rank,
            tokens_per_rank * self.top_k,
            self.placement.slots,
            self.placement.n_nodes > 1,
            self._counts,
            self._ranks,
        )

    def add_counted(
        self,
        slot_counts: NDArray[np.int32],
        *,
        rank_hits: NDArray[np.int32],
        node_hits: NDArray[np.int32],
        tokens_per_rank: NDArray[np.int64],
    ) -> None:
        """Add tokens whose loads were counted, but not who sent them.

        Parameters
        ----------
        slot_counts : ndarray of shape (P, L), int32
            Assignments per slot.
        rank_hits : ndarray of shape (R, L), int32
            Tokens with at least one expert on the rank.
        node_hits : ndarray of shape (D, L), int32
            Tokens with at least one expert on the node.
        tokens_per_rank : ndarray of shape (R,), int64
            How many tokens each rank sent.
        """
        self._check_tokens(tokens_per_rank)
        self._has_exact = True
        self._exact += slot_counts
        gather_counted(
            slot_counts,
            rank_hits,
            node_hits,
            self.placement.slots,
            self._counts,
            self._rank_load,
            self._hits,
            self._node_hits,
        )
        self._spread(tokens_per_rank)

    def add_expected(
        self,
        expert_counts: NDArray[np.int32],
        *,
        rank_ratio: NDArray[np.float64],
        node_ratio: NDArray[np.float64],
        tokens_per_rank: NDArray[np.int64],
    ) -> None:
        """Add assignments per expert, replicas and copies by their expected shares.

        Parameters
        ----------
        expert_counts : ndarray of shape (L, E), int32
            Assignments per logical expert.
        rank_ratio : ndarray of shape (L, R)
            Token copies to a rank per assignment to it.
        node_ratio : ndarray of shape (L, D)
            Token copies to a node per assignment to it.
        tokens_per_rank : ndarray of shape (R,), int64
            How many tokens each rank sent.
        """
        self._check_tokens(tokens_per_rank)
        place = self.placement
        gather_expected(
            expert_counts,
            place.slots,
            self._shares,
            rank_ratio,
            self._counts,
            self._expected,
            self._rank_load,
            self._hits,
        )
        if self.replica_choice not in ("random", "nearest"):
            split = split_counts(
                expert_counts.astype(np.float64), placement=place, choice=self.replica_choice
            )
            self._rank_load[:] = split.reshape(place.n_layers, place.n_ranks, -1).sum(axis=2)
            np.multiply(self._rank_load, rank_ratio, out=self._hits)
        if place.n_nodes > 1:
            by_node = self._rank_load.reshape(place.n_layers, place.n_nodes, -1).sum(axis=2)
            np.multiply(by_node, node_ratio, out=self._node_hits)
        self._spread(tokens_per_rank)

    def finish(self) -> StepRouting:
        """Return the routing of the step; its arrays are reused."""
        count_active(
            self._exact if self._has_exact else _NO_EXACT,
            self._expected,
            self.placement.slots,
            self._shares,
            self._n_replicas,
            self._idle,
            self._step.active_experts,
        )
        return self._step

    def _spread(self, tokens_per_rank: NDArray[np.int64]) -> None:
        n_tokens = sum(tokens_per_rank.tolist())
        if n_tokens == 0:
            return
        part = tokens_per_rank / n_tokens
        spread_senders(self._rank_load, self._hits, part, self._own_share, self._ranks)
        if self.placement.n_nodes > 1:
            spread_nodes(self._rank_load, self._node_hits, part, self._node_share, self._ranks)

    def _check_tokens(self, tokens_per_rank: NDArray[np.int64]) -> None:
        expected = (self.placement.n_ranks,)
        if tokens_per_rank.shape != expected:
            raise ShapeError(
                f"tokens_per_rank: shape {tokens_per_rank.shape}; expected {expected}; "
                "give one number for each rank"
            )
