import math
import re

import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe import units
from rackmoe.errors import ConfigError, UnitError
from rackmoe.units import (
    UNIT_SUFFIXES,
    Dimension,
    base_unit,
    example_quantity,
    format_quantity,
    noun,
    parse_quantity,
    quantity_pattern,
    strip_unit_suffix,
)

REGISTRY = pint.UnitRegistry()
REGISTRY.define("FLOP = [work]")
REGISTRY.define("USD = [money]")
REGISTRY.define("requests = []")
REGISTRY.define("tokens = []")
REGISTRY.define("Mtoken = []")

# pint calls a byte 'B' or 'byte' and a bit 'bit'; it has no 'b' (a barn there)
PINT_SPELLING = {"b": "bit", "d": "day", "min": "minute", "h": "hour", "years": "year"}


def pint_unit(unit):
    text = re.sub(r"^/", "1/", unit)
    words = re.split(r"([/*])", text)
    spelled = [re.sub(r"^([kMGTP]?)b$", r"\1bit", word) for word in words]
    return "".join(PINT_SPELLING.get(word, word) for word in spelled)


EVERY_UNIT = [(dimension, unit) for dimension, table in units._UNITS.items() for unit in table]
dimensions = st.sampled_from(list(Dimension))
values = st.floats(min_value=0, max_value=1e18, allow_subnormal=False)


@pytest.mark.parametrize(("dimension", "unit"), EVERY_UNIT)
@pytest.mark.parametrize("number", ["1", "7.25", "3e-2"])
def test_parse_quantity_agrees_with_pint(dimension, unit, number):
    oracle = REGISTRY.Quantity(float(number), pint_unit(unit))
    expected = oracle.to(pint_unit(base_unit(dimension))).magnitude
    found = parse_quantity(f"{number} {unit}", dimension=dimension)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "dimension", "expected"),
    [
        ("8 TB/s", Dimension.BANDWIDTH, 8e12),
        ("400 Gb/s", Dimension.BANDWIDTH, 50e9),
        ("900GB/s", Dimension.BANDWIDTH, 900e9),
        ("192 GB", Dimension.BYTES, 192e9),
        ("192 GiB", Dimension.BYTES, 192 * 2**30),
        ("20 ms", Dimension.TIME, 0.02),
        ("7.5 us", Dimension.TIME, 7.5e-6),
        ("7.5 \u00b5s", Dimension.TIME, 7.5e-6),
        ("7.5 \u03bcs", Dimension.TIME, 7.5e-6),
        ("20 /s", Dimension.RATE, 20.0),
        ("3 /min", Dimension.RATE, 0.05),
        ("1 kWh", Dimension.ENERGY, 3.6e6),
        ("5 pJ/b", Dimension.ENERGY_PER_BYTE, 40e-12),
        ("80 USD/MWh", Dimension.USD_PER_KWH, 0.08),
        ("+.5e3 W", Dimension.POWER, 500.0),
        ("0 s", Dimension.TIME, 0.0),
    ],
)
def test_parse_quantity_returns_the_nearest_float(text, dimension, expected):
    assert parse_quantity(text, dimension=dimension) == expected


def test_byte_and_bit_are_eight_apart_and_giga_and_gibi_differ():
    a_byte = parse_quantity("1 GB/s", dimension=Dimension.BANDWIDTH)
    a_bit = parse_quantity("1 Gb/s", dimension=Dimension.BANDWIDTH)
    assert a_byte == 8 * a_bit
    assert units.GiB - units.GB == 73_741_824


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        ("8 tb/s", Dimension.BANDWIDTH, "'8 tb/s' has the unknown unit 'tb/s'.*mean 'TB/s'"),
        ("8", Dimension.BANDWIDTH, "'8' has no unit; write for example '8 TB/s'"),
        ("8 TB", Dimension.BANDWIDTH, "'8 TB' is an amount of data.*expected a bandwidth"),
        ("8 Gb", Dimension.BYTES, "'8 Gb' counts bits; expected an amount of data in bytes"),
        ("8 PFLOPS", Dimension.FLOP_RATE, "did you mean 'PFLOP/s'"),
        ("8 parsec", Dimension.POWER, "unknown unit 'parsec'; write for example '1200 W'"),
        ("-3 s", Dimension.TIME, "'-3 s' is negative; expected zero or more"),
        ("1e400 s", Dimension.TIME, "too large"),
        ("1e9999 s", Dimension.TIME, "unknown unit|not a number"),
        ("nan s", Dimension.TIME, "'nan s' is not a number with a unit"),
        ("inf s", Dimension.TIME, "not a number with a unit"),
        ("", Dimension.TIME, "'' is not a number with a unit"),
        ("s", Dimension.TIME, "not a number with a unit"),
        ("8  s", Dimension.TIME, "not a number with a unit"),
        ("8 s ", Dimension.TIME, "not a number with a unit"),
        ("1_000 s", Dimension.TIME, "unknown unit '_000|not a number"),
        ("1,5 s", Dimension.TIME, "not a number|unknown unit"),
        ("\u0663 s", Dimension.TIME, "not a number with a unit"),
        ("9" * 100 + " s", Dimension.TIME, r"'9{40}\.\.\.' is not a number"),
    ],
)
def test_what_is_no_quantity_is_refused_with_a_remedy(text, dimension, message):
    with pytest.raises(UnitError, match=message) as caught:
        parse_quantity(text, dimension=dimension)
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in str(caught.value)


@given(text=st.text(max_size=30), dimension=dimensions)
def test_any_text_is_a_finite_number_or_a_unit_error(text, dimension):
    try:
        assert math.isfinite(parse_quantity(text, dimension=dimension))
    except UnitError:
        assert not re.search(quantity_pattern(dimension).replace("$", r"\Z"), text) or "e" in (
            text.lower()
        )


@given(value=values, dimension=dimensions)
def test_exact_text_reads_back_as_the_same_float(value, dimension):
    text = format_quantity(value, dimension=dimension, digits=None)
    assert parse_quantity(text, dimension=dimension) == value
    assert re.search(quantity_pattern(dimension), text)


@given(value=values, dimension=dimensions)
def test_short_text_reads_back_within_its_digits(value, dimension):
    text = format_quantity(value, dimension=dimension)
    assert parse_quantity(text, dimension=dimension) == pytest.approx(value, rel=5e-4)


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (8e12, Dimension.BANDWIDTH, "8 TB/s"),
        (0.0147612, Dimension.TIME, "14.76 ms"),
        (0.0, Dimension.TIME, "0 s"),
        (1234.0, Dimension.TIME, "1234 s"),
        (1.4e-13, Dimension.TIME, "0.14 ps"),
        (14.3e12, Dimension.BYTES, "14.3 TB"),
        (132_000.0, Dimension.POWER, "132 kW"),
        (math.nan, Dimension.POWER, "nan W"),
        (math.inf, Dimension.TIME, "inf s"),
        (-2e9, Dimension.BYTES, "-2 GB"),
    ],
)
def test_format_quantity_takes_the_unit_that_reads_best(value, dimension, text):
    assert format_quantity(value, dimension=dimension) == text


@pytest.mark.parametrize("dimension", list(Dimension))
def test_every_dimension_can_be_named_and_written(dimension):
    assert noun(dimension).startswith(("a ", "an "))
    assert parse_quantity(example_quantity(dimension), dimension=dimension) > 0
    assert parse_quantity(f"1 {base_unit(dimension)}", dimension=dimension) == 1
    assert re.search(quantity_pattern(dimension), example_quantity(dimension))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("hbm_bandwidth_bytes_per_s", "hbm_bandwidth"),
        ("peak_flop_per_s", "peak"),
        ("latency_s", "latency"),
        ("memory_bytes", "memory"),
        ("idle_power_w", "idle_power"),
        ("price_usd_per_h", "price"),
        ("power_w_per_gpu", "power_per_gpu"),
        ("bandwidth_bytes_per_s_per_direction", "bandwidth_per_direction"),
        ("link_bytes_per_s_both_directions", "link_both_directions"),
        ("tolerance_frac", "tolerance"),
        ("n_layers", "n_layers"),
        ("sources", "sources"),
        ("_s", "_s"),
    ],
)
def test_key_of_a_file_is_the_name_without_its_unit(name, key):
    assert strip_unit_suffix(name) == key


def test_no_suffix_hides_a_longer_one():
    suffixes = list(UNIT_SUFFIXES)
    for position, suffix in enumerate(suffixes):
        assert not any(later.endswith(suffix) for later in suffixes[position + 1 :])
