"""How much KV cache is left: paged blocks counted by rank and sequence."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import CapacityError, InvariantError
from rackmoe.serving.workload import RequestTable

__all__ = ["KvPool", "ideal_prefix_hit_frac"]

IntArray = NDArray[np.int64]

_NOWHERE = -1


class KvPool:
    """Paged KV cache of the ranks of one replica.

    Blocks are counted, not listed: which block holds which token changes no
    figure while blocks are not shared. A sequence is a slot number that the
    caller gives out.

    Parameters
    ----------
    n_ranks : int
        Ranks, each with a cache of its own.
    blocks_per_rank : int
        Blocks of each rank.
    block_tokens : int
        Tokens of one block.
    n_slots : int
        Sequences that may hold blocks at the same time.

    Attributes
    ----------
    free_blocks : ndarray of shape (n_ranks,)
        Blocks that nobody holds.

    Examples
    --------
    >>> pool = KvPool(n_ranks=2, blocks_per_rank=4, block_tokens=64, n_slots=8)
    >>> pool.allocate(0, rank=1, n_tokens=100)
    True
    >>> pool.free_blocks
    array([4, 2])
    """

    __slots__ = ("_blocks", "_rank", "_tokens", "block_tokens", "blocks_per_rank", "free_blocks")

    def __init__(
        self, *, n_ranks: int, blocks_per_rank: int, block_tokens: int, n_slots: int
    ) -> None:
        if min(n_ranks, blocks_per_rank, block_tokens, n_slots) < 1:
            raise CapacityError(
                f"KV cache: {n_ranks} ranks of {blocks_per_rank} blocks of {block_tokens} tokens,"
                f" {n_slots} slots; expected at least 1 of each; raise ep or lower max_batch"
            )
        self.blocks_per_rank = blocks_per_rank
        self.block_tokens = block_tokens
        self.free_blocks = np.full(n_ranks, blocks_per_rank, np.int64)
        self._tokens = np.zeros(n_slots, np.int64)
        self._blocks = np.zeros(n_slots, np.int64)
        self._rank = np.full(n_slots, _NOWHERE, np.int64)

    @property
    def used_tokens(self) -> IntArray:
        """Tokens that the sequences of each rank hold, shape (n_ranks,)."""
        return self._by_rank(self._tokens)

    def n_blocks(self, n_tokens: int) -> int:
        """Return the blocks that a context occupies.

        Parameters
        ----------
        n_tokens : int
            Context length.

        Returns
        -------
        int
            Blocks, the last one possibly not full.
        """
        return -(-n_tokens // self.block_tokens)

    def allocate(self, slot: int, *, rank: int, n_tokens: int) -> bool:
        """Give a new sequence the blocks of its context.

        Parameters
        ----------
        slot : int
            A slot that holds nothing.
        rank : int
            Rank that will hold the cache.
        n_tokens : int
            Context length.

        Returns
        -------
        bool
            False, and nothing changes, where the rank has too few free blocks.

        Raises
        ------
        InvariantError
            If the slot is taken.
        """
        if self._rank[slot] != _NOWHERE:
            raise InvariantError(
                f"LAW-03: slot {slot} already holds {self._blocks[slot]} blocks of rank"
                f" {self._rank[slot]}; expected an empty slot"
            )
        wanted = self.n_blocks(n_tokens)
        if wanted > self.free_blocks[rank]:
            return False
        self.free_blocks[rank] -= wanted
        self._rank[slot], self._tokens[slot], self._blocks[slot] = rank, n_tokens, wanted
        return True

    def extend(self, slots: IntArray, *, n_tokens: IntArray | int = 1) -> IntArray:
        """Lengthen the contexts of many sequences, all of them or none.

        Parameters
        ----------
        slots : ndarray of shape (n,)
            Distinct slots that hold a sequence.
        n_tokens : ndarray of shape (n,) or int, optional
            Tokens to add to each.

        Returns
        -------
        ndarray of shape (n_ranks,)
            Blocks that each rank lacks; where any is above 0 nothing has
            changed, and the caller has to preempt a sequence there first.

        Raises
        ------
        InvariantError
            If a slot holds no sequence.
        """
        tokens = self._tokens[slots] + n_tokens
        # most steps cross a block border in few sequences: touch the others as little as possible
        crossing = np.flatnonzero(tokens > self._blocks[slots] * self.block_tokens)
        if crossing.size:
            crossed = slots[crossing]
            blocks = -(-tokens[crossing] // self.block_tokens)
            wanted = np.zeros_like(self.free_blocks)
            rank = self._rank[crossed]
            if (rank == _NOWHERE).any():
                raise InvariantError(
                    f"LAW-03: slot {crossed[np.argmin(rank)]} grows without a sequence"
                )
            np.add.at(wanted, rank, blocks - self._blocks[crossed])
            lacking: IntArray = np.maximum(wanted - self.free_blocks, 0)
            if lacking.any():
                return lacking
            self.free_blocks -= wanted
            self._blocks[crossed] = blocks
        self._tokens[slots] = tokens
        return np.zeros_like(self.free_blocks)

    def free(self, slots: IntArray) -> None:
        """Take back all blocks of sequences.

        Parameters
        ----------
        slots : ndarray of shape (n,)
            Distinct slots that hold a sequence.

        Raises
        ------
        InvariantError
            If a slot holds no sequence.
        """
        rank = self._rank[slots]
        if (rank == _NOWHERE).any():
            raise InvariantError(
                f"LAW-03: slot {slots[np.argmin(rank)]} is freed without a sequence"
            )
        np.add.at(self.free_blocks, rank, self._blocks[slots])
        self._rank[slots] = _NOWHERE
        self._tokens[slots] = 0
        self._blocks[slots] = 0

    def check(self) -> None:
        """Check that allocated and free blocks make up every rank (LAW-03).

        Raises
        ------
        InvariantError
            If they do not, or a sequence has another number of blocks than its
            tokens need.
        """
        held = self._by_rank(self._blocks)
        broken = (held + self.free_blocks != self.blocks_per_rank) | (self.free_blocks < 0)
        if broken.any():
            rank = int(np.argmax(broken))
            raise InvariantError(
                f"LAW-03 at rank {rank}: {held[rank]} blocks allocated,"
                f" {self.free_blocks[rank]} free, {self.blocks_per_rank} in all"
            )
        wrong = self._blocks != -(-self._tokens // self.block_tokens)
        if wrong.any():
            slot = int(np.argmax(wrong))
            raise InvariantError(
                f"LAW-03 at slot {slot}: {self._blocks[slot]} blocks of {self.block_tokens} tokens"
                f" for {self._tokens[slot]} tokens"
            )

    def _by_rank(self, values: IntArray) -> IntArray:
        totals = np.zeros_like(self.free_blocks)
        taken = self._rank != _NOWHERE
        np.add.at(totals, self._rank[taken], values[taken])
        return totals


def ideal_prefix_hit_frac(requests: RequestTable) -> float:
    """Return the share of prefix blocks that an earlier request has had.

    What a prefix cache that forgets nothing, shared by all ranks, would find.

    Parameters
    ----------
    requests : RequestTable
        Requests with prefix blocks; equal ids stand for equal prompts up to and
        including that block.

    Returns
    -------
    float
        0 to 1; NaN without prefix blocks.
    """
    prefixes = requests.prefixes
    if prefixes is None or not prefixes.ids.size:
        return float("nan")
    return 1 - np.unique(prefixes.ids).size / prefixes.ids.size
