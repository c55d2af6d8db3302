import numpy as np
import pytest

from rackmoe.report.numbers import header_of, show_number, show_quantity


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (True, "yes"),
        (np.False_, "no"),
        (0, "0"),
        (1296, "1,296"),
        (np.int64(-1500), "-1,500"),
        (0.0, "0"),
        (0.014761234, "0.01476"),
        (999.96, "1000"),
        (12345.6, "12,346"),
        (1.8e17, "1.8e+17"),
        (float("inf"), "inf"),
        ("word", "word"),
        ((5, 4, 4, 5), "5, 4, 4, 5"),
    ],
)
def test_cells_show_four_significant_digits_and_whole_counts(value, text):
    assert show_number(value) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("hbm_bytes", 14.3e12, "14.3 TB"),
        ("kv_bytes_per_token", 70272.0, "70,272 B"),
        ("min_cut_bytes_per_s_per_direction", 32.4e12, "32.4 TB/s"),
        ("dense_flop_per_s", 7.2e17, "720 PFLOP/s"),
        ("max_power_w", 132e3, "132 kW"),
        ("link_latency_s", 1.55e-7, "155 ns"),
        ("n_gpus", 72, "72"),
        ("has_reduction", True, "yes"),
        ("hbm_bytes", None, "-"),
        ("hbm_bytes", float("nan"), "-"),
        ("output_tokens_per_s", 1234.5, "1,234"),
    ],
)
def test_quantities_take_the_unit_of_their_name(name, value, text):
    assert show_quantity(name, value=value) == text


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("ttft_p99_s", "TTFT p99 [s]"),
        ("output_tokens_per_s_per_gpu", "output per GPU [tokens/s]"),
        ("capacity_bytes_per_s", "capacity [B/s]"),
        ("weight_bytes_total", "weight total [B]"),
        ("n_requests", "requests"),
        ("error_median", "error median"),
    ],
)
def test_headings_are_words_with_the_unit_in_brackets(name, header):
    assert header_of(name) == header
