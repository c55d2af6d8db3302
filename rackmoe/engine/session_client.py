"""The users of sessions and of several applications: a turn follows the one before it."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import now_ps, to_ps
from rackmoe.engine.ledger import Ledger
from rackmoe.serving.workload import RequestTable

__all__ = ["SessionClient"]


class SessionClient:
    """Send first turns at their times or as others end, later ones a delay after the turn before.

    A session ends with its last turn. In a closed loop the next one of the same
    application starts then. Users go on after a request that was rejected.

    Parameters
    ----------
    env : simpy.Environment
        The clock, in integer picoseconds.
    requests : RequestTable
        The requests; single ones are sessions of one turn.
    concurrency : sequence of int or None
        Sessions of each application in a closed loop; None where they have times.
    ledger : Ledger
        The requests of the run.
    submit : callable
        Takes the request id.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        requests: RequestTable,
        concurrency: Sequence[int | None],
        ledger: Ledger,
        submit: Callable[[int], None],
    ) -> None:
        self._env = env
        self._ledger = ledger
        self._submit = submit
        self._application = requests.application
        self._session = requests.session
        self._n_left = np.bincount(self._session, minlength=len(requests))
        self._delay_s = requests.delay_s
        is_timed = ~np.isnan(requests.arrival_s)
        followers = np.flatnonzero(~is_timed & (requests.previous >= 0))
        self._followers = followers[np.argsort(requests.previous[followers], kind="stable")]
        turns = np.arange(len(requests) + 1)
        self._first_follower = np.searchsorted(requests.previous[self._followers], turns)
        waiting = np.flatnonzero(~is_timed & (requests.previous < 0))
        self._waiting = [
            deque(waiting[requests.application[waiting] == number].tolist())
            for number in range(len(concurrency))
        ]
        timed = np.flatnonzero(is_timed)
        timed = timed[np.argsort(requests.arrival_s[timed], kind="stable")]
        self._timed = [(row, to_ps(float(requests.arrival_s[row]))) for row in timed]
        env.process(self._send_timed())
        env.process(self._start_loops(concurrency))

    def ended(self, requests: NDArray[np.int64]) -> None:
        """Let the users of requests go on.

        Parameters
        ----------
        requests : ndarray of shape (n,)
            Requests that ended now.
        """
        for request in requests.tolist():
            first, last = self._first_follower[request : request + 2]
            for follower in self._followers[first:last].tolist():
                self._send_later(follower)
            session = self._session[request]
            self._n_left[session] -= 1
            if not self._n_left[session]:
                self._start_next(int(self._application[request]))

    def _send(self, request: int) -> None:
        self._ledger.arrival[request] = now_ps(self._env)
        self._submit(request)

    def _send_later(self, request: int) -> None:
        delay = self._env.timeout(to_ps(float(self._delay_s[request])))
        delay.callbacks.append(lambda _: self._send(request))

    def _start_next(self, application: int) -> None:
        waiting = self._waiting[application]
        if waiting:
            self._send(waiting.popleft())

    def _start_loops(self, concurrency: Sequence[int | None]) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(0)
        for application, n_sessions in enumerate(concurrency):
            for _ in range(n_sessions or 0):
                self._start_next(application)

    def _send_timed(self) -> Generator[simpy.Event, Any, None]:
        for request, at in self._timed:
            now = now_ps(self._env)
            if at > now:
                yield self._env.timeout(at - now)
            self._send(int(request))
