import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.schema.scalars import NotFiniteError, resolve_scalar


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "yes",
        "on",
        "off",
        "y",
        "n",
        "12:30",
        "1:1",
        "010",
        "-007",
        "0x10",
        "0o7",
        "0b1",
        "1_000",
        "2024-01-31",
        "nan",
        "inf",
        "NULL_",
        "1e",
        "e9",
        ".",
        "-",
        "+",
        "1.2.3",
        "<<",
    ],
)
def test_scalars_of_older_yaml_stay_text(text):
    assert resolve_scalar(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("+12", 12),
        ("9223372036854775807", 2**63 - 1),
        ("1e9", 1e9),
        ("8e12", 8e12),
        ("8E+12", 8e12),
        ("0.5", 0.5),
        (".5", 0.5),
        ("-.5e-1", -0.05),
        ("1.", 1.0),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_of_the_core_schema_are_converted(text, value):
    found = resolve_scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", [".inf", "-.INF", "+.inf", ".nan", ".NaN", "1e999", "-1e400", "9223372036854775808"]
)
def test_numbers_that_are_not_finite_in_64_bits_are_refused(text):
    with pytest.raises(NotFiniteError):
        resolve_scalar(text)


def test_text_of_thousands_of_digits_is_not_read_as_a_number():
    assert resolve_scalar("9" * 5000) == "9" * 5000


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_reads_back(value):
    assert resolve_scalar(repr(value)) == value


@given(st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1))
def test_every_64_bit_integer_reads_back(value):
    assert resolve_scalar(str(value)) == value
