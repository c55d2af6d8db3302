import numpy as np
import pytest

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.serving.client_pool import ClientPool, sample_clients
from rackmoe.serving.histograms import build_histograms


def histograms(*values: int | None):
    known = [np.zeros(0, int) if value is None else np.array([value]) for value in values]
    return build_histograms(known, weights=[np.ones(one.size) for one in known])


def pool(**changes) -> ClientPool:
    """Two clients, four windows of 100 s; the second one is silent at first."""
    values = {
        "window_s": 100.0,
        "rate_requests_per_s": np.array([[4.0, 4, 4, 4], [0, 0, 2, 2]]),
        "shape": np.ones((2, 4)),
        "is_weibull": np.zeros((2, 4), bool),
        "length_window_s": 200.0,
        "input_tokens": histograms(10, 11, None, 21),
        "output_tokens": histograms(1, 2, None, 3),
    }
    return ClientPool(**(values | changes))


def sample(own: ClientPool, **changes):
    values = {"start_s": 0.0, "duration_s": 400.0, "rng": np.random.default_rng(7)}
    return sample_clients(own, **(values | changes))


def test_clients_send_at_their_rates_and_with_their_lengths() -> None:
    requests = sample(pool())
    of_first = requests.domain == 0
    assert requests.domain_names == ("client-0", "client-1")
    assert of_first.sum() == pytest.approx(1600, rel=0.08)
    assert (~of_first).sum() == pytest.approx(400, rel=0.15)
    assert requests.arrival_s[~of_first].min() >= 200
    assert (np.diff(requests.arrival_s) >= 0).all()
    early = requests.arrival_s < 200
    assert set(requests.input_tokens[of_first & early].tolist()) == {10}
    assert set(requests.output_tokens[of_first & ~early].tolist()) == {2}
    assert set(requests.input_tokens[~of_first].tolist()) == {21}


def test_a_slice_counts_from_its_start_and_may_cut_windows() -> None:
    requests = sample(pool(), start_s=150.0, duration_s=75.0)
    assert requests.arrival_s.max() < 75
    assert requests.arrival_s[requests.domain == 1].min() >= 50
    assert len(requests) == pytest.approx(4 * 75 + 2 * 25, rel=0.25)


def test_a_scale_makes_more_of_the_same() -> None:
    assert len(sample(pool(), rate_scale=10.0)) == pytest.approx(20_000, rel=0.03)


def test_a_number_cuts_the_slice() -> None:
    assert len(sample(pool(), n_requests=17)) == 17


def test_unknown_lengths_are_those_of_the_nearest_window() -> None:
    cells = pool().length_cells(np.array([1, 1, 0]), time_s=np.array([0.0, 399.0, 250.0]))
    assert cells.tolist() == [3, 3, 1]


@pytest.mark.parametrize(("start_s", "duration_s"), [(-1, 10), (390, 20), (0, 0)])
def test_a_slice_outside_the_measurement_is_refused(start_s: float, duration_s: float) -> None:
    with pytest.raises(ConfigError, match=r"arrivals.clients: .*; expected a slice of the 400 s"):
        sample(pool(), start_s=start_s, duration_s=duration_s)


def test_an_impossible_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"arrivals.rate_scale: 0"):
        sample(pool(), rate_scale=0)


def test_arrays_must_fit_each_other() -> None:
    with pytest.raises(ShapeError, match=r"client pool: arrays of .*; expected one shape"):
        pool(input_tokens=histograms(1, 2, 3))
