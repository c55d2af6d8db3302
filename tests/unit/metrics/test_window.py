import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.metrics.window import (
    Window,
    WindowRule,
    arrived_within,
    measurement_window,
    overlap_s,
)


def test_the_window_opens_with_the_first_request_after_the_warm_up(make_requests) -> None:
    requests = make_requests(arrival_s=[4.0, 0.0, 1.0, 3.0])
    window = measurement_window(requests, n_warmup=2)
    assert (window.start_s, window.end_s) == (3, 4)
    assert window.duration_s == pytest.approx(1)


def test_the_whole_run_ends_with_its_last_token(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0, 1.0], last_token_s=[9.0, 5.0])
    window = measurement_window(requests, rule=WindowRule.RUN)
    assert window.start_s == 0
    assert 9 < window.end_s < 9.000001


def test_a_run_without_tokens_ends_with_its_last_arrival(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0, 1.0], last_token_s=[np.nan, np.nan])
    assert measurement_window(requests, rule=WindowRule.RUN).end_s == pytest.approx(1)


def test_a_batch_has_no_steady_part(make_requests) -> None:
    with pytest.raises(ConfigError, match=r"window: 0.0 s to 0.0 s; expected an end after"):
        measurement_window(make_requests(arrival_s=[0.0, 0.0]))


@pytest.mark.parametrize("n_warmup", [-1, 3, 4])
def test_the_warm_up_must_leave_something(make_requests, n_warmup: int) -> None:
    with pytest.raises(ConfigError, match=rf"workload.warmup: {n_warmup} of 3 requests"):
        measurement_window(make_requests(arrival_s=[0.0, 1.0, 2.0]), n_warmup=n_warmup)


def test_a_window_is_half_open(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0, 1.0, 2.0, 3.0])
    inside = arrived_within(requests, window=Window(start_s=1.0, end_s=3.0))
    assert inside["request_id"].tolist() == [1, 2]


def test_overlap_is_the_common_part() -> None:
    start_s = np.array([0.0, 1.5, 2.5, 9.0, np.nan])
    end_s = np.array([1.0, 2.0, np.inf, 10.0, np.nan])
    common_s = overlap_s(start_s, end_s=end_s, window=Window(start_s=0.5, end_s=3.0))
    assert common_s.tolist() == [0.5, 0.5, 0.5, 0, 0]
