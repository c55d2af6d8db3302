"""Several frontends in front of the same replicas, none of which knows of the others."""

from collections.abc import Iterable, Sequence

import numpy as np

from rackmoe.engine.replica import Replica

__all__ = ["FrontendsRouter"]


class FrontendsRouter:
    """Deals requests to frontends in turn, each of which deals its own to replicas in turn.

    Together they are far from even: the turns of the frontends have nothing to do with
    each other, so that replicas with few slots get two requests at once while others
    have none. A request waits for the replica that its frontend chose [1]_.

    Parameters
    ----------
    n_frontends : int
        Frontends.
    rng : Generator
        Decides where each of them begins.

    References
    ----------
    .. [1] NVIDIA srt-slurm, docs, "frontend": nginx in front of 1 + 9 Dynamo frontends unless
       a recipe says otherwise; Dynamo's frontends choose workers round-robin by default.
    """

    is_binding = True

    def __init__(self, *, n_frontends: int, rng: np.random.Generator) -> None:
        self._n_frontends = n_frontends
        starts = rng.integers(0, 2**31, size=(2, n_frontends)).tolist()
        self._next_prompt, self._next_decode = starts
        self._frontend: dict[int, int] = {}
        self._decoder: dict[int, int] = {}

    def choose(
        self,
        replicas: Sequence[Replica],
        *,
        request: int,
        n_tokens: int,  # noqa: ARG002  other routers look at it
    ) -> tuple[Replica, int | None]:
        """Return the replica whose turn it is at the frontend of the request."""
        return self._turn(list(replicas), self._next_prompt, request), None

    def ranked(self, replicas: Iterable[Replica], *, request: int) -> list[Replica]:
        """Return the replica that decodes a request: always the same one while it is there."""
        there = list(replicas)
        known = [one for one in there if one.index == self._decoder.get(request)]
        if known or not there:
            return known
        chosen = self._turn(there, self._next_decode, request)
        self._decoder[request] = chosen.index
        return [chosen]

    def placed(self, replica: Replica) -> None:
        """Do nothing: its turn is over already."""

    def prompt_done(self, request: int) -> None:
        """Do nothing."""

    def note(self) -> str | None:
        """Return nothing."""
        return None

    def _turn(self, replicas: list[Replica], turns: list[int], request: int) -> Replica:
        frontend = self._frontend.setdefault(request, len(self._frontend) % self._n_frontends)
        turns[frontend] += 1
        return replicas[turns[frontend] % len(replicas)]
