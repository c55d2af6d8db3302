import numpy as np
import pytest

from rackmoe.errors import ConfigError, TraceError
from rackmoe.serving.lengths import FixedLengths
from rackmoe.serving.prefix_cache import replay_hit_frac
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.sessions import SessionModel, draw_sessions, start_sessions
from rackmoe.serving.workload import RequestTable

LENGTHS = FixedLengths(input_tokens=100, output_tokens=28)


def model(**changes) -> SessionModel:
    values = {"system_tokens": 640, "turns": 4.0, "lengths": LENGTHS, "delay_s": 2.0}
    return SessionModel(**(values | changes))


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def trace() -> RequestTable:
    """Two sessions that take turns: rows 0, 2, 3 and 1, 4; block 0 is common to all."""
    return RequestTable(
        arrival_s=np.array([0.0, 5.0, np.nan, np.nan, np.nan]),
        input_tokens=np.array([10, 20, 30, 40, 50]),
        output_tokens=np.array([1, 2, 3, 4, 5]),
        prefixes=PrefixBlocks(
            offsets=np.array([0, 1, 3, 5, 8, 11]),
            ids=np.array([0, 0, 1, 0, 2, 0, 2, 3, 0, 1, 4]),
            block_tokens=16,
            n_common=1,
        ),
        previous=np.array([-1, -1, 0, 2, 1]),
        delay_s=np.array([0.0, 0.0, 1.0, 100.0, 3.0]),
    )


def test_turns_append_to_the_context_of_their_session() -> None:
    requests = model().sample(2000, rng=rng())
    is_first = requests.previous < 0
    assert is_first.mean() == pytest.approx(1 / 4, abs=0.03)
    assert (requests.input_tokens[is_first] == 740).all()
    later = np.flatnonzero(~is_first)
    grown = requests.input_tokens[later] - requests.input_tokens[later - 1]
    assert (grown == 128).all()
    assert (requests.previous[later] == later - 1).all()
    assert requests.delay_s[later].mean() == pytest.approx(2, rel=0.1)
    assert not requests.delay_s[is_first].any()
    assert requests.is_closed_loop


def test_a_turn_repeats_all_full_blocks_before_it() -> None:
    requests = model(turns=1e6).sample(3, rng=rng())
    first, second, third = (requests.prefixes.of(turn).tolist() for turn in range(3))
    # 740 + 28 tokens fill twelve blocks of 64
    assert (len(first), len(second), len(third)) == (12, 14, 16)
    assert second[:12] == first
    assert third[:14] == second
    # the prompts have 12, 14 and 16 blocks, of which 0, 12 and 14 are known
    assert replay_hit_frac(requests) == pytest.approx((12 + 14) / (12 + 14 + 16))


def test_sessions_share_the_system_prompt_alone() -> None:
    requests = model(turns=1.0).sample(2, rng=rng())
    first, second = (set(requests.prefixes.of(turn).tolist()) for turn in range(2))
    assert first & second == set(range(10))


def test_a_context_too_long_starts_a_session() -> None:
    requests = model(turns=1e6, max_context_tokens=1024).sample(50, rng=rng())
    assert (requests.input_tokens + requests.output_tokens).max() <= 1024
    # 640 + 3 x 128 tokens are the longest that fit
    assert np.flatnonzero(requests.previous < 0).tolist() == list(range(0, 50, 3))


def test_drawn_sessions_keep_their_turns_and_share_what_is_common() -> None:
    drawn = draw_sessions(trace(), n_requests=400, rng=rng(), max_delay_s=10.0)
    assert len(drawn) == 400
    starts = np.flatnonzero(drawn.previous < 0)
    kinds = {tuple(part.tolist()) for part in np.split(drawn.trace_row, starts[1:])[:-1]}
    assert kinds == {(0, 2, 3), (1, 4)}
    later = drawn.previous >= 0
    assert (drawn.previous[later] == np.flatnonzero(later) - 1).all()
    assert drawn.delay_s.max() == 10
    assert np.isnan(drawn.arrival_s).all()
    first, second = (set(drawn.prefixes.of(int(turn)).tolist()) for turn in starts[:2])
    assert 0 in first
    assert 0 in second
    of_first = set(drawn.prefixes.of(int(starts[1] - 1)).tolist())
    of_second = set(drawn.prefixes.of(int(starts[2] - 1)).tolist())
    assert of_first & of_second == {0}


def test_branches_of_a_session_stay_with_their_parent() -> None:
    branching = RequestTable(
        arrival_s=np.array([0.0, np.nan, np.nan]),
        input_tokens=np.array([1, 2, 3]),
        output_tokens=np.ones(3, int),
        previous=np.array([-1, 0, 0]),
    )
    drawn = draw_sessions(branching, n_requests=6, rng=rng())
    assert drawn.previous.tolist() == [-1, 0, 0, -1, 3, 3]


def test_starts_get_times_and_the_rest_is_left_out() -> None:
    sessions = draw_sessions(trace(), n_requests=40, rng=rng())
    started = start_sessions(sessions, start_s=np.array([1.0, 4.0]))
    is_first = started.previous < 0
    assert started.arrival_s[is_first].tolist() == [1, 4]
    assert np.isnan(started.arrival_s[~is_first]).all()
    assert 4 <= len(started) <= 6
    assert len(started.prefixes) == len(started)
    assert started.has_sessions


def test_single_requests_are_no_sessions() -> None:
    ones = np.ones(2, int)
    single = RequestTable(arrival_s=np.zeros(2), input_tokens=ones, output_tokens=ones)
    with pytest.raises(TraceError, match=r"sessions.trace: no request follows another"):
        draw_sessions(single, n_requests=5, rng=rng())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"turns": 0.5}, r"expected 0 or more tokens and at least 1 turn"),
        ({"system_tokens": -1}, r"sessions: -1 system tokens"),
        ({"delay_s": -1.0}, r"sessions.delay: -1.0 s"),
        ({"delay_s": float("nan")}, r"sessions.delay: nan s"),
    ],
)
def test_impossible_sessions_are_refused(changes, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        model(**changes)
