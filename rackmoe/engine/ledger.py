"""Where every request of a run stands: one row of plain arrays each."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.clock import PICOSECONDS_PER_S
from rackmoe.records import State, Table

__all__ = ["NEVER", "Ledger"]

NEVER = -1
"""A point in time that has not come."""

_TIMES = ("arrival", "scheduled", "prefill_end", "transfer_end", "first_token", "last_token")


class Ledger:
    """The requests of a run, as arrays indexed by request id; times in integer picoseconds.

    Parameters
    ----------
    n_input_tokens, n_output_tokens : ndarray of shape (n,)
        Prompt and output lengths.
    application : ndarray of shape (n,), optional
        Which application sends each; all the same by default.

    Attributes
    ----------
    remaining : ndarray of shape (n,)
        Output tokens that the model has still to emit. The engine alone reads
        it; a scheduling policy never does (LAW-12).
    trace_row : ndarray of shape (n,)
        First row of the routing trace that the request reads.
    """

    def __init__(
        self,
        *,
        n_input_tokens: NDArray[np.int64],
        n_output_tokens: NDArray[np.int64],
        application: NDArray[np.int64] | None = None,
    ) -> None:
        n = len(n_input_tokens)
        self.n_input_tokens = n_input_tokens
        self.n_output_tokens = n_output_tokens.copy()
        self.remaining = n_output_tokens.copy()
        self.trace_row = np.zeros(n, dtype=np.int64)
        self.n_preemptions = np.zeros(n, dtype=np.int64)
        self.n_cached_tokens = np.zeros(n, dtype=np.int64)
        self.application = np.zeros(n, dtype=np.int64) if application is None else application
        self.state = np.full(n, int(State.WAITING), dtype=np.int8)
        self.prefill_replica = np.full(n, NEVER, dtype=np.int64)
        self.decode_replica = np.full(n, NEVER, dtype=np.int64)
        self.decode_rank = np.full(n, NEVER, dtype=np.int64)
        for name in _TIMES:
            setattr(self, name, np.full(n, NEVER, dtype=np.int64))
        self.n_done = 0
        self.n_rejected = 0
        self.n_cut_short = 0

    arrival: NDArray[np.int64]
    scheduled: NDArray[np.int64]
    prefill_end: NDArray[np.int64]
    transfer_end: NDArray[np.int64]
    first_token: NDArray[np.int64]
    last_token: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.remaining)

    @property
    def n_ended(self) -> int:
        """Requests that are done or were rejected."""
        return self.n_done + self.n_rejected

    def context(self, request: int) -> int:
        """Return the tokens that the KV cache of a request has to hold.

        Parameters
        ----------
        request : int
            Request id.

        Returns
        -------
        int
            Prompt and the output emitted so far.
        """
        emitted = self.n_output_tokens[request] - self.remaining[request]
        return int(self.n_input_tokens[request] + emitted)

    def start(self, request: int, *, now: int, replica: int, n_cached_tokens: int = 0) -> None:
        """Note that the first prefill step of a request starts.

        Parameters
        ----------
        request : int
            Request id.
        now : int
            Simulated time in picoseconds.
        replica : int
            The replica that computes the prompt.
        n_cached_tokens : int
            Tokens of the prompt that it need not compute.
        """
        if self.scheduled[request] == NEVER:
            self.scheduled[request] = now
            self.n_cached_tokens[request] = n_cached_tokens
        self.prefill_replica[request] = replica
        self.state[request] = State.RUNNING

    def finish(self, requests: NDArray[np.int64], *, now: int) -> None:
        """Note that requests emitted their last token.

        Parameters
        ----------
        requests : ndarray of shape (n,)
            Request ids.
        now : int
            Simulated time in picoseconds.
        """
        self.last_token[requests] = now
        self.remaining[requests] = 0
        self.state[requests] = State.DONE
        self.n_done += len(requests)

    def cut_short(self, request: int, *, now: int) -> None:
        """Note that a request ends before its last token, because its context outgrew the memory.

        Parameters
        ----------
        request : int
            Request id.
        now : int
            Simulated time in picoseconds.
        """
        self.n_output_tokens[request] -= self.remaining[request]
        self.n_cut_short += 1
        self.finish(np.array([request]), now=now)

    def reject(self, request: int) -> None:
        """Note that a request can never be served.

        Parameters
        ----------
        request : int
            Request id.
        """
        self.state[request] = State.REJECTED
        self.n_rejected += 1

    def write(self, table: Table) -> None:
        """Append every request that arrived to the request table.

        Parameters
        ----------
        table : Table
            The table to fill.
        """
        kept = np.flatnonzero(self.arrival != NEVER)
        columns = {f"{name}_s": _seconds(getattr(self, name)[kept]) for name in _TIMES}
        # a first token that travels with its KV cache is not out yet
        emitted = np.where(self.first_token == NEVER, 0, self.n_output_tokens - self.remaining)
        table.append_columns(
            {
                "request_id": kept,
                **columns,
                "n_input_tokens": self.n_input_tokens[kept],
                "n_output_tokens": emitted[kept],
                **{
                    name: getattr(self, name)[kept]
                    for name in (
                        "n_preemptions",
                        "prefill_replica",
                        "decode_replica",
                        "decode_rank",
                        "state",
                        "n_cached_tokens",
                        "application",
                    )
                },
            }
        )


def _seconds(picoseconds: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(picoseconds == NEVER, np.nan, picoseconds / PICOSECONDS_PER_S)
