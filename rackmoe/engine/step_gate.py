"""Whether a replica may start its next step."""

from collections.abc import Generator
from typing import Any

import simpy

__all__ = ["StepGate"]


class StepGate:
    """Open, unless something else has to end first; a running step is left alone.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._opened: simpy.Event | None = None

    def hold(self) -> None:
        """Let no step start."""
        if self._opened is None:
            self._opened = self._env.event()

    def release(self) -> None:
        """Let steps start again."""
        if self._opened is not None:
            self._opened.succeed()
            self._opened = None

    def passed(self) -> Generator[simpy.Event, Any, None]:
        """Wait until a step may start.

        Yields
        ------
        simpy.Event
            What it waits for.
        """
        while self._opened is not None:
            yield self._opened
