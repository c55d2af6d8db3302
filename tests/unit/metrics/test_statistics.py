import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import ShapeError
from rackmoe.metrics.statistics import (
    LOWER_TAIL,
    statistic_name,
    statistics,
    weighted_percentile,
)


@pytest.mark.parametrize(
    ("quantity", "statistic", "name"),
    [
        ("ttft_s", "p99", "ttft_p99_s"),
        ("interactivity_tokens_per_s", "mean", "interactivity_mean_tokens_per_s"),
        ("n_requests", "p50", "n_requests_p50"),
    ],
)
def test_the_statistic_sits_before_the_unit(quantity: str, statistic: str, name: str) -> None:
    assert statistic_name(quantity, statistic=statistic) == name


def test_percentiles_interpolate_linearly() -> None:
    figures = statistics("e2e_s", values=[4.0, 1.0, 3.0, 2.0])
    assert figures == pytest.approx(
        # position (n - 1) p / 100 = 1.5, 2.7, 2.85, 2.97 of 1, 2, 3, 4
        {
            "e2e_mean_s": 2.5,
            "e2e_p50_s": 2.5,
            "e2e_p90_s": 3.7,
            "e2e_p95_s": 3.85,
            "e2e_p99_s": 3.97,
        },
        rel=1e-12,
    )


def test_the_lower_tail_is_that_of_the_unlucky() -> None:
    figures = statistics("interactivity_tokens_per_s", values=np.arange(101), which=LOWER_TAIL)
    assert figures["interactivity_p1_tokens_per_s"] == pytest.approx(1, rel=1e-12)
    assert figures["interactivity_p5_tokens_per_s"] == pytest.approx(5, rel=1e-12)


def test_undefined_values_are_left_out() -> None:
    assert statistics("tpot_s", values=[np.nan, 2.0])["tpot_mean_s"] == pytest.approx(2)


def test_an_empty_sample_has_no_figures() -> None:
    assert np.isnan(list(statistics("tpot_s", values=[np.nan]).values())).all()


def test_weights_count_occurrences() -> None:
    figures = statistics("itl_s", values=[1.0, 5.0], weights=[3, 1])
    assert figures["itl_mean_s"] == pytest.approx(2)
    assert figures["itl_p50_s"] == pytest.approx(1)


@given(
    rows=st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 20)), min_size=1, max_size=30),
    percent=st.floats(0, 100),
)
def test_weighted_percentiles_are_those_of_repeated_values(
    rows: list[tuple[float, int]], percent: float
) -> None:
    values, weights = (np.array(column) for column in zip(*rows, strict=True))
    expected = np.percentile(np.repeat(values, weights), percent)
    found = weighted_percentile(values, weights=weights, percent=percent)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_no_value_has_no_percentile() -> None:
    with pytest.raises(ShapeError, match=r"empty sample"):
        weighted_percentile(np.zeros(0), weights=np.zeros(0, np.int64), percent=50)
