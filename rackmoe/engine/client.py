"""The users: they send requests at their times, or one whenever another ends."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import to_ps
from rackmoe.engine.ledger import Ledger

__all__ = ["ClosedLoopClient", "MeasuredRequests", "OpenLoopClient"]


class MeasuredRequests:
    """The requests that a run measures, and when it may stop.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    is_measured : ndarray of shape (n,), bool
        Whether each request is followed to its end.

    Attributes
    ----------
    done : simpy.Event
        Succeeds when every measured request has ended.
    """

    def __init__(self, env: simpy.Environment, *, is_measured: NDArray[np.bool_]) -> None:
        self._is_measured = is_measured
        self._left = int(is_measured.sum())
        self.done = env.event()
        if self._left == 0:
            self.done.succeed()

    @property
    def n_left(self) -> int:
        """Measured requests that have not ended."""
        return self._left

    def ended(self, requests: NDArray[np.int64]) -> None:
        """Count requests that ended.

        Parameters
        ----------
        requests : ndarray of shape (n,)
            Request ids.
        """
        before = self._left
        self._left -= int(self._is_measured[requests].sum())
        if before and not self._left:
            self.done.succeed()


class OpenLoopClient:
    """Send every request at its arrival time, whatever became of the others.

    Parameters
    ----------
    env : simpy.Environment
        The clock, in integer picoseconds.
    arrival_s : ndarray of shape (n,)
        Arrival times, ascending. [s]
    ledger : Ledger
        The requests of the run.
    submit : callable
        Takes the request id.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        arrival_s: NDArray[np.float64],
        ledger: Ledger,
        submit: Callable[[int], None],
    ) -> None:
        self._env = env
        self._times = [to_ps(float(t)) for t in arrival_s]
        self._ledger = ledger
        self._submit = submit
        env.process(self._send())

    def ended(self, requests: NDArray[np.int64]) -> None:
        """Do nothing: nobody waits for an answer."""

    def _send(self) -> Generator[simpy.Event, Any, None]:
        env = self._env
        for request, at in enumerate(self._times):
            if at > env.now:
                yield env.timeout(at - env.now)
            self._ledger.arrival[request] = env.now
            self._submit(request)


class ClosedLoopClient:
    """Keep a constant number of requests in the system.

    Parameters
    ----------
    env : simpy.Environment
        The clock, in integer picoseconds.
    concurrency : int
        Requests in the system.
    ledger : Ledger
        The requests of the run.
    submit : callable
        Takes the request id.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        concurrency: int,
        ledger: Ledger,
        submit: Callable[[int], None],
    ) -> None:
        self._env = env
        self._ledger = ledger
        self._submit = submit
        self._next = 0
        env.process(self._start(concurrency))

    def ended(self, requests: NDArray[np.int64]) -> None:
        """Send as many requests as ended.

        Parameters
        ----------
        requests : ndarray of shape (n,)
            Requests that ended now.
        """
        self._send(len(requests))

    def _send(self, n_requests: int) -> None:
        for _ in range(n_requests):
            if self._next == len(self._ledger):
                return
            request = self._next
            self._next += 1
            self._ledger.arrival[request] = self._env.now
            self._submit(request)

    def _start(self, concurrency: int) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(0)
        self._send(concurrency)
