"""How much of the memory of the CPUs the caches of preempted sequences take."""

import numpy as np

from rackmoe.errors import InvariantError

__all__ = ["HostCache"]


class HostCache:
    """KV blocks in host memory, by attention group of one replica.

    Each GPU of a group keeps its share beside the others' in the memory of its own CPU,
    so the block of a group is one block of each of its GPUs.

    Parameters
    ----------
    n_groups : int
        Attention groups.
    n_blocks : int
        Blocks of each group.
    block_tokens : int
        Tokens of one block.

    Attributes
    ----------
    free_blocks : ndarray of shape (n_groups,)
        Blocks that nobody holds.
    most_blocks : int
        Blocks of the fullest group at its fullest.

    Examples
    --------
    >>> host = HostCache(n_groups=1, n_blocks=4, block_tokens=16)
    >>> host.take(7, group=0, n_tokens=50), host.take(8, group=0, n_tokens=1)
    (True, False)
    >>> host.give_back(7)
    >>> host.free_blocks
    array([4])
    """

    def __init__(self, *, n_groups: int, n_blocks: int, block_tokens: int) -> None:
        self.free_blocks = np.full(n_groups, n_blocks, dtype=np.int64)
        self.most_blocks = 0
        self._n_blocks = n_blocks
        self._block_tokens = block_tokens
        self._held: dict[int, tuple[int, int]] = {}

    def take(self, request: int, *, group: int, n_tokens: int) -> bool:
        """Keep the context of a request.

        Parameters
        ----------
        request, group, n_tokens : int
            Request id, its attention group, and its context.

        Returns
        -------
        bool
            False, and nothing changes, where it does not fit.

        Raises
        ------
        InvariantError
            If the request is here already.
        """
        if request in self._held:
            raise InvariantError(f"LAW-03: request {request} is in host memory already")
        wanted = -(-n_tokens // self._block_tokens)
        if wanted > self.free_blocks[group]:
            return False
        self.free_blocks[group] -= wanted
        self._held[request] = group, wanted
        self.most_blocks = max(self.most_blocks, self._n_blocks - int(self.free_blocks[group]))
        return True

    def give_back(self, request: int) -> None:
        """Free the blocks of a request.

        Parameters
        ----------
        request : int
            One that is here.

        Raises
        ------
        InvariantError
            If it is not.
        """
        if request not in self._held:
            raise InvariantError(f"LAW-03: request {request} is not in host memory")
        group, blocks = self._held.pop(request)
        self.free_blocks[group] += blocks

    def check(self) -> None:
        """Check that held and free blocks make up every group (LAW-03).

        Raises
        ------
        InvariantError
            If they do not.
        """
        held = np.zeros_like(self.free_blocks)
        for group, blocks in self._held.values():
            held[group] += blocks
        if ((held + self.free_blocks != self._n_blocks) | (self.free_blocks < 0)).any():
            raise InvariantError(
                f"LAW-03 in host memory: {held.tolist()} blocks held, "
                f"{self.free_blocks.tolist()} free, {self._n_blocks} in each group"
            )
