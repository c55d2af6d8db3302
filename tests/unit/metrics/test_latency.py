import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.metrics.latency import (
    itl_figures,
    latency_figures,
    request_latencies,
    token_gaps,
)
from rackmoe.records import Pool, State


def one_request(make_requests) -> pd.DataFrame:
    return make_requests(
        arrival_s=[10.0],
        scheduled_s=[10.5],
        prefill_end_s=[11.5],
        transfer_end_s=[11.75],
        first_token_s=[12.0],
        last_token_s=[14.0],
        n_output_tokens=[101],
    )


def test_latencies_of_one_request_by_hand(make_requests) -> None:
    row = request_latencies(one_request(make_requests)).iloc[0]
    assert row.to_dict() == pytest.approx(
        {
            "ttft_s": 2.0,
            "tpot_s": 0.02,
            "e2e_s": 4.0,
            "queue_s": 0.5,
            "prefill_s": 1.0,
            "transfer_s": 0.25,
            "decode_s": 2.25,
            "interactivity_tokens_per_s": 50.0,
        },
        rel=1e-12,
    )


def test_a_single_token_has_no_tpot(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0], last_token_s=[1.0], n_output_tokens=[1])
    row = request_latencies(requests).iloc[0]
    assert np.isnan(row["tpot_s"])
    assert np.isnan(row["interactivity_tokens_per_s"])
    assert row["ttft_s"] == pytest.approx(row["e2e_s"])


def test_tokens_that_come_out_together_have_no_interactivity(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0], last_token_s=[1.0], n_output_tokens=[3])
    row = request_latencies(requests).iloc[0]
    assert row["tpot_s"] == pytest.approx(0)
    assert np.isnan(row["interactivity_tokens_per_s"])


def test_only_finished_requests_have_latencies(make_requests) -> None:
    requests = make_requests(
        arrival_s=[0.0, 1.0, 2.0], state=[State.RUNNING, State.DONE, State.REJECTED]
    )
    assert request_latencies(requests).index.tolist() == [1]


def test_figures_are_named_by_quantity_and_statistic(make_requests) -> None:
    figures = latency_figures(request_latencies(one_request(make_requests)))
    assert figures["ttft_p99_s"] == pytest.approx(2)
    assert figures["tpot_mean_s"] == pytest.approx(0.02)
    assert figures["interactivity_p50_tokens_per_s"] == pytest.approx(50)
    assert figures["queue_p50_s"] == pytest.approx(0.5)


@given(gaps_s=st.lists(st.floats(0, 1e3), min_size=5, max_size=5), n_tokens=st.integers(1, 10**4))
def test_the_parts_of_a_request_sum_to_its_stay(
    make_requests, gaps_s: list[float], n_tokens: int
) -> None:
    times = dict(
        zip(
            ("arrival_s", "scheduled_s", "prefill_end_s", "transfer_end_s", "last_token_s"),
            np.cumsum(gaps_s),
            strict=True,
        )
    )
    requests = make_requests(
        **times, first_token_s=times["prefill_end_s"], n_output_tokens=n_tokens
    )
    row = request_latencies(requests).iloc[0]
    parts = row[["queue_s", "prefill_s", "transfer_s", "decode_s"]].sum()
    assert parts == pytest.approx(row["e2e_s"], rel=1e-9, abs=1e-9)
    assert row["ttft_s"] <= row["e2e_s"]


def test_gaps_of_back_to_back_steps_are_their_durations(make_steps) -> None:
    steps = make_steps(start_s=[0.0, 0.25], duration_s=[0.25, 0.5], n_sequences=[4, 3])
    values, weights = token_gaps(steps)
    assert values[weights > 0].tolist() == [0.25, 0.5]
    assert weights[weights > 0].tolist() == [4, 3]


def test_a_prefill_step_in_between_lengthens_the_gap(make_steps) -> None:
    steps = make_steps(
        start_s=[0.0, 1.0, 4.0],
        duration_s=[1.0, 3.0, 1.0],
        n_sequences=[2, 0, 2],
    )
    values, weights = token_gaps(steps)
    assert values[weights > 0].tolist() == [1, 4]


def test_a_prefill_step_before_the_first_decode_step_does_not(make_steps) -> None:
    steps = make_steps(start_s=[0.0, 3.0], duration_s=[3.0, 1.0], n_sequences=[0, 2])
    values, weights = token_gaps(steps)
    assert values[weights > 0].tolist() == [1]


def test_idle_time_is_nobody_s_gap(make_steps) -> None:
    steps = make_steps(start_s=[0.0, 7.0], duration_s=[1.0, 2.0])
    values, weights = token_gaps(steps)
    assert values[weights > 0].tolist() == [1, 2]


def test_replicas_have_gaps_of_their_own(make_steps) -> None:
    steps = make_steps(
        replica=[1, 0, 1, 0],
        start_s=[0.0, 0.0, 2.0, 1.0],
        duration_s=[2.0, 1.0, 2.0, 1.0],
        pool=Pool.AGGREGATED,
    )
    values, weights = token_gaps(steps)
    assert sorted(values[weights > 0].tolist()) == [1, 1, 2, 2]


def test_speculated_tokens_come_out_with_the_first(make_steps) -> None:
    steps = make_steps(start_s=[0.0], duration_s=[0.5], n_sequences=[4], n_decode_tokens=[10])
    figures = itl_figures(steps)
    assert figures["itl_mean_s"] == pytest.approx(4 * 0.5 / 10)
    assert figures["itl_p50_s"] == pytest.approx(0)
    assert figures["itl_p90_s"] == pytest.approx(0.5)


def test_no_step_has_no_gap(make_steps) -> None:
    steps = make_steps(start_s=[0.0], duration_s=[0.5]).iloc[:0]
    assert np.isnan(itl_figures(steps)["itl_p50_s"])
