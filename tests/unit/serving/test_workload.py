import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.serving.arrivals import closed_loop_arrivals_s
from rackmoe.serving.lengths import FixedLengths
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.workload import RequestTable, build_requests, replay_requests


def trace() -> RequestTable:
    """Four requests, a mean gap of 2 s, two prefix families."""
    return RequestTable(
        arrival_s=np.array([0.0, 1.0, 1.0, 6.0]),
        input_tokens=np.array([10, 20, 30, 40]),
        output_tokens=np.array([1, 2, 3, 4]),
        domain=np.array([0, 1, 0, -1]),
        domain_names=("chat", "code"),
        prefixes=PrefixBlocks(
            offsets=np.array([0, 1, 3, 3, 5]), ids=np.array([0, 0, 1, 2, 3]), block_tokens=16
        ),
    )


def test_sampled_requests_have_no_trace_no_domain_and_no_prefix() -> None:
    requests = build_requests(
        closed_loop_arrivals_s(3),
        lengths=FixedLengths(input_tokens=7, output_tokens=5),
        rng=np.random.default_rng(0),
    )
    assert len(requests) == 3
    assert requests.is_closed_loop
    assert requests.input_tokens.tolist() == [7, 7, 7]
    assert requests.trace_row.tolist() == [-1, -1, -1]
    assert requests.domain.tolist() == [-1, -1, -1]
    assert requests.prefixes is None
    assert requests.application.tolist() == [0, 0, 0]
    assert not requests.has_sessions


def test_the_rate_counts_gaps() -> None:
    assert trace().rate_requests_per_s == pytest.approx(3 / 6, rel=1e-12)
    assert np.isnan(replay_requests(trace(), n_requests=1).rate_requests_per_s)


def test_a_replay_without_limits_is_the_trace_once() -> None:
    replayed = replay_requests(trace())
    assert replayed.arrival_s.tolist() == [0, 1, 1, 6]
    assert replayed.trace_row.tolist() == [0, 1, 2, 3]
    assert replayed.prefixes.ids.tolist() == trace().prefixes.ids.tolist()
    assert not replayed.is_closed_loop


def test_time_is_compressed_and_the_trace_starts_again_one_mean_gap_later() -> None:
    replayed = replay_requests(trace(), rate_scale=2, n_requests=6)
    assert replayed.arrival_s.tolist() == [0, 0.5, 0.5, 3, 4, 4.5]
    assert replayed.trace_row.tolist() == [0, 1, 2, 3, 0, 1]
    assert replayed.output_tokens.tolist() == [1, 2, 3, 4, 1, 2]
    assert replayed.domain.tolist() == [0, 1, 0, -1, 0, 1]
    assert replayed.domain_names == ("chat", "code")


def test_copies_are_new_users_with_prefixes_of_their_own() -> None:
    replayed = replay_requests(trace(), n_requests=6)
    assert replayed.prefixes.of(1).tolist() == [0, 1]
    assert replayed.prefixes.of(4).tolist() == [4]
    assert replayed.prefixes.of(5).tolist() == [4, 5]
    assert replayed.prefixes.block_tokens == 16


def test_a_duration_is_counted_after_scaling() -> None:
    assert replay_requests(trace(), rate_scale=2, duration_s=3.0).arrival_s.tolist() == [
        0,
        0.5,
        0.5,
    ]
    assert len(replay_requests(trace(), rate_scale=2, duration_s=4.25)) == 5
    assert len(replay_requests(trace(), duration_s=1e4)) == pytest.approx(5000, abs=4)


def test_the_first_limit_reached_counts() -> None:
    assert len(replay_requests(trace(), n_requests=2, duration_s=100.0)) == 2
    assert len(replay_requests(trace(), n_requests=99, duration_s=0.5)) == 1


@given(
    gaps_s=st.lists(st.floats(0, 100), min_size=1, max_size=20),
    rate_scale=st.floats(0.01, 100),
    n_requests=st.integers(1, 80),
)
def test_replays_keep_order_burst_shape_and_pairs(
    gaps_s: list[float], rate_scale: float, n_requests: int
) -> None:
    n = len(gaps_s)
    recorded = RequestTable(
        arrival_s=np.cumsum(gaps_s) - gaps_s[0],
        input_tokens=np.arange(1, n + 1),
        output_tokens=np.arange(101, n + 101),
    )
    replayed = replay_requests(recorded, rate_scale=rate_scale, n_requests=n_requests)
    assert len(replayed) == n_requests
    assert (np.diff(replayed.arrival_s) >= -1e-9 * replayed.arrival_s[-1]).all()
    assert (replayed.output_tokens == replayed.input_tokens + 100).all()
    first = min(n, n_requests)
    assert replayed.arrival_s[:first] * rate_scale == pytest.approx(recorded.arrival_s[:first])


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"output_tokens: shape \(1,\); expected \(2,\)"):
        RequestTable(
            arrival_s=np.zeros(2), input_tokens=np.ones(2, int), output_tokens=np.ones(1, int)
        )


def test_prefixes_must_cover_the_requests() -> None:
    with pytest.raises(ShapeError, match=r"prefixes: 2 requests; expected 1"):
        RequestTable(
            arrival_s=np.zeros(1),
            input_tokens=np.ones(1, int),
            output_tokens=np.ones(1, int),
            prefixes=PrefixBlocks(offsets=np.zeros(3, int), ids=np.zeros(0, int), block_tokens=1),
        )


def chain(previous: list[int]) -> RequestTable:
    ones = np.ones(len(previous), int)
    return RequestTable(
        arrival_s=np.where(np.array(previous) < 0, 0.0, np.nan),
        input_tokens=ones,
        output_tokens=ones,
        previous=np.array(previous),
    )


def test_turns_know_the_first_one_of_their_session() -> None:
    requests = chain([-1, -1, 0, 2, 1, 3, 2])
    assert requests.session.tolist() == [0, 1, 0, 0, 1, 0, 0]
    assert requests.has_sessions
    assert not requests.is_closed_loop


def test_a_turn_cannot_follow_a_later_one() -> None:
    with pytest.raises(
        ShapeError, match=r"previous: row 1 follows row 1; expected an earlier row"
    ):
        chain([-1, 1])


@pytest.mark.parametrize("rate_scale", [0.0, -2.0, float("nan")])
def test_an_impossible_scale_is_refused(rate_scale: float) -> None:
    with pytest.raises(ConfigError, match=r"arrivals.rate_scale: .*; expected more than 0"):
        replay_requests(trace(), rate_scale=rate_scale)


def test_a_replay_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"workload.requests: 0; expected at least 1"):
        replay_requests(trace(), n_requests=0)


@pytest.mark.parametrize("n_requests", [0, 2])
def test_a_table_without_times_cannot_be_replayed(n_requests: int) -> None:
    timeless = build_requests(
        closed_loop_arrivals_s(n_requests),
        lengths=FixedLengths(input_tokens=7, output_tokens=5),
        rng=np.random.default_rng(0),
    )
    with pytest.raises(ConfigError, match=r"no arrival times"):
        replay_requests(timeless)


def test_a_batch_cannot_fill_a_duration() -> None:
    batch = RequestTable(
        arrival_s=np.zeros(2), input_tokens=np.ones(2, int), output_tokens=np.ones(2, int)
    )
    with pytest.raises(ConfigError, match=r"give a number of requests instead"):
        replay_requests(batch, duration_s=5.0)
    assert replay_requests(batch, n_requests=5).arrival_s.tolist() == [0.0] * 5


def test_sessions_are_replayed_as_a_whole() -> None:
    recorded = RequestTable(
        arrival_s=np.array([0.0, np.nan, 4.0, np.nan]),
        input_tokens=np.array([10, 20, 30, 40]),
        output_tokens=np.ones(4, int),
        previous=np.array([-1, 0, -1, 2]),
        delay_s=np.array([0.0, 2.0, 0.0, 3.0]),
    )
    twice = replay_requests(recorded, rate_scale=2, n_requests=8)
    assert twice.previous.tolist() == [-1, 0, -1, 2, -1, 4, -1, 6]
    # sessions come every 4 s, twice as fast; delays stay
    assert twice.arrival_s[[0, 2, 4, 6]].tolist() == [0, 2, 4, 6]
    assert twice.delay_s.tolist() == [0, 2, 0, 3] * 2
    cut = replay_requests(recorded, duration_s=5.0)
    assert cut.input_tokens.tolist() == [10, 20, 30, 40]
    assert replay_requests(recorded, duration_s=1.0).input_tokens.tolist() == [10, 20]


def test_the_first_requests_keep_their_blocks() -> None:
    first = trace().head(3)
    assert len(first) == 3
    assert first.prefixes.of(1).tolist() == [0, 1]
    assert len(trace().head(99)) == 4
