"""Prompts that wait for their turn in a replica."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rackmoe.serving.step_batch import PrefillChunk

__all__ = ["Prompt", "PromptQueue"]


@dataclass(slots=True, kw_only=True)
class Prompt:
    """A request whose prompt is not computed yet."""

    request: int
    n_tokens: int
    done_tokens: int = 0
    cached_tokens: int = 0

    def cut(self, budget: int, *, group: int) -> PrefillChunk:
        """Return the next piece, which counts as done.

        Parameters
        ----------
        budget : int
            Tokens that it may have, at least 1.
        group : int
            Attention group that computes it.

        Returns
        -------
        PrefillChunk
            Up to the end of the prompt.
        """
        before = self.done_tokens
        n_tokens = min(budget, self.n_tokens - before)
        self.done_tokens += n_tokens
        return PrefillChunk(
            request=self.request,
            group=group,
            n_tokens=n_tokens,
            past_tokens=before,
            is_first=before == self.cached_tokens,
            is_last=self.done_tokens == self.n_tokens,
        )


@dataclass(slots=True, kw_only=True)
class PromptQueue:
    """Prompts of one attention group: those that wait, and the one that is being computed."""

    waiting: deque[Prompt] = field(default_factory=deque)
    prefilling: Prompt | None = None

    def put(
        self, prompt: Prompt, *, priorities: NDArray[np.int64] | None, is_urgent: bool
    ) -> None:
        """Put a prompt behind those of its own and of higher priority, or in front of its own.

        Parameters
        ----------
        prompt : Prompt
            One that arrived, or has to be computed again.
        priorities : ndarray of shape (n_requests,) or None
            Requests of a higher one come first; None where all are alike.
        is_urgent : bool
            Whether it goes in front of those of its own priority.
        """
        waiting = self.waiting
        if priorities is None:
            (waiting.appendleft if is_urgent else waiting.append)(prompt)
            return
        own = priorities[prompt.request]
        position = len(waiting)
        for other in reversed(waiting):
            before = priorities[other.request]
            if before > own or (before == own and not is_urgent):
                break
            position -= 1
        waiting.insert(position, prompt)
