import numpy as np
import pandas as pd
import pytest

from rackmoe.errors import InvariantError
from rackmoe.metrics.latency import request_latencies
from rackmoe.metrics.stability import check_little_law, mean_in_system, stability_warnings
from rackmoe.metrics.window import Window, measurement_window
from rackmoe.records import State

ARRIVALS_PER_S = 0.7
SERVED_PER_S = 1.0


def queue_of_one_server(make_requests, *, n_requests: int, service_s: np.ndarray) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    arrival_s = np.cumsum(rng.exponential(1 / ARRIVALS_PER_S, n_requests))
    start_s = np.empty(n_requests)
    free_s = 0.0
    for row in range(n_requests):
        start_s[row] = max(arrival_s[row], free_s)
        free_s = start_s[row] + service_s[row]
    return make_requests(
        arrival_s=arrival_s,
        scheduled_s=start_s,
        prefill_end_s=start_s,
        first_token_s=start_s,
        last_token_s=start_s + service_s,
    )


@pytest.fixture(scope="module")
def mm1(make_requests) -> pd.DataFrame:
    service_s = np.random.default_rng(4).exponential(1 / SERVED_PER_S, 200_000)
    return queue_of_one_server(make_requests, n_requests=200_000, service_s=service_s)


def test_a_drained_queue_obeys_littles_law(mm1) -> None:
    check_little_law(mm1)


def test_an_mm1_queue_holds_what_theory_says(mm1) -> None:
    load = ARRIVALS_PER_S / SERVED_PER_S
    window = measurement_window(mm1, n_warmup=1000)
    assert mean_in_system(mm1, window=window) == pytest.approx(load / (1 - load), rel=0.03)
    stay_s = request_latencies(mm1)["e2e_s"].mean()
    assert stay_s == pytest.approx(1 / (SERVED_PER_S - ARRIVALS_PER_S), rel=0.03)


def test_an_md1_queue_waits_half_as_long(make_requests) -> None:
    requests = queue_of_one_server(make_requests, n_requests=100_000, service_s=np.ones(100_000))
    load = ARRIVALS_PER_S / SERVED_PER_S
    waited_s = request_latencies(requests)["queue_s"].mean()
    assert waited_s == pytest.approx(load / (2 * (1 - load)), rel=0.03)


def test_the_mean_in_the_system_by_hand(make_requests) -> None:
    requests = make_requests(
        arrival_s=[0.0, 2.0, 3.0, 0.0],
        first_token_s=[1.0, 3.0, np.nan, np.nan],
        prefill_end_s=[1.0, 3.0, np.nan, np.nan],
        last_token_s=[4.0, 8.0, np.nan, np.nan],
        state=[State.DONE, State.DONE, State.RUNNING, State.REJECTED],
    )
    # within 1 to 5 s: 3 s of the first, 3 s of the second, 2 s of the unfinished one
    window = Window(start_s=1.0, end_s=5.0)
    assert mean_in_system(requests, window=window) == pytest.approx(8 / 4)


def test_simultaneous_arrivals_and_departures_are_no_contradiction(make_requests) -> None:
    check_little_law(
        make_requests(
            arrival_s=[0.0, 1.0, 1.0],
            first_token_s=[1.0, 1.0, 1.0],
            last_token_s=[1.0, 1.0, 2.0],
        )
    )


def test_a_run_of_rejected_requests_has_no_law_to_break(make_requests) -> None:
    check_little_law(make_requests(arrival_s=[0.0], state=[State.REJECTED]))


def test_a_run_that_is_not_drained_is_told(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0, 0.0], state=[State.DONE, State.RUNNING])
    with pytest.raises(InvariantError, match=r"LAW-09: 1 of 2 requests are not done"):
        check_little_law(requests)


def test_a_request_that_leaves_before_it_arrives_is_a_bug(make_requests) -> None:
    requests = make_requests(arrival_s=[5.0], first_token_s=[1.0], last_token_s=[2.0])
    with pytest.raises(InvariantError, match=r"LAW-09: a request left before it arrived"):
        check_little_law(requests)


def test_a_lost_departure_is_a_bug(make_requests) -> None:
    requests = make_requests(
        arrival_s=[0.0, 0.0], first_token_s=[1.0, np.nan], last_token_s=[2.0, np.nan]
    )
    with pytest.raises(InvariantError, match=r"LAW-09: .* request-seconds in the system"):
        check_little_law(requests)


def test_a_steady_run_has_no_warning(make_requests) -> None:
    requests = make_requests(arrival_s=np.arange(400.0))
    assert stability_warnings(requests, window=measurement_window(requests)) == []


def test_a_queue_that_grows_is_told(make_requests) -> None:
    arrival_s = np.arange(400.0)
    requests = make_requests(arrival_s=arrival_s, first_token_s=1 + 1.5 * arrival_s)
    warnings = stability_warnings(requests, window=measurement_window(requests))
    assert any(text.startswith("requests in the system: ") for text in warnings)
    assert any("lower the arrival rate" in text for text in warnings)


def test_too_few_requests_for_a_percentile_are_told(make_requests) -> None:
    requests = make_requests(arrival_s=np.arange(51.0))
    warnings = stability_warnings(requests, window=measurement_window(requests))
    assert len(warnings) == 1
    assert warnings[0].startswith("window: 50 requests done; expected at least 100 for a 99th")


def test_a_mean_that_is_not_certain_is_told(make_requests) -> None:
    arrival_s = np.arange(400.0)
    rng = np.random.default_rng(8)
    ttft_s = rng.exponential(1.0, 400) ** 3
    requests = make_requests(arrival_s=arrival_s, first_token_s=arrival_s + ttft_s)
    warnings = stability_warnings(requests, window=measurement_window(requests))
    assert any(text.startswith("ttft_s: ") and "confidence interval" in text for text in warnings)


def test_a_ttft_that_never_settles_is_told(make_requests) -> None:
    arrival_s = np.arange(400.0)
    requests = make_requests(arrival_s=arrival_s, first_token_s=1 + 1.5 * arrival_s)
    warnings = stability_warnings(requests, window=measurement_window(requests))
    assert any("not settled by the middle of the window" in text for text in warnings)


def test_a_long_warm_up_is_told(make_requests) -> None:
    arrival_s = np.arange(400.0)
    ttft_s = np.where(arrival_s < 150, 150 - arrival_s, 0.0) + 1
    requests = make_requests(arrival_s=arrival_s, first_token_s=arrival_s + ttft_s)
    warnings = stability_warnings(requests, window=measurement_window(requests))
    assert any("lengthen the warm-up by that" in text for text in warnings)
