"""Which replica a request goes to, by what a router knows of each."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.frontends import FrontendsRouter
from rackmoe.engine.replica import Replica
from rackmoe.records import Pool
from rackmoe.scenario.policies import RouterChoice
from rackmoe.serving.router_cost import kv_aware_cost

__all__ = [
    "KvAwareRouter",
    "LeastLoadedRouter",
    "PartitionRouter",
    "RoundRobinRouter",
    "Router",
    "build_router",
]


class Router(Protocol):
    """Spreads requests over the replicas of a pool.

    Attributes
    ----------
    is_binding : bool
        Whether a cache waits for the replica that was chosen for it while others have room.
    """

    is_binding: bool

    def choose(
        self, replicas: Sequence[Replica], *, request: int, n_tokens: int
    ) -> tuple[Replica, int | None]:
        """Return where a prompt is computed: a replica, and its attention group if it matters."""

    def ranked(self, replicas: Iterable[Replica], *, request: int) -> list[Replica]:
        """Return the replicas that could decode a request, the preferred one first."""

    def placed(self, replica: Replica) -> None:
        """Take note of the replica that decodes a request."""

    def prompt_done(self, request: int) -> None:
        """Take note of a prompt that is complete, or lost."""

    def note(self) -> str | None:
        """Return what a reader of the figures should know."""


def _load(replica: Replica) -> tuple[int, int]:
    return replica.batcher.load_tokens, replica.index


class LeastLoadedRouter:
    """Prefers the replica with the fewest tokens that wait or are cached."""

    is_binding = False

    def choose(
        self,
        replicas: Sequence[Replica],
        *,
        request: int,  # noqa: ARG002  other routers look at it
        n_tokens: int,  # noqa: ARG002  likewise
    ) -> tuple[Replica, int | None]:
        """Return the least loaded replica, the first of equals."""
        if len(replicas) == 1:
            return replicas[0], None
        return min(replicas, key=_load), None

    def ranked(
        self,
        replicas: Iterable[Replica],
        *,
        request: int,  # noqa: ARG002  other routers look at it
    ) -> list[Replica]:
        """Return the replicas by load, the least loaded first."""
        return sorted(replicas, key=_load)

    def placed(self, replica: Replica) -> None:
        """Do nothing: the load of the replica says it."""

    def prompt_done(self, request: int) -> None:
        """Do nothing: the load of the replica says it."""

    def note(self) -> str | None:
        """Return nothing."""
        return None


class RoundRobinRouter:
    """Takes one replica after the other, whatever they have to do."""

    is_binding = False

    def __init__(self) -> None:
        self._next_prompt = 0
        self._next_decode = 0

    def choose(
        self,
        replicas: Sequence[Replica],
        *,
        request: int,  # noqa: ARG002  other routers look at it
        n_tokens: int,  # noqa: ARG002  likewise
    ) -> tuple[Replica, int | None]:
        """Return the next replica in service."""
        chosen = _from(replicas, self._next_prompt)[0]
        self._next_prompt = chosen.index + 1
        return chosen, None

    def ranked(
        self,
        replicas: Iterable[Replica],
        *,
        request: int,  # noqa: ARG002  other routers look at it
    ) -> list[Replica]:
        """Return the replicas in their order, beginning after the last one that got a request."""
        return _from(replicas, self._next_decode)

    def placed(self, replica: Replica) -> None:
        """Go on with the one after it."""
        self._next_decode = replica.index + 1

    def prompt_done(self, request: int) -> None:
        """Do nothing."""

    def note(self) -> str | None:
        """Return nothing."""
        return None


def _from(replicas: Iterable[Replica], start: int) -> list[Replica]:
    return sorted(replicas, key=lambda one: (one.index < start, one.index))


class _Assigned(NamedTuple):
    """A prompt that a worker has in hand."""

    worker: tuple[int, int | None]
    n_tokens: int
    new_tokens: int


class KvAwareRouter(LeastLoadedRouter):
    """Weighs what is left to compute of a prompt against what a worker does already.

    Where the attention groups of a replica keep prefix caches of their own, each
    group is a worker, as data-parallel ranks are in engines; otherwise each replica
    is one. Decode replicas, which have no prefix cache, are chosen by load.

    Parameters
    ----------
    overlap_weight : float
        Weight of prompt tokens to compute.
    has_shared_caches : bool
        Whether the groups of a replica find each other's blocks.
    """

    def __init__(self, *, overlap_weight: float, has_shared_caches: bool) -> None:
        self._overlap_weight = overlap_weight
        self._has_shared_caches = has_shared_caches
        self._assigned: dict[int, _Assigned] = {}
        self._waiting: dict[tuple[int, int | None], tuple[int, int]] = {}
        self._n_routed_tokens = self._n_found_tokens = 0
        self._has_caches = False

    def choose(
        self, replicas: Sequence[Replica], *, request: int, n_tokens: int
    ) -> tuple[Replica, int | None]:
        """Return the cheapest worker, the first of equals."""
        best: tuple[float, Replica, int | None, int] | None = None
        for replica in replicas:
            for group in self._groups(replica):
                cost, new_tokens = self._cost(replica, group, request, n_tokens)
                if best is None or cost < best[0]:
                    best = cost, replica, group, new_tokens
        _, chosen, group, new_tokens = best or (0.0, replicas[0], None, n_tokens)
        self._assign(request, _Assigned((chosen.index, group), n_tokens, new_tokens))
        return chosen, group

    def prompt_done(self, request: int) -> None:
        """Take the prompt off the load of its worker."""
        gone = self._assigned.pop(request, None)
        if gone is not None:
            whole, new = self._waiting[gone.worker]
            self._waiting[gone.worker] = whole - gone.n_tokens, new - gone.new_tokens

    def note(self) -> str | None:
        """Return how much of the prompts the chosen caches had when they were chosen."""
        if not self._n_routed_tokens:
            return None
        if not self._has_caches:
            return "kv_aware, but no replica has a prefix cache: requests were spread by load"
        found_frac = self._n_found_tokens / self._n_routed_tokens
        return (
            f"kv_aware, overlap weight {self._overlap_weight:g}: the chosen prefix caches had "
            f"{found_frac:.4g} of {self._n_routed_tokens} prompt tokens when requests were routed"
        )

    def _groups(self, replica: Replica) -> Iterable[int | None]:
        if self._has_shared_caches or replica.batcher.limits.n_groups == 1:
            return (None,)
        return range(replica.batcher.limits.n_groups)

    def _cost(
        self, replica: Replica, group: int | None, request: int, n_tokens: int
    ) -> tuple[float, int]:
        batcher = replica.batcher
        n_cached = 0
        if batcher.cache is not None:
            self._has_caches = True
            n_cached = batcher.cache.cached_tokens(request, group=group or 0, n_tokens=n_tokens)
        whole, new = self._waiting.get((replica.index, group), (0, 0))
        held = 0
        if replica.pool is not Pool.PREFILL:
            running = batcher.running
            held = running.total_kv_tokens if group is None else int(running.kv_tokens[group])
            held += whole
        cost = kv_aware_cost(
            n_tokens - n_cached,
            waiting_tokens=new,
            held_tokens=held,
            overlap_weight=self._overlap_weight,
        )
        return cost, n_tokens - n_cached

    def _assign(self, request: int, one: _Assigned) -> None:
        self.prompt_done(request)
        self._assigned[request] = one
        whole, new = self._waiting.get(one.worker, (0, 0))
        self._waiting[one.worker] = whole + one.n_tokens, new + one.new_tokens
        self._n_routed_tokens += one.n_tokens
        self._n_found_tokens += one.n_tokens - one.new_tokens


class PartitionRouter(LeastLoadedRouter):
    """Gives each application replicas of its own, an equal part of the pool.

    While all replicas of an application are out of service, the others take its requests.

    Parameters
    ----------
    application : ndarray of shape (n_requests,)
        Which application sends each request.
    n_applications : int
        Applications.
    """

    def __init__(self, application: NDArray[np.int64], *, n_applications: int) -> None:
        self._application = application
        self._n_applications = n_applications
        self._n_replicas = 0

    def choose(
        self, replicas: Sequence[Replica], *, request: int, n_tokens: int
    ) -> tuple[Replica, int | None]:
        """Return the least loaded replica of the application, the first of equals."""
        self._n_replicas = max(self._n_replicas, 1 + max(one.index for one in replicas))
        wanted = int(self._application[request])
        own = [one for one in replicas if self._owner(one) == wanted]
        return super().choose(own or replicas, request=request, n_tokens=n_tokens)

    def _owner(self, replica: Replica) -> int:
        return replica.index * self._n_applications // self._n_replicas


def build_router(
    choice: RouterChoice,
    *,
    has_shared_caches: bool,
    application: NDArray[np.int64],
    n_applications: int,
    rng: np.random.Generator,
) -> Router:
    """Return the router of a deployment.

    Parameters
    ----------
    choice : RouterChoice
        What the scenario says.
    has_shared_caches : bool
        Whether the attention groups of a replica share their prefix cache.
    application : ndarray of shape (n_requests,)
        Which application sends each request.
    n_applications : int
        Applications.
    rng : Generator
        Random numbers of a router that draws any.

    Returns
    -------
    Router
        Without any request.
    """
    if choice.frontends > 1:
        return FrontendsRouter(n_frontends=choice.frontends, rng=rng)
    if choice.policy == "by_application":
        return PartitionRouter(application, n_applications=n_applications)
    if choice.policy == "kv_aware":
        return KvAwareRouter(
            overlap_weight=choice.overlap_weight, has_shared_caches=has_shared_caches
        )
    return RoundRobinRouter() if choice.policy == "round_robin" else LeastLoadedRouter()
