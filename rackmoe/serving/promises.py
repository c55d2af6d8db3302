"""KV memory that a scheduler keeps free so that no sequence ever has to be evicted."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Promises"]


class Promises:
    """Blocks that running sequences may grow into, by the output that clients declared.

    A scheduler that guarantees completion admits a sequence only if all admitted ones
    could reach their declared maximum.

    Parameters
    ----------
    n_groups, kv_blocks, block_tokens : int
        Attention groups, KV blocks of each, and tokens of a block.
    output_tokens : int
        Output that every request declares at most; 0 promises nothing.
    """

    def __init__(
        self, *, n_groups: int, kv_blocks: int, block_tokens: int, output_tokens: int
    ) -> None:
        self._kv_blocks = kv_blocks
        self._block_tokens = block_tokens
        self._output_tokens = output_tokens
        self._by_group = np.zeros(n_groups, dtype=np.int64)
        self._by_request: dict[int, tuple[int, int]] = {}

    @property
    def is_used(self) -> bool:
        """Whether anything is promised."""
        return self._output_tokens > 0

    def blocks(self, n_tokens: int) -> int:
        """Return the blocks of a context at its declared end.

        Parameters
        ----------
        n_tokens : int
            Context length now.

        Returns
        -------
        int
            Blocks, at most those of a group: a request that declares more runs alone.
        """
        wanted = -(-(n_tokens + self._output_tokens) // self._block_tokens)
        return min(wanted, self._kv_blocks)

    def has_room(self, n_tokens: int) -> NDArray[np.bool_]:
        """Return which groups could promise memory to one more context.

        Parameters
        ----------
        n_tokens : int
            Its length now.

        Returns
        -------
        ndarray of shape (n_groups,), bool
            All true where nothing is promised.
        """
        if not self.is_used:
            return np.ones(len(self._by_group), dtype=bool)
        room: NDArray[np.bool_] = self._by_group + self.blocks(n_tokens) <= self._kv_blocks
        return room

    def make(self, request: int, *, group: int, n_tokens: int) -> None:
        """Promise memory to a request, once.

        Parameters
        ----------
        request, group, n_tokens : int
            Request id, its attention group, and its context now.
        """
        if self.is_used and request not in self._by_request:
            blocks = self.blocks(n_tokens)
            self._by_group[group] += blocks
            self._by_request[request] = (group, blocks)

    def drop(self, request: int) -> None:
        """Take a promise back, if there is one.

        Parameters
        ----------
        request : int
            Request id.
        """
        group, blocks = self._by_request.pop(request, (0, 0))
        self._by_group[group] -= blocks

    def drop_all(self, requests: Iterable[int]) -> None:
        """Take the promises of several requests back.

        Parameters
        ----------
        requests : iterable of int
            Request ids.
        """
        for request in requests:
            self.drop(request)
