"""When a scheduler lets new prompts into its steps."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PromptGate", "PromptPace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPace:
    """How often a scheduler takes new prompts.

    Attributes
    ----------
    poll_steps : int
        Steps between two looks at the intake; 1 looks before every step.
    balance_steps : int
        Steps for which a prompt waits for prompts in all other groups; 0 never waits.
    """

    poll_steps: int = 1
    balance_steps: int = 0


class PromptGate:
    """Which waiting prompts a step may start.

    Engines look at their intake only every few steps, and with several attention groups
    may hold prompts back until each group has one, so that fewer steps are long.

    Parameters
    ----------
    poll_steps : int
        Steps between two looks at the intake; 1 looks before every step.
    balance_steps : int
        Steps for which a prompt waits for prompts in all other groups; 0 never waits.
    """

    def __init__(self, *, poll_steps: int, balance_steps: int) -> None:
        self._poll_steps = poll_steps
        self._balance_steps = balance_steps
        self._n_steps = 0
        self._next_poll = 0
        self._waiting_since: int | None = None
        # prompts that were there at the last look and did not fit the steps since
        self._n_seen = 0

    @property
    def is_open(self) -> bool:
        """Whether every prompt may start at once."""
        return self._poll_steps <= 1 and self._balance_steps == 0

    def count(self, n_steps: int) -> None:
        """Take note of steps that ran.

        Parameters
        ----------
        n_steps : int
            How many.
        """
        self._n_steps += n_steps

    def allows(self, n_waiting: Sequence[int], *, is_idle: bool) -> bool:
        """Return whether waiting prompts may start now.

        Parameters
        ----------
        n_waiting : sequence of int
            Prompts that wait, by attention group.
        is_idle : bool
            Whether nothing else runs; an idle replica never holds prompts back.

        Returns
        -------
        bool
            False until the next look, or while other groups have none.
        """
        if self.is_open:
            return True
        total = sum(n_waiting)
        if not total:
            self._waiting_since = None
            self._n_seen = 0
            return True
        if self._waiting_since is None:
            self._waiting_since = self._n_steps
        is_seen = total < self._n_seen
        if not is_idle and not is_seen and self._n_steps < self._next_poll:
            return False
        waited = self._n_steps - self._waiting_since
        if not is_idle and min(n_waiting) == 0 and waited < self._balance_steps:
            return False
        self._waiting_since = None
        self._n_seen = total
        if not is_seen:
            self._next_poll = self._n_steps + self._poll_steps
        return True
