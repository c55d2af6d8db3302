"""Which prompt tokens need no computing: prompt blocks are kept, the oldest unused ones leave."""

import itertools

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import CapacityError, InvariantError
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.workload import RequestTable

__all__ = ["PrefixCache", "replay_hit_frac"]

IntArray = NDArray[np.int64]


class _Store:
    """Blocks of one memory: how many sequences use each, and the unused ones by age."""

    __slots__ = ("idle", "users")

    def __init__(self) -> None:
        self.users: dict[int, int] = {}
        self.idle: dict[int, None] = {}  # the first one has been unused for longest


class PrefixCache:
    """The prompt blocks that a replica keeps after the requests that computed them.

    A block in use is counted and never leaves; an unused one stays until its place
    is wanted. The blocks of a sequence become unused from its end towards its
    beginning, so a prompt loses its end first and keeps what most others share.

    Parameters
    ----------
    prefixes : PrefixBlocks
        Blocks of all requests of the run.
    n_groups : int
        Attention groups of the replica.
    is_shared : bool, optional
        Whether the groups find each other's blocks, as in a store in host memory;
        otherwise each has a store in its own memory.
    capacity_blocks : int, optional
        Blocks of one store, used and unused; unlimited by default.
    is_in_free_memory : bool, optional
        Whether unused blocks live in KV memory that no sequence holds, so that
        `shrink` drops what does not fit there.

    Attributes
    ----------
    block_tokens : int
        Tokens of one block.
    n_asked_blocks, n_found_blocks, n_evicted_blocks : int
        Blocks of the prompts that were looked up, those of them that were there,
        and blocks that left.

    Examples
    --------
    >>> turns = PrefixBlocks(
    ...     offsets=np.array([0, 2, 5]), ids=np.array([7, 8, 7, 8, 9]), block_tokens=16
    ... )
    >>> cache = PrefixCache(turns, n_groups=1)
    >>> cache.enter(0, group=0, n_tokens=32)
    0
    >>> cache.computed(0, n_tokens=32)
    >>> cache.leave(0, n_tokens=32)
    >>> cache.enter(1, group=0, n_tokens=48)
    32
    """

    __slots__ = (
        "_capacity_blocks",
        "_held",
        "_is_in_free_memory",
        "_is_shared",
        "_prefixes",
        "_stores",
        "block_tokens",
        "n_asked_blocks",
        "n_evicted_blocks",
        "n_found_blocks",
    )

    def __init__(
        self,
        prefixes: PrefixBlocks,
        *,
        n_groups: int,
        is_shared: bool = False,
        capacity_blocks: int | None = None,
        is_in_free_memory: bool = False,
    ) -> None:
        if capacity_blocks is not None and capacity_blocks < 0:
            raise CapacityError(
                f"prefix cache: {capacity_blocks} blocks; expected 0 or more; raise its capacity"
            )
        self.block_tokens = prefixes.block_tokens
        self._prefixes = prefixes
        self._is_shared = is_shared
        self._is_in_free_memory = is_in_free_memory
        self._capacity_blocks = capacity_blocks
        self._stores = [_Store() for _ in range(1 if is_shared else n_groups)]
        self._held: dict[int, tuple[_Store, list[int]]] = {}
        self.n_asked_blocks = self.n_found_blocks = self.n_evicted_blocks = 0

    @property
    def n_stored_blocks(self) -> int:
        """Blocks in all stores."""
        return sum(len(store.users) for store in self._stores)

    def cached_tokens(self, request: int, *, group: int, n_tokens: int) -> int:
        """Return how many tokens of a prompt are stored, and change nothing.

        Parameters
        ----------
        request : int
            Request id.
        group : int
            Attention group that would compute it.
        n_tokens : int
            Tokens of its prompt.

        Returns
        -------
        int
            Less than the prompt: its last token is always computed, to have an output.
        """
        n_found = len(self._found(self._store(group), self._prompt(request, n_tokens)))
        return min(n_found * self.block_tokens, n_tokens - 1)

    def enter(self, request: int, *, group: int, n_tokens: int) -> int:
        """Start a prompt: use its stored blocks.

        Parameters
        ----------
        request : int
            Request id.
        group : int
            Attention group that computes it.
        n_tokens : int
            Tokens of its prompt.

        Returns
        -------
        int
            Tokens at its beginning that need no computing.

        Raises
        ------
        InvariantError
            If the request is here already.
        """
        if request in self._held:
            raise InvariantError(f"prefix cache: request {request} entered twice")
        store, prompt = self._store(group), self._prompt(request, n_tokens)
        found = self._found(store, prompt)
        for block in found:
            _use(store, block)
        self._held[request] = (store, found)
        self.n_asked_blocks += len(prompt)
        self.n_found_blocks += len(found)
        return min(len(found) * self.block_tokens, n_tokens - 1)

    def computed(self, request: int, *, n_tokens: int, is_complete: bool = True) -> None:
        """Store the blocks of a context that has been computed.

        Parameters
        ----------
        request : int
            A request that entered.
        n_tokens : int
            Tokens computed so far, those found in the cache included.
        is_complete : bool, optional
            Whether the prompt ends here, so that its last block is stored though
            it is not full.
        """
        store, held = self._held[request]
        n_blocks = n_tokens // self.block_tokens
        if is_complete:
            n_blocks = -(-n_tokens // self.block_tokens)
        for block in self._prefixes.of(request)[len(held) : n_blocks].tolist():
            if block not in store.users and not self._make_room(store):
                return
            _use(store, block)
            held.append(block)

    def leave(self, request: int, *, n_tokens: int = 0) -> None:
        """End the use of a request's blocks; they stay while there is room.

        Parameters
        ----------
        request : int
            A request that may have entered.
        n_tokens : int, optional
            Its context when it was done: full blocks of its answer are stored too.
        """
        if request not in self._held:
            return
        self.computed(request, n_tokens=n_tokens, is_complete=False)
        store, held = self._held.pop(request)
        for block in reversed(held):
            store.users[block] -= 1
            if not store.users[block]:
                store.idle[block] = None

    def shrink(self, free_tokens: IntArray) -> None:
        """Drop unused blocks that the free memory of their group does not hold.

        Blocks in use are part of the memory of the sequences that use them. A cache
        with memory of its own drops nothing.

        Parameters
        ----------
        free_tokens : ndarray of shape (n_groups,)
            Tokens for which each group has free KV memory.
        """
        if not self._is_in_free_memory:
            return
        if self._is_shared:
            free_tokens = np.array([free_tokens.sum()])
        for store, n_tokens in zip(self._stores, free_tokens.tolist(), strict=True):
            n_kept = n_tokens // self.block_tokens
            if len(store.idle) > n_kept:
                for block in list(itertools.islice(store.idle, len(store.idle) - n_kept)):
                    self._evict(store, block)

    def check(self) -> None:
        """Check that the blocks in use are those that requests hold.

        Raises
        ------
        InvariantError
            If a block is counted wrongly or a store is too full.
        """
        counted: list[dict[int, int]] = [dict.fromkeys(store.idle, 0) for store in self._stores]
        for store, held in self._held.values():
            users = counted[self._stores.index(store)]
            for block in held:
                users[block] = users.get(block, 0) + 1
        for store, users in zip(self._stores, counted, strict=True):
            if store.users != users:
                raise InvariantError("prefix cache: users of blocks differ from requests in it")
            if self._capacity_blocks is not None and len(users) > self._capacity_blocks:
                raise InvariantError(
                    f"prefix cache: {len(users)} blocks in a store of {self._capacity_blocks}"
                )

    def _store(self, group: int) -> _Store:
        return self._stores[0 if self._is_shared else group]

    def _prompt(self, request: int, n_tokens: int) -> list[int]:
        blocks: list[int] = self._prefixes.of(request)[
            : -(-n_tokens // self.block_tokens)
        ].tolist()
        return blocks

    @staticmethod
    def _found(store: _Store, prompt: list[int]) -> list[int]:
        return list(itertools.takewhile(store.users.__contains__, prompt))

    def _make_room(self, store: _Store) -> bool:
        """Return whether one more block fits, after dropping an unused one where it must."""
        if self._capacity_blocks is None or len(store.users) < self._capacity_blocks:
            return True
        if not store.idle:
            return False
        self._evict(store, next(iter(store.idle)))
        return True

    def _evict(self, store: _Store, block: int) -> None:
        del store.idle[block], store.users[block]
        self.n_evicted_blocks += 1


def _use(store: _Store, block: int) -> None:
    store.users[block] = store.users.get(block, 0) + 1
    store.idle.pop(block, None)


def replay_hit_frac(requests: RequestTable, *, capacity_blocks: int | None = None) -> float:
    """Return the share of prompt blocks that one cache finds, requests served one by one.

    Parameters
    ----------
    requests : RequestTable
        Requests with prefix blocks, in the order in which they are served.
    capacity_blocks : int, optional
        Blocks of the cache; unlimited by default.

    Returns
    -------
    float
        0 to 1; NaN without prefix blocks.
    """
    if requests.prefixes is None:
        return float("nan")
    cache = PrefixCache(requests.prefixes, n_groups=1, capacity_blocks=capacity_blocks)
    outputs = requests.output_tokens.tolist()
    for request, n_tokens in enumerate(requests.input_tokens.tolist()):
        cache.enter(request, group=0, n_tokens=n_tokens)
        cache.computed(request, n_tokens=n_tokens)
        cache.leave(request, n_tokens=n_tokens + outputs[request])
    return cache.n_found_blocks / cache.n_asked_blocks if cache.n_asked_blocks else float("nan")
