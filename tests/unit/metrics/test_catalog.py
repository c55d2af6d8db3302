import pytest

from rackmoe.errors import ConfigError
from rackmoe.metrics.catalog import METRICS, define_metric

UNIT_OF_SUFFIX = {
    "_tokens_per_s": "1/s",
    "_requests_per_s": "1/s",
    "_s": "s",
    "_w": "W",
    "_tokens_per_j": "1/J",
    "_j": "J",
    "_frac": "1",
    "_usd_per_h_per_mw": "USD/h/MW",
    "_mw": "1/s/MW",
    "_usd_per_h": "USD/h",
}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_defined_in_one_line_and_its_unit_agrees_with_its_name(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name
    assert metric.definition
    assert "\n" not in metric.definition
    expected = next(
        (unit for suffix, unit in UNIT_OF_SUFFIX.items() if name.endswith(suffix)), metric.unit
    )
    assert metric.unit == expected


def test_a_percentile_says_what_it_is_one_of() -> None:
    assert define_metric("ttft_p99_s").definition == (
        "percentile 99 (linear interpolation) of ttft_s:"
        " arrival to first output token, queueing included"
    )


def test_a_misspelt_metric_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"ttft_99_s: unknown metric; did you mean 'ttft_p99_s'"):
        define_metric("ttft_99_s")


def test_a_name_like_no_metric_gets_the_list() -> None:
    with pytest.raises(ConfigError, match=r"zzz: unknown metric; expected one of window_s, n_req"):
        define_metric("zzz")
