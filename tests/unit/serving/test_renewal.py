import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.serving.renewal import RenewalProcesses, sample_renewals, weibull_shape


def equal_processes(
    n: int, *, shape: float, is_weibull: bool, rate: float = 0.5, duration_s: float = 20.0
) -> RenewalProcesses:
    return RenewalProcesses(
        rate_requests_per_s=np.full(n, rate),
        shape=np.full(n, shape),
        is_weibull=np.full(n, is_weibull),
        duration_s=np.full(n, duration_s),
    )


@pytest.mark.parametrize("is_weibull", [False, True])
@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
def test_every_part_of_the_time_gets_the_mean_rate(shape: float, is_weibull: bool) -> None:  # noqa: FBT001  # a parameter of the test
    processes = equal_processes(20_000, shape=shape, is_weibull=is_weibull)
    which, time_s = sample_renewals(processes, rng=np.random.default_rng(5))
    # an ordinary first gap would give bursts too many and regular traffic too few at the start
    for part in (time_s < 1, (time_s >= 10) & (time_s < 11)):
        assert part.sum() / 20_000 == pytest.approx(0.5, rel=0.04)
    assert time_s.max() < 20
    assert (np.diff(time_s[np.argsort(which, kind="stable")]) < 20).all()


def test_gaps_have_the_variation_of_their_shape() -> None:
    processes = equal_processes(1, shape=0.25, is_weibull=False, rate=10.0, duration_s=20_000.0)
    _, time_s = sample_renewals(processes, rng=np.random.default_rng(1))
    gaps_s = np.diff(time_s)
    assert gaps_s.mean() == pytest.approx(0.1, rel=0.02)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(2.0, rel=0.03)
    assert (gaps_s >= 0).all()


def test_nobody_sends_nothing() -> None:
    which, time_s = sample_renewals(
        equal_processes(0, shape=1.0, is_weibull=False), rng=np.random.default_rng(0)
    )
    assert which.size == time_s.size == 0


@pytest.mark.parametrize("cv", [0.1, 0.5, 2.0, 5.0])
def test_a_weibull_shape_has_the_asked_variation(cv: float) -> None:
    gaps = np.random.default_rng(2).weibull(weibull_shape(cv), 400_000)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_shape_one_is_exponential() -> None:
    assert weibull_shape(1.0) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("cv", [0.0, 1e9, float("nan")])
def test_an_impossible_variation_is_refused(cv: float) -> None:
    with pytest.raises(ConfigError, match=r"arrivals.cv: .* for Weibull gaps"):
        weibull_shape(cv)
