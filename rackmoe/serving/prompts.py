"""Prompts that wait for their turn in a replica."""

from collections import deque
from dataclasses import dataclass, field

__all__ = ["Prompt", "PromptQueue"]


@dataclass(slots=True, kw_only=True)
class Prompt:
    """A request whose prompt is not computed yet."""

    request: int
    n_tokens: int
    done_tokens: int = 0
    cached_tokens: int = 0


@dataclass(slots=True, kw_only=True)
class PromptQueue:
    """Prompts of one attention group: those that wait, and the one that is being computed."""

    waiting: deque[Prompt] = field(default_factory=deque)
    prefilling: Prompt | None = None
