import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.metrics.throughput import (
    Fleet,
    emitted_tokens,
    processed_input_tokens,
    throughput_figures,
)
from rackmoe.metrics.window import Window
from rackmoe.records import State


def test_tokens_count_where_they_come_out(make_requests) -> None:
    # 1 token at 2 s and 10 more evenly until 12 s: one a second
    requests = make_requests(first_token_s=[2.0], last_token_s=[12.0], n_output_tokens=[11])
    whole = Window(start_s=0.0, end_s=100.0)
    assert emitted_tokens(requests, window=whole) == pytest.approx(11)
    assert emitted_tokens(requests, window=Window(start_s=0.0, end_s=5.0)) == pytest.approx(4)
    assert emitted_tokens(requests, window=Window(start_s=5.0, end_s=9.0)) == pytest.approx(4)
    assert emitted_tokens(requests, window=Window(start_s=0.0, end_s=2.0)) == pytest.approx(0)


def test_tokens_of_one_instant_count_whole(make_requests) -> None:
    requests = make_requests(first_token_s=[2.0], last_token_s=[2.0], n_output_tokens=[4])
    assert emitted_tokens(requests, window=Window(start_s=2.0, end_s=3.0)) == pytest.approx(4)
    assert emitted_tokens(requests, window=Window(start_s=1.0, end_s=2.0)) == pytest.approx(0)


def test_unfinished_requests_count_with_what_they_got(make_requests) -> None:
    requests = make_requests(
        first_token_s=[1.0, np.nan, 1.0],
        last_token_s=[3.0, np.nan, np.nan],
        prefill_end_s=[1.0, np.nan, 1.0],
        n_output_tokens=[5, 0, 3],
        state=[State.RUNNING, State.WAITING, State.RUNNING],
    )
    # of the last one only the first token has a place in time
    assert emitted_tokens(requests, window=Window(start_s=0.0, end_s=9.0)) == pytest.approx(6)


def test_prompts_count_while_they_are_processed(make_requests) -> None:
    requests = make_requests(
        scheduled_s=[0.0, 3.0, np.nan],
        prefill_end_s=[4.0, 3.0, np.nan],
        n_input_tokens=[400, 7, 9],
    )
    window = Window(start_s=3.0, end_s=5.0)
    assert processed_input_tokens(requests, window=window) == pytest.approx(107)


def test_rates_divide_by_the_window_and_by_the_gpus(make_requests) -> None:
    requests = make_requests(
        arrival_s=[0.0, 0.0],
        scheduled_s=[0.0, 0.0],
        prefill_end_s=[1.0, 1.0],
        first_token_s=[1.0, 1.0],
        last_token_s=[2.0, 20.0],
        n_input_tokens=[30, 70],
        n_output_tokens=[11, 20],
    )
    figures = throughput_figures(
        requests,
        window=Window(start_s=0.0, end_s=10.5),
        fleet=Fleet(n_gpus=10, n_prefill_gpus=2, n_decode_gpus=8),
    )
    # 11 + 1 + 19 * 9.5 / 19 output tokens, 100 input tokens, one request done
    assert figures == pytest.approx(
        {
            "output_tokens_per_s": 21.5 / 10.5,
            "input_tokens_per_s": 100 / 10.5,
            "total_tokens_per_s": 121.5 / 10.5,
            "output_tokens_per_s_per_gpu": 2.15 / 10.5,
            "total_tokens_per_s_per_gpu": 12.15 / 10.5,
            "completed_requests_per_s": 1 / 10.5,
            "output_tokens_per_s_per_decode_gpu": 21.5 / 8 / 10.5,
            "input_tokens_per_s_per_prefill_gpu": 50 / 10.5,
        },
        rel=1e-12,
    )


def test_one_pool_has_no_figures_for_two(make_requests) -> None:
    figures = throughput_figures(
        make_requests(arrival_s=[0.0]),
        window=Window(start_s=0.0, end_s=10.0),
        fleet=Fleet(n_gpus=8),
    )
    assert not [name for name in figures if "decode" in name or "prefill" in name]


@given(
    first_s=st.floats(0, 10),
    length_s=st.floats(0, 10),
    n_tokens=st.integers(1, 1000),
    cuts_s=st.lists(st.floats(0.001, 29.999), min_size=1, max_size=4, unique=True),
)
def test_windows_side_by_side_share_every_token(
    make_requests, first_s: float, length_s: float, n_tokens: int, cuts_s: list[float]
) -> None:
    requests = make_requests(
        first_token_s=first_s, last_token_s=first_s + length_s, n_output_tokens=n_tokens
    )
    edges_s = [0.0, *sorted(cuts_s), 30.0]
    counted = sum(
        emitted_tokens(requests, window=Window(start_s=start_s, end_s=end_s))
        for start_s, end_s in itertools.pairwise(edges_s)
    )
    assert counted == pytest.approx(n_tokens, rel=1e-9)
