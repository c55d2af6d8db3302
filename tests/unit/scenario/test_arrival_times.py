"""Generated arrival times."""

import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.arrival_times import arrival_times_s
from rackmoe.scenario.arrivals import Arrivals
from rackmoe.streams import Streams


def times(arrivals, *, n_requests=None, duration_s=None, seed=0, suffix=""):
    return arrival_times_s(
        Arrivals(**arrivals),
        n_requests=n_requests,
        duration_s=duration_s,
        streams=Streams(seed),
        suffix=suffix,
    )


RATED = {
    "poisson": {"poisson_requests_per_s": 20.0},
    "gamma": {"gamma": {"rate_requests_per_s": 20.0, "cv": 2.0}},
    "weibull": {"weibull": {"rate_requests_per_s": 20.0, "cv": 2.0}},
    "ramp": {"ramp": ({"at_s": 0.0, "rate_requests_per_s": 20.0},)},
    "on_off": {"on_off": {"on_rate_requests_per_s": 40.0, "on_s": 1.0, "off_s": 1.0}},
}


@pytest.mark.parametrize("way", RATED)
def test_every_rate_is_met_and_scaled(way):
    for scale in (1.0, 3.0):
        found, origin = times(RATED[way] | {"rate_scale": scale}, duration_s=2000.0)
        assert found.size / 2000 == pytest.approx(20 * scale, rel=0.08)
        assert found.max() < 2000
        assert (np.diff(found) >= 0).all()
        assert "generated" in origin


@pytest.mark.parametrize("way", RATED)
def test_a_number_is_met_exactly(way):
    assert times(RATED[way], n_requests=500)[0].size == 500


def test_gamma_is_poisson_with_bursts():
    with_cv = times({"poisson_requests_per_s": 20.0, "burst_cv": 2.0}, n_requests=50)
    assert with_cv[0].tolist() == times(RATED["gamma"], n_requests=50)[0].tolist()


def test_streams_of_applications_differ():
    first, second = (times(RATED["poisson"], n_requests=5, suffix=s)[0] for s in ("/a", "/b"))
    assert (first != second).all()


@pytest.mark.parametrize("arrivals", [{"closed_loop": 3}, {"batch": True}])
def test_what_has_no_rate_needs_a_number(arrivals):
    with pytest.raises(ConfigError, match="a closed loop or a batch needs a number"):
        times(arrivals, duration_s=5.0)
