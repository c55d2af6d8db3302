import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.serving.modulated import OnOffRate, modulated_arrivals_s, ramp_profile


def ramp(*points: tuple[float, float]):
    at_s, rates = np.array(points, float).T
    return ramp_profile(at_s, rate_requests_per_s=rates)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_expected_arrivals_are_the_area_under_the_rate() -> None:
    profile = ramp((0, 0), (10, 4), (20, 4), (20, 1))
    # a triangle of 20, a rectangle of 40, then 1 a second
    assert profile.expected_until(5) == pytest.approx(5)
    assert profile.expected_until(10) == pytest.approx(20)
    assert profile.expected_until(25) == pytest.approx(65)
    assert profile.instants_s(np.array([5.0, 20.0, 60.0, 65.0])).tolist() == pytest.approx(
        [5, 10, 20, 25]
    )


def test_a_falling_ramp_ends() -> None:
    profile = ramp((0, 2), (10, 0))
    assert profile.instants_s(np.array([7.5, 10.5])).tolist() == [5.0, np.inf]
    assert modulated_arrivals_s(profile, rng=rng(), n_requests=100).size < 100


def test_a_ramp_brings_arrivals_where_its_rate_is() -> None:
    times_s = modulated_arrivals_s(ramp((0, 0), (100, 200)), rng=rng(), duration_s=100)
    assert times_s.size == pytest.approx(10_000, rel=0.05)
    assert (times_s < 50).mean() == pytest.approx(0.25, abs=0.02)
    assert (np.diff(times_s) >= 0).all()


def test_the_first_limit_reached_counts() -> None:
    profile = ramp((0, 10))
    assert modulated_arrivals_s(profile, rng=rng(), n_requests=50).size == 50
    assert modulated_arrivals_s(profile, rng=rng(), n_requests=50, duration_s=0.1).size < 10


def test_fixed_phases_follow_each_other() -> None:
    rate = OnOffRate(
        on_rate_requests_per_s=50, off_rate_requests_per_s=0, on_s=2, off_s=3, is_periodic=True
    )
    assert rate.mean_rate_requests_per_s == pytest.approx(20)
    profile = rate.profile(rng(), until_s=100)
    times_s = modulated_arrivals_s(profile, rng=rng(), duration_s=100)
    assert (times_s % 5 < 2).all()
    assert times_s.size == pytest.approx(2000, rel=0.1)


def test_random_phases_have_their_mean_lengths_and_make_bursts() -> None:
    rate = OnOffRate(on_rate_requests_per_s=40, off_rate_requests_per_s=4, on_s=1, off_s=2)
    profile = rate.profile(rng(), until_s=20_000)
    assert profile.start_s[-1] > 20_000
    lengths_s = np.diff(profile.start_s)
    assert lengths_s[0::2].mean() == pytest.approx(1, rel=0.05)
    assert lengths_s[1::2].mean() == pytest.approx(2, rel=0.05)
    times_s = modulated_arrivals_s(profile, rng=rng(), duration_s=20_000)
    assert times_s.size / 20_000 == pytest.approx(rate.mean_rate_requests_per_s, rel=0.05)
    counts = np.histogram(times_s, bins=20_000)[0]
    assert counts.var() > 3 * counts.mean()  # of a Poisson process they are equal


@pytest.mark.parametrize("points", [[(1, 1)], [(0, 1), (5, 1), (4, 1)]])
def test_a_ramp_starts_at_zero_and_goes_on(points) -> None:
    with pytest.raises(ConfigError, match=r"arrivals.ramp: times .*; expected ascending"):
        ramp(*points)


def test_a_ramp_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"arrivals.ramp: no rate above 0"):
        ramp((0, 0), (10, 0))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"on_rate_requests_per_s": 0}, "expected one above 0"),
        ({"off_rate_requests_per_s": -1}, "expected one above 0"),
        ({"off_s": 0}, "expected more than 0 s"),
        ({"on_s": float("inf")}, "expected more than 0 s"),
    ],
)
def test_impossible_phases_are_refused(changes, problem) -> None:
    values = {"on_rate_requests_per_s": 5, "off_rate_requests_per_s": 0, "on_s": 1, "off_s": 1}
    with pytest.raises(ConfigError, match=problem):
        OnOffRate(**(values | changes))


def test_arrivals_need_a_limit() -> None:
    with pytest.raises(ConfigError, match=r"workload.requests: missing, and workload.duration"):
        modulated_arrivals_s(ramp((0, 1)), rng=rng())
