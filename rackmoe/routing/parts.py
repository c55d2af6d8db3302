"""Where the tokens of one phase get their experts: a trace, its blocks, or its statistics."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError, TraceError
from rackmoe.routing.generator import CountNoise
from rackmoe.routing.load import StepLoad
from rackmoe.routing.masks import MaskedTrace, compile_masks, mask_bytes
from rackmoe.routing.paging import PageRelease
from rackmoe.routing.placement import Placement
from rackmoe.routing.replicas import ReplicaChoice, build_replica_table
from rackmoe.routing.tally import Tally, count_rows

__all__ = ["BlockPart", "ReplayPart", "RowCounter", "SampledPart", "StepPart"]

_MASK_BYTES_MAX = 512 * 2**20  # beyond it, tokens are counted one by one
_NODES_MAX = 64  # bits of a word
_ROWS_AT_ONCE = 8192  # rows compiled at a time


class StepPart(Protocol):
    """Adds the tokens of one phase to a step."""

    def add(
        self,
        load: StepLoad,
        *,
        tokens_per_rank: NDArray[np.int64],
        rows: NDArray[np.int64] | None,
        row_rank: NDArray[np.int32] | None,
    ) -> None:
        """Add tokens to a step; see `RoutingSource.add`."""


class RowCounter:
    """Count rows of a trace under one placement, by masks if they fit in memory.

    Parameters
    ----------
    routed_experts : ndarray of shape (N, L, K)
        Logical experts of each row.
    placement : Placement
        Where the experts are.
    choice : ReplicaChoice
        How tokens pick replicas; masks need `random` or single replicas.
    """

    def __init__(
        self,
        routed_experts: NDArray[np.unsignedinteger],
        placement: Placement,
        *,
        choice: ReplicaChoice,
    ) -> None:
        self._routed = routed_experts
        self._placement = placement
        self._choice = choice
        self._table = build_replica_table(placement)
        self._masked: MaskedTrace | None = None
        is_fixed = choice == "random" or placement.n_redundant == 0
        is_small = mask_bytes(placement, n_rows=routed_experts.shape[0]) <= _MASK_BYTES_MAX
        if is_fixed and is_small and placement.n_nodes <= _NODES_MAX:
            self._masked = compile_masks(routed_experts, placement=placement, table=self._table)
        self.tally = Tally.zeros(placement)

    def count(self, rows: NDArray[np.int64], *, row_rank: NDArray[np.int32]) -> Tally:
        """Return the counts of some rows.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Rows of the trace.
        row_rank : ndarray of shape (n,), int32
            Rank that routes each.

        Returns
        -------
        Tally
            Reused by the next call.
        """
        self.tally.clear()
        if self._masked is not None:
            self._masked.count(self.tally, rows=rows, row_rank=row_rank)
        else:
            count_rows(
                self._routed,
                tally=self.tally,
                placement=self._placement,
                table=self._table,
                choice=self._choice,
                rows=rows,
                row_rank=row_rank,
            )
        return self.tally

    def count_hits(self, rows: NDArray[np.int64], *, out: NDArray[np.int32]) -> None:
        """Write counts that do not depend on who sends: slots, rank hits, node hits.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Rows of the trace.
        out : ndarray of shape (P + R + D, L), int32
            Where to write them, one after the other.
        """
        place = self._placement
        n_slots, n_ranks, per_node = place.n_physical, place.n_ranks, place.ranks_per_node
        nodes = out[n_slots + n_ranks :]
        if place.n_nodes > 1:
            # copies to other nodes, seen from the last node and then from the first
            last = np.full(rows.size, n_ranks - 1, np.int32)
            arrived = self.count(rows, row_rank=last).node_in
            nodes[0] = arrived[:per_node].sum(axis=0)
            senders = np.zeros(rows.size, np.int32)
        else:
            nodes[0] = rows.size
            senders = (np.arange(rows.size) % n_ranks).astype(np.int32)
        tally = self.count(rows, row_rank=senders)
        out[:n_slots] = tally.slots
        out[n_slots : n_slots + n_ranks] = tally.rank_hits
        if place.n_nodes > 1:
            shape = (place.n_nodes, per_node, place.n_layers)
            nodes[1:] = tally.node_in.reshape(shape).sum(axis=1)[1:]


class ReplayPart:
    """Follow every token through the trace.

    Parameters
    ----------
    routed_experts : ndarray of shape (N, L, K)
        Logical experts of each row.
    placement : Placement
        Where the experts are.
    choice : ReplicaChoice
        How tokens pick replicas.
    """

    def __init__(
        self,
        routed_experts: NDArray[np.unsignedinteger],
        placement: Placement,
        *,
        choice: ReplicaChoice,
    ) -> None:
        self._n_rows = routed_experts.shape[0]
        self._counter = RowCounter(routed_experts, placement, choice=choice)
        self._pages = PageRelease(routed_experts)

    def add(
        self,
        load: StepLoad,
        *,
        tokens_per_rank: NDArray[np.int64],
        rows: NDArray[np.int64] | None,
        row_rank: NDArray[np.int32] | None,
    ) -> None:
        """Add tokens to a step; see `RoutingSource.add`."""
        if rows is None or row_rank is None:
            raise ShapeError(
                "rows: none; expected the row of each token to replay; "
                "give rows and row_rank, or choose the source 'block'"
            )
        n_tokens = int(tokens_per_rank.sum())
        if rows.size != n_tokens or row_rank.size != n_tokens:
            raise ShapeError(
                f"rows: {rows.size} rows and {row_rank.size} ranks; expected {n_tokens} of each, "
                "as in tokens_per_rank; give one row for each token"
            )
        if n_tokens == 0:
            return
        if int(rows.min()) < 0 or int(rows.max()) >= self._n_rows:
            raise TraceError(
                f"rows: {int(rows.min())} to {int(rows.max())}; expected 0 to {self._n_rows - 1}; "
                "wrap rows within the spans of the trace"
            )
        load.add_exact(
            self._counter.count(rows, row_rank=row_rank), tokens_per_rank=tokens_per_rank
        )
        self._pages.read(n_tokens)


class BlockPart:
    """Take runs of tokens from a trace whose blocks were counted once.

    Running sums over the blocks make the cost of a step independent of its
    tokens; the tokens beyond whole blocks are counted one by one.

    Parameters
    ----------
    routed_experts : ndarray of shape (N, L, K)
        Logical experts of each row.
    placement : Placement
        Where the experts are.
    order : ndarray of shape (n,), int64
        Rows to use, in this order: shuffled where a step holds tokens of many
        requests (decode), as recorded where it holds runs of one (prefill).
    choice : ReplicaChoice
        How tokens pick replicas.
    block_tokens : int
        Tokens of a block.
    rng : numpy.random.Generator
        Picks where runs begin.
    """

    def __init__(
        self,
        routed_experts: NDArray[np.unsignedinteger],
        placement: Placement,
        *,
        order: NDArray[np.int64],
        choice: ReplicaChoice,
        block_tokens: int,
        rng: np.random.Generator,
    ) -> None:
        self._rng = rng
        self._placement = placement
        self._block = min(block_tokens, order.size)
        n_blocks = order.size // self._block
        width = placement.n_physical + placement.n_ranks + placement.n_nodes
        shape = (width, placement.n_layers)
        self._running = np.zeros((n_blocks + 1, *shape), np.int32)
        self._sum = np.empty(shape, np.int32)
        self._rest = np.empty(shape, np.int32)
        per_chunk = max(1, _ROWS_AT_ONCE // self._block)
        pages = PageRelease(routed_experts)
        for first in range(0, n_blocks, per_chunk):
            last = min(n_blocks, first + per_chunk)
            counter = RowCounter(
                routed_experts[order[first * self._block : last * self._block]],
                placement,
                choice=choice,
            )
            pages.read((last - first) * self._block)
            if first == 0:
                self._first_chunk = counter
                self._n_first = (last - first) * self._block
            for index in range(first, last):
                start = (index - first) * self._block
                counter.count_hits(np.arange(start, start + self._block), out=self._rest)
                np.add(self._running[index], self._rest, out=self._running[index + 1])

    def add(
        self,
        load: StepLoad,
        *,
        tokens_per_rank: NDArray[np.int64],
        rows: NDArray[np.int64] | None,  # noqa: ARG002 - tokens are not followed
        row_rank: NDArray[np.int32] | None,  # noqa: ARG002 - tokens are not followed
    ) -> None:
        """Add tokens to a step; see `RoutingSource.add`."""
        n_tokens = int(tokens_per_rank.sum())
        n_blocks, n_rest = divmod(n_tokens, self._block)
        n_held = len(self._running) - 1
        passes, n_blocks = divmod(n_blocks, n_held)
        start = int(self._rng.integers(n_held))
        stop = start + n_blocks
        running = self._running
        np.subtract(running[min(stop, n_held)], running[start], out=self._sum)
        if stop > n_held:
            self._sum += running[stop - n_held]
        if passes:
            self._sum += passes * running[n_held]
        if n_rest:
            begin = int(self._rng.integers(self._n_first))
            run = (begin + np.arange(n_rest)) % self._n_first
            self._first_chunk.count_hits(run, out=self._rest)
            self._sum += self._rest
        n_slots, n_ranks = self._placement.n_physical, self._placement.n_ranks
        load.add_counted(
            self._sum[:n_slots],
            rank_hits=self._sum[n_slots : n_slots + n_ranks],
            node_hits=self._sum[n_slots + n_ranks :],
            tokens_per_rank=tokens_per_rank,
        )


class SampledPart:
    """Draw counts from the long-run popularity of experts.

    Parameters
    ----------
    sample : ndarray of shape (n, L, K)
        Some tokens with about this popularity; how often a token has several
        experts on one rank is measured on them.
    placement : Placement
        Where the experts are.
    choice : ReplicaChoice
        How tokens pick replicas.
    noise : CountNoise
        Draws the counts, around the popularity of the experts.
    """

    def __init__(
        self,
        noise: CountNoise,
        *,
        sample: NDArray[np.unsignedinteger],
        placement: Placement,
        choice: ReplicaChoice,
    ) -> None:
        self._noise = noise
        self._counts = np.empty((placement.n_layers, placement.n_experts), np.int32)
        n_slots, n_ranks, n_layers = placement.n_physical, placement.n_ranks, placement.n_layers
        hits = np.empty((n_slots + n_ranks + placement.n_nodes, n_layers), np.int32)
        counter = RowCounter(sample, placement, choice=choice)
        counter.count_hits(np.arange(len(sample)), out=hits)
        slots = hits[:n_slots].T
        self._rank_ratio = _ratio(
            hits[n_slots : n_slots + n_ranks].T, slots.reshape(n_layers, n_ranks, -1).sum(axis=2)
        )
        self._node_ratio = _ratio(
            hits[n_slots + n_ranks :].T, slots.reshape(n_layers, placement.n_nodes, -1).sum(axis=2)
        )

    def add(
        self,
        load: StepLoad,
        *,
        tokens_per_rank: NDArray[np.int64],
        rows: NDArray[np.int64] | None,  # noqa: ARG002 - tokens are not followed
        row_rank: NDArray[np.int32] | None,  # noqa: ARG002 - tokens are not followed
    ) -> None:
        """Add tokens to a step; see `RoutingSource.add`."""
        self._noise.draw(sum(tokens_per_rank.tolist()), out=self._counts)
        load.add_expected(
            self._counts,
            rank_ratio=self._rank_ratio,
            node_ratio=self._node_ratio,
            tokens_per_rank=tokens_per_rank,
        )


def _ratio(hits: NDArray[np.int32], assignments: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return copies per assignment; 1 where the sample has none."""
    out = np.ones(hits.shape)
    np.divide(hits, assignments, out=out, where=assignments > 0)
    return out
