import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.serving.arrivals import (
    batch_arrivals_s,
    closed_loop_arrivals_s,
    gamma_arrivals_s,
    poisson_arrivals_s,
    weibull_arrivals_s,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_a_closed_loop_has_no_times_of_its_own() -> None:
    assert np.isnan(closed_loop_arrivals_s(4)).tolist() == [True] * 4


def test_a_batch_arrives_at_once() -> None:
    assert batch_arrivals_s(3).tolist() == [0.0, 0.0, 0.0]


def test_poisson_gaps_have_the_rate_and_a_variation_of_one() -> None:
    arrival_s = poisson_arrivals_s(rng(), rate_requests_per_s=20, n_requests=50_000)
    gaps_s = np.diff(arrival_s, prepend=0)
    assert gaps_s.min() > 0
    assert gaps_s.mean() == pytest.approx(0.05, rel=0.02)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1, rel=0.02)


def test_gamma_gaps_have_the_rate_and_the_variation_asked_for() -> None:
    arrival_s = gamma_arrivals_s(rng(), rate_requests_per_s=4, cv=3, n_requests=200_000)
    gaps_s = np.diff(arrival_s, prepend=0)
    assert gaps_s.mean() == pytest.approx(0.25, rel=0.03)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(3, rel=0.03)


def test_no_variation_is_a_metronome() -> None:
    arrival_s = gamma_arrivals_s(rng(), rate_requests_per_s=4, cv=0, n_requests=3)
    assert arrival_s == pytest.approx([0.25, 0.5, 0.75], rel=1e-12)


def test_a_duration_cuts_the_same_process() -> None:
    by_count = poisson_arrivals_s(rng(), rate_requests_per_s=50, n_requests=2000)
    by_time = poisson_arrivals_s(rng(), rate_requests_per_s=50, duration_s=10.0)
    assert by_time.max() < 10
    assert 400 < by_time.size < 600
    assert by_time == pytest.approx(by_count[: by_time.size], rel=1e-12)


def test_a_duration_is_filled_however_late_the_gaps() -> None:
    arrival_s = gamma_arrivals_s(rng(), rate_requests_per_s=100, cv=4, duration_s=20.0)
    assert 19 < arrival_s.max() < 20
    assert (np.diff(arrival_s) >= 0).all()


def test_the_first_limit_reached_counts() -> None:
    arrival_s = gamma_arrivals_s(
        rng(), rate_requests_per_s=1, cv=0, n_requests=100, duration_s=3.5
    )
    assert arrival_s.tolist() == [1, 2, 3]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"arrivals.rate: .*; expected more than 0"):
        poisson_arrivals_s(rng(), rate_requests_per_s=rate, n_requests=1)


def test_a_negative_variation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"arrivals.cv: -1; expected 0 or more"):
        gamma_arrivals_s(rng(), rate_requests_per_s=1, cv=-1, n_requests=1)


@pytest.mark.parametrize("duration_s", [None, 0.0, float("inf")])
def test_a_process_without_an_end_is_refused(duration_s: float | None) -> None:
    with pytest.raises(ConfigError, match=r"expected a number of requests or a duration"):
        poisson_arrivals_s(rng(), rate_requests_per_s=1, duration_s=duration_s)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"workload.requests: -1"):
        batch_arrivals_s(-1)


@pytest.mark.parametrize("cv", [0.5, 2.0])
def test_weibull_gaps_have_rate_and_variation(cv: float) -> None:
    times_s = weibull_arrivals_s(
        np.random.default_rng(9), rate_requests_per_s=5.0, cv=cv, n_requests=200_000
    )
    gaps_s = np.diff(times_s)
    assert gaps_s.mean() == pytest.approx(0.2, rel=0.02)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.05)


def test_weibull_gaps_need_a_rate() -> None:
    with pytest.raises(ConfigError, match=r"arrivals.rate: 0; expected more than 0"):
        weibull_arrivals_s(np.random.default_rng(0), rate_requests_per_s=0, cv=1, n_requests=1)
