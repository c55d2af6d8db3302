"""Which prompts begin alike: identities of prompt blocks, request by request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError

__all__ = ["PrefixBlocks", "join_prefixes"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrefixBlocks:
    """Block identities of the prompts of a request table.

    Parameters
    ----------
    offsets : ndarray of shape (n_requests + 1,)
        Where the blocks of each request start in `ids`.
    ids : ndarray of shape (n_blocks,)
        Block identities, not negative; equal ones stand for equal texts up to and
        including that block. A request may name more blocks than its prompt has:
        those of its answer, which a later turn of its session repeats.
    block_tokens : int
        Tokens of one block; the last one of a prompt may be partly filled.
    n_common : int, optional
        Identities below this one, such as those of a system prompt, are the same in
        every copy of a request.

    Raises
    ------
    ShapeError
        If the offsets do not cover the ids, or a block has no token.
    """

    offsets: IntArray
    ids: IntArray
    block_tokens: int
    n_common: int = 0

    def __post_init__(self) -> None:
        if (
            not self.offsets.size
            or self.offsets[0] != 0
            or self.offsets[-1] != self.ids.size
            or (np.diff(self.offsets) < 0).any()
        ):
            last = self.offsets[-1] if self.offsets.size else "nothing"
            raise ShapeError(
                f"offsets: {self.offsets.size} values up to {last}; expected ascending values"
                f" from 0 to {self.ids.size}, one more than requests"
            )
        if self.block_tokens < 1:
            raise ShapeError(f"block_tokens: {self.block_tokens}; expected at least 1 token")

    def __len__(self) -> int:
        return int(self.offsets.size - 1)

    @property
    def n_ids(self) -> int:
        """One more than the largest identity, common ones that nobody names included."""
        return max(self.n_common, 1 + int(self.ids.max()) if self.ids.size else 0)

    def of(self, request: int) -> IntArray:
        """Return the block identities of one request.

        Parameters
        ----------
        request : int
            Row of the table.

        Returns
        -------
        ndarray of shape (n_blocks,)
            In the order of the text.
        """
        return self.ids[self.offsets[request] : self.offsets[request + 1]]

    def take(self, rows: IntArray, *, copy: IntArray | None = None) -> "PrefixBlocks":
        """Return the blocks of chosen requests.

        Parameters
        ----------
        rows : ndarray of shape (n,)
            Requests, possibly several times.
        copy : ndarray of shape (n,), optional
            Copies of different numbers share no block but the common ones.

        Returns
        -------
        PrefixBlocks
            One entry for each row.
        """
        n_blocks = np.diff(self.offsets)[rows]
        offsets = _starts(n_blocks)
        ids = self.ids[_positions(self.offsets[rows], n_blocks)]
        if copy is not None:
            own = ids >= self.n_common
            ids = ids + own * np.repeat(copy, n_blocks) * (self.n_ids - self.n_common)
        return PrefixBlocks(
            offsets=offsets, ids=ids, block_tokens=self.block_tokens, n_common=self.n_common
        )

    def split(self, block_tokens: int) -> "PrefixBlocks":
        """Return the same prompts in smaller blocks.

        Parameters
        ----------
        block_tokens : int
            Tokens of a smaller block, a divisor of the present ones.

        Returns
        -------
        PrefixBlocks
            Each block becomes several, the last one of a prompt too, as if it were full.

        Raises
        ------
        ShapeError
            If the sizes do not divide.
        """
        parts, rest = divmod(self.block_tokens, block_tokens)
        if rest:
            raise ShapeError(
                f"block_tokens: {block_tokens} does not divide {self.block_tokens};"
                " expected a divisor"
            )
        ids = (self.ids[:, None] * parts + np.arange(parts)).ravel()
        return PrefixBlocks(
            offsets=self.offsets * parts,
            ids=ids,
            block_tokens=block_tokens,
            n_common=self.n_common * parts,
        )


def join_prefixes(
    tables: Sequence[PrefixBlocks | None], *, n_requests: Sequence[int]
) -> PrefixBlocks | None:
    """Return the blocks of several request tables, one after the other.

    Parameters
    ----------
    tables : sequence of PrefixBlocks or None
        Of each table; None for requests without blocks.
    n_requests : sequence of int
        Rows of each table.

    Returns
    -------
    PrefixBlocks or None
        Tables share no block; blocks of different sizes are split to their greatest
        common divisor. None if no table has any.
    """
    present = [table for table in tables if table is not None]
    if not present:
        return None
    block_tokens = math.gcd(*(table.block_tokens for table in present))
    counts, ids, first_id = [], [], 0
    for table, n in zip(tables, n_requests, strict=True):
        if table is None:
            counts.append(np.zeros(n, np.int64))
            continue
        fine = table.split(block_tokens)
        counts.append(np.diff(fine.offsets))
        ids.append(fine.ids + first_id)
        first_id += fine.n_ids
    return PrefixBlocks(
        offsets=_starts(np.concatenate(counts)),
        ids=np.concatenate(ids),
        block_tokens=block_tokens,
    )


def _starts(n_blocks: IntArray) -> IntArray:
    return np.concatenate(([0], np.cumsum(n_blocks))).astype(np.int64)


def _positions(start: IntArray, n_blocks: IntArray) -> IntArray:
    """Return the positions start, start + 1, ... of every run, one after the other."""
    within = np.arange(n_blocks.sum()) - np.repeat(np.cumsum(n_blocks) - n_blocks, n_blocks)
    positions: IntArray = np.repeat(start, n_blocks) + within
    return positions
