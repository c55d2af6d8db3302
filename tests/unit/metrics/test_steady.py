import numpy as np
import pytest

from rackmoe.metrics.steady import (
    batch_means,
    mean_estimates,
    settled_at,
    settled_window,
    steady_figures,
)
from rackmoe.metrics.window import Window, measurement_window


def autoregressive(n: int, *, memory: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(n)
    values = np.empty(n)
    values[0] = noise[0] / np.sqrt(1 - memory**2)
    for i in range(1, n):
        values[i] = memory * values[i - 1] + noise[i]
    return values


def test_batch_means_by_hand() -> None:
    estimate = batch_means(np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 10))
    assert estimate.mean == pytest.approx(3)
    # s = sqrt(2.5) of five batches, and Student's 97.5 % quantile of four degrees is 2.776
    assert estimate.half_width == pytest.approx(2.7764451 * np.sqrt(2.5 / 5), rel=1e-6)
    # (-2)(-1) + 0 + 0 + (1)(2) over 10
    assert estimate.correlation == pytest.approx(0.4)
    assert estimate.n_batches == 5
    assert estimate.relative_half_width == pytest.approx(estimate.half_width / 3)


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_intervals_hold_the_truth_as_often_as_they_say(memory: float) -> None:
    runs = [batch_means(autoregressive(2000, memory=memory, seed=seed)) for seed in range(300)]
    hits = np.mean([abs(run.mean) <= run.half_width for run in runs])
    assert hits == pytest.approx(0.95, abs=0.04)


def test_the_naive_interval_would_be_too_narrow() -> None:
    values = autoregressive(2000, memory=0.8, seed=1)
    naive = 1.96 * values.std() / np.sqrt(values.size)
    assert batch_means(values).half_width > 2 * naive


def test_batches_that_remember_each_other_are_told() -> None:
    assert batch_means(np.linspace(0, 1, 400)).is_correlated
    assert not batch_means(np.random.default_rng(0).random(400)).is_correlated
    assert not batch_means(np.full(400, 0.3)).is_correlated


@pytest.mark.parametrize("n", [0, 1, 49])
def test_a_short_run_has_no_interval(n: int) -> None:
    estimate = batch_means(np.arange(n, dtype=float))
    assert np.isnan(estimate.half_width)
    assert not estimate.is_correlated


def test_a_warm_up_is_found_where_it_ends() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([np.linspace(20, 0, 100), np.zeros(900)]) + rng.standard_normal(1000)
    assert settled_at(values) == pytest.approx(100, abs=20)


def test_a_steady_series_has_settled_from_the_start() -> None:
    assert settled_at(np.zeros(500)) == 0
    start = settled_at(np.random.default_rng(4).standard_normal(1000))
    assert start is not None
    assert start < 250


def test_a_series_that_grows_never_settles() -> None:
    assert settled_at(np.linspace(0, 1, 500)) is None


@pytest.mark.parametrize("n", [0, 49])
def test_a_short_series_tells_nothing(n: int) -> None:
    assert settled_at(np.zeros(n)) is None


def test_a_window_starts_where_the_ttft_has_settled(make_requests) -> None:
    arrival_s = np.arange(400.0)
    ttft_s = np.where(arrival_s < 50, 50 - arrival_s, 0.0) + 1 + 0.01 * (arrival_s % 3)
    requests = make_requests(arrival_s=arrival_s, first_token_s=arrival_s + ttft_s)
    window = measurement_window(requests)
    settled = settled_window(requests, window=window)
    assert settled is not None
    assert settled.start_s == pytest.approx(50, abs=10)
    assert settled.end_s == window.end_s
    figures = steady_figures(requests, window=window)
    assert figures["settled_after_s"] == pytest.approx(50, abs=10)


def test_requests_count_in_the_order_of_their_arrival(make_requests) -> None:
    """Rows of sessions are not; a shuffled frame must not look settled."""
    arrival_s = np.arange(400.0)
    order = np.random.default_rng(0).permutation(400)
    requests = make_requests(
        arrival_s=arrival_s[order], first_token_s=(arrival_s + 1 + arrival_s)[order]
    )
    window = Window(start_s=0.0, end_s=400.0)
    assert settled_window(requests, window=window) is None


def test_a_constant_load_is_certain(make_requests) -> None:
    requests = make_requests(arrival_s=np.arange(0.5, 401.0))
    estimates = mean_estimates(requests, window=Window(start_s=2.0, end_s=400.0))
    # eleven tokens of one request in every second
    assert estimates["output_tokens_per_s"].mean == pytest.approx(11, rel=0.01)
    assert estimates["output_tokens_per_s"].relative_half_width < 0.01
    assert estimates["ttft_s"].mean == pytest.approx(1)
    assert estimates["tpot_s"].mean == pytest.approx(0.1)
    assert estimates["tpot_s"].half_width == pytest.approx(0, abs=1e-12)


def test_a_short_window_leaves_all_open(make_requests) -> None:
    requests = make_requests(arrival_s=np.arange(20.0))
    figures = steady_figures(requests, window=measurement_window(requests))
    assert all(np.isnan(value) for value in figures.values())
