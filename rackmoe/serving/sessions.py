"""How agents talk: sessions of turns that repeat their context, drawn or generated."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, TraceError
from rackmoe.serving.lengths import LengthModel
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.workload import RequestTable

__all__ = ["SessionModel", "draw_sessions", "start_sessions"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_BLOCK_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionModel:
    """Agents that append to one context turn by turn.

    Turn k asks with everything before it and a new piece of text, and gets an answer;
    question and answer become part of the next context.

    Parameters
    ----------
    system_tokens : int
        System prompt and tool descriptions that every session begins with.
    turns : float
        Mean number of turns, geometrically distributed, at least 1.
    lengths : LengthModel
        Text that a turn adds, and its answer.
    delay_s : float
        Mean delay between an answer and the next turn, exponentially distributed:
        tools that run, people who think. [s]
    max_context_tokens : int, optional
        A session ends before its context grows beyond this.
    """

    system_tokens: int
    turns: float
    lengths: LengthModel
    delay_s: float
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.system_tokens < 0 or not 1 <= self.turns < np.inf:
            raise ConfigError(
                f"sessions: {self.system_tokens} system tokens, {self.turns} turns; expected 0 or"
                " more tokens and at least 1 turn; write for example 'turns: 10'"
            )
        if not 0 <= self.delay_s < np.inf:
            raise ConfigError(
                f"sessions.delay: {self.delay_s} s; expected 0 s or more; write for example '5 s'"
            )

    def sample(self, n_requests: int, *, rng: np.random.Generator) -> RequestTable:
        """Draw sessions until there are so many turns.

        Parameters
        ----------
        n_requests : int
            Turns; the last session is cut.
        rng : Generator
            The stream named ``sessions``.

        Returns
        -------
        RequestTable
            Session after session, all of them without arrival times.
        """
        # a turn starts a session with probability 1 / turns
        is_first = rng.random(n_requests) < 1 / self.turns
        delay_s = rng.standard_exponential(n_requests) * self.delay_s
        added, answered = self.lengths.sample(n_requests, rng=rng)
        is_first[:1] = True
        if self.max_context_tokens is not None:
            is_first = _cut_long(
                added + answered,
                is_first,
                system_tokens=self.system_tokens,
                most_tokens=self.max_context_tokens,
            )
        inputs = _contexts(added, answered, is_first, self.system_tokens)
        rows = np.arange(n_requests)
        previous = np.where(is_first, -1, rows - 1)
        return RequestTable(
            arrival_s=np.full(n_requests, np.nan),
            input_tokens=inputs,
            output_tokens=answered,
            prefixes=_growing_blocks(inputs, answered, is_first, self.system_tokens),
            previous=previous,
            delay_s=np.where(is_first, 0.0, delay_s),
        )


def draw_sessions(
    trace: RequestTable,
    *,
    n_requests: int,
    rng: np.random.Generator,
    max_delay_s: float = np.inf,
) -> RequestTable:
    """Draw sessions of a trace, each as often as chance has it.

    Parameters
    ----------
    trace : RequestTable
        Requests with their previous turns.
    n_requests : int
        Turns; the last session is cut.
    rng : Generator
        The stream named ``sessions``.
    max_delay_s : float, optional
        Longer delays are cut to this: nobody waits overnight in a run of minutes. [s]

    Returns
    -------
    RequestTable
        Session after session, all of them without arrival times. Copies of a session
        share no prompt block but the common ones.

    Raises
    ------
    TraceError
        If no request has a previous turn.
    """
    if not (trace.previous >= 0).any():
        raise TraceError(
            "sessions.trace: no request follows another one; expected a trace of sessions;"
            " use arrivals.trace for single requests"
        )
    order = np.argsort(trace.session, kind="stable")
    starts = np.flatnonzero(trace.previous[order] < 0)
    sizes = np.diff(np.append(starts, order.size))
    n_most = -(-n_requests // max(1, int(sizes.min())))
    drawn = rng.integers(0, starts.size, size=max(1, n_most))
    n_drawn = 1 + int(np.searchsorted(np.cumsum(sizes[drawn]), n_requests))
    drawn = drawn[:n_drawn]
    copy = np.repeat(np.arange(drawn.size), sizes[drawn])[:n_requests]
    first = np.repeat(np.cumsum(sizes[drawn]) - sizes[drawn], sizes[drawn])[:n_requests]
    row = order[starts[drawn[copy]] + np.arange(copy.size) - first]
    # where each row of the trace stands within its session
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size) - np.repeat(starts, sizes)
    before = trace.previous[row]
    return replace(
        trace,
        arrival_s=np.full(row.size, np.nan),
        input_tokens=trace.input_tokens[row],
        output_tokens=trace.output_tokens[row],
        trace_row=row,
        domain=trace.domain[row],
        application=np.zeros(row.size, np.int64),
        application_names=("default",),
        prefixes=None if trace.prefixes is None else trace.prefixes.take(row, copy=copy),
        previous=np.where(before < 0, -1, first + rank[before]),
        delay_s=np.minimum(trace.delay_s[row], max_delay_s),
    )


def start_sessions(sessions: RequestTable, *, start_s: FloatArray) -> RequestTable:
    """Return sessions whose first turns arrive at given times.

    Parameters
    ----------
    sessions : RequestTable
        Session after session.
    start_s : ndarray of shape (n_starts,)
        Times, ascending. Sessions beyond them are left out. [s]

    Returns
    -------
    RequestTable
        The sessions that start; later turns have no time of their own.
    """
    is_first = sessions.previous < 0
    number = np.cumsum(is_first) - 1
    n_kept = int(np.searchsorted(number, start_s.size))
    arrival_s = np.full(n_kept, np.nan)
    arrival_s[is_first[:n_kept]] = start_s[number[:n_kept][is_first[:n_kept]]]
    return replace(sessions.head(n_kept), arrival_s=arrival_s)


def _contexts(
    added: IntArray, answered: IntArray, is_first: NDArray[np.bool_], system_tokens: int
) -> IntArray:
    """Return the prompt of every turn: the system prompt, all turns before, and its own text."""
    grown = np.cumsum(added + answered)
    starts = np.flatnonzero(is_first)
    before = (grown - added - answered)[starts]
    inputs: IntArray = system_tokens + grown - answered - before[np.cumsum(is_first) - 1]
    return inputs


def _cut_long(
    grown_by: IntArray, is_first: NDArray[np.bool_], *, system_tokens: int, most_tokens: int
) -> NDArray[np.bool_]:
    """Return the first turns, with further ones where a context would grow too long."""
    cut = is_first.tolist()
    context = 0
    for turn, n_tokens in enumerate(grown_by.tolist()):
        context += n_tokens
        if cut[turn] or context > most_tokens:
            cut[turn] = True
            context = system_tokens + n_tokens
    return np.array(cut, bool)


def _growing_blocks(
    inputs: IntArray, answered: IntArray, is_first: NDArray[np.bool_], system_tokens: int
) -> PrefixBlocks:
    """Return the blocks of contexts of which each continues the one before."""
    size = _BLOCK_TOKENS
    n_blocks = -(-(inputs + answered) // size)
    n_system = system_tokens // size
    # full blocks of a context keep their identity, the others get a new one
    n_old = np.where(is_first, n_system, np.append(0, (inputs + answered)[:-1] // size))
    n_new = n_blocks - n_old
    offsets = np.concatenate(([0], np.cumsum(n_blocks))).astype(np.int64)
    first_new = n_system + np.cumsum(n_new) - n_new
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], n_blocks)
    ids = np.where(
        within < np.repeat(n_old, n_blocks), -1, np.repeat(first_new - n_old, n_blocks) + within
    )
    session = np.cumsum(is_first) - 1
    ids = _inherit(ids, offsets=offsets, n_old=n_old, session=session, n_system=n_system)
    return PrefixBlocks(offsets=offsets, ids=ids, block_tokens=size, n_common=n_system)


def _inherit(
    ids: IntArray, *, offsets: IntArray, n_old: IntArray, session: IntArray, n_system: int
) -> IntArray:
    """Fill in the identities that each turn takes from the one before."""
    own = ids.copy()
    for turn in range(n_old.size):
        start = offsets[turn]
        if turn and session[turn] == session[turn - 1]:
            before = offsets[turn - 1]
            own[start : start + n_old[turn]] = own[before : before + n_old[turn]]
        else:
            own[start : start + n_system] = np.arange(n_system)
    return own
