"""What a number with a unit means, and how it is written."""

import difflib
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from rackmoe.errors import UnitError

__all__ = [
    "GB",
    "KB",
    "MB",
    "PB",
    "TB",
    "UNIT_SUFFIXES",
    "Dimension",
    "GiB",
    "KiB",
    "MiB",
    "TiB",
    "base_unit",
    "example_quantity",
    "format_quantity",
    "noun",
    "parse_quantity",
    "quantity_pattern",
    "strip_unit_suffix",
]

KB, MB, GB, TB, PB = 1e3, 1e6, 1e9, 1e12, 1e15
KiB, MiB, GiB, TiB = float(2**10), float(2**20), float(2**30), float(2**40)


class Dimension(StrEnum):
    """What a quantity measures; each has one unit inside rackmoe."""

    TIME = "time"
    BYTES = "bytes"
    BANDWIDTH = "bandwidth"
    FLOP = "flop"
    FLOP_RATE = "flop_rate"
    POWER = "power"
    ENERGY = "energy"
    ENERGY_PER_BYTE = "energy_per_byte"
    ENERGY_PER_FLOP = "energy_per_flop"
    RATE = "rate"
    FREQUENCY = "frequency"
    USD = "usd"
    USD_PER_HOUR = "usd_per_hour"
    USD_PER_KWH = "usd_per_kwh"
    USD_PER_MTOKEN = "usd_per_mtoken"


_PREFIXES = {
    "p": Decimal("1e-12"),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "\u00b5": Decimal("1e-6"),
    "\u03bc": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
    "Z": Decimal("1e21"),
}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_BIT = Decimal("0.125")
_MINUTE, _HOUR, _DAY = Decimal(60), Decimal(3600), Decimal(86400)
_YEAR = Decimal("365.25") * _DAY  # the Julian year
_SMALL = ("p", "n", "u", "\u00b5", "\u03bc", "m", "")


def _scaled(
    unit: str, *, prefixes: str | tuple[str, ...], factor: Decimal = Decimal(1)
) -> dict[str, Decimal]:
    """Return the unit with each prefix, and the factor of each to the inner unit."""
    return {prefix + unit: _PREFIXES[prefix] * factor for prefix in ("", *prefixes)}


_BYTES = _scaled("B", prefixes="kMGTPE") | {
    prefix + "B": Decimal(factor) for prefix, factor in _BINARY.items()
}
_BITS = _scaled("b", prefixes="kMGTP", factor=_BIT) | _scaled("bit", prefixes="kMGTP", factor=_BIT)
_FLOP = _scaled("FLOP", prefixes="kMGTPEZ")

# the first unit of each table is the one used inside
_UNITS: Mapping[Dimension, Mapping[str, Decimal]] = MappingProxyType(
    {
        Dimension.TIME: {"s": Decimal(1)}
        | _scaled("s", prefixes=_SMALL)
        | {"min": _MINUTE, "h": _HOUR, "d": _DAY, "year": _YEAR, "years": _YEAR},
        Dimension.BYTES: _BYTES,
        Dimension.BANDWIDTH: {f"{unit}/s": factor for unit, factor in (_BYTES | _BITS).items()},
        Dimension.FLOP: _FLOP,
        Dimension.FLOP_RATE: {f"{unit}/s": factor for unit, factor in _FLOP.items()},
        Dimension.POWER: _scaled("W", prefixes="mkMG"),
        Dimension.ENERGY: {"J": Decimal(1)}
        | _scaled("J", prefixes=(*_SMALL, "k", "M", "G"))
        | _scaled("Wh", prefixes="kMG", factor=_HOUR),
        Dimension.ENERGY_PER_BYTE: {"J/B": Decimal(1)}
        | {f"{unit}/B": factor for unit, factor in _scaled("J", prefixes="pnum").items()}
        | {f"{unit}/b": factor * 8 for unit, factor in _scaled("J", prefixes="pnum").items()},
        Dimension.ENERGY_PER_FLOP: {
            f"{unit}/FLOP": factor
            for unit, factor in _scaled("J", prefixes=("p", "n", "u", "m")).items()
        }
        | {"fJ/FLOP": Decimal("1e-15")},
        Dimension.RATE: {
            "/s": Decimal(1),
            "1/s": Decimal(1),
            **{f"{what}/s": Decimal(1) for what in ("requests", "tokens")},
            "/min": 1 / _MINUTE,
            "/h": 1 / _HOUR,
        },
        Dimension.FREQUENCY: _scaled("Hz", prefixes="kMG"),
        Dimension.USD: _scaled("USD", prefixes="kM"),
        Dimension.USD_PER_HOUR: {"USD/h": Decimal(1)},
        Dimension.USD_PER_KWH: {"USD/kWh": Decimal(1), "USD/MWh": Decimal("1e-3")},
        Dimension.USD_PER_MTOKEN: {"USD/Mtoken": Decimal(1)},
    }
)

_NOUNS: Mapping[Dimension, tuple[str, str]] = MappingProxyType(
    {
        Dimension.TIME: ("a time", "20 ms"),
        Dimension.BYTES: ("an amount of data in bytes", "192 GB"),
        Dimension.BANDWIDTH: ("a bandwidth", "8 TB/s"),
        Dimension.FLOP: ("an amount of work", "2 GFLOP"),
        Dimension.FLOP_RATE: ("a compute rate", "10 PFLOP/s"),
        Dimension.POWER: ("a power", "1200 W"),
        Dimension.ENERGY: ("an energy", "3 J"),
        Dimension.ENERGY_PER_BYTE: ("an energy per byte", "40 pJ/B"),
        Dimension.ENERGY_PER_FLOP: ("an energy per FLOP", "0.3 pJ/FLOP"),
        Dimension.RATE: ("a rate", "20 /s"),
        Dimension.FREQUENCY: ("a frequency", "1.9 GHz"),
        Dimension.USD: ("an amount of money", "30 USD"),
        Dimension.USD_PER_HOUR: ("a price per hour", "2.5 USD/h"),
        Dimension.USD_PER_KWH: ("a price of energy", "0.08 USD/kWh"),
        Dimension.USD_PER_MTOKEN: ("a price per million tokens", "2.2 USD/Mtoken"),
    }
)

_DISPLAY: Mapping[Dimension, tuple[str, ...]] = MappingProxyType(
    {
        Dimension.TIME: ("ps", "ns", "us", "ms", "s"),
        Dimension.BYTES: ("B", "kB", "MB", "GB", "TB", "PB"),
        Dimension.BANDWIDTH: ("B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"),
        Dimension.FLOP: tuple(_FLOP),
        Dimension.FLOP_RATE: tuple(f"{unit}/s" for unit in _FLOP),
        Dimension.POWER: ("mW", "W", "kW", "MW", "GW"),
        Dimension.ENERGY: ("pJ", "nJ", "uJ", "mJ", "J", "kJ", "MJ", "GJ"),
        Dimension.ENERGY_PER_BYTE: ("pJ/B", "nJ/B", "uJ/B", "mJ/B", "J/B"),
        Dimension.ENERGY_PER_FLOP: ("fJ/FLOP", "pJ/FLOP", "nJ/FLOP", "uJ/FLOP", "J/FLOP"),
        Dimension.RATE: ("/s",),
        Dimension.FREQUENCY: ("Hz", "kHz", "MHz", "GHz"),
        Dimension.USD: ("USD", "kUSD", "MUSD"),
        Dimension.USD_PER_HOUR: ("USD/h",),
        Dimension.USD_PER_KWH: ("USD/kWh",),
        Dimension.USD_PER_MTOKEN: ("USD/Mtoken",),
    }
)

UNIT_SUFFIXES: Mapping[str, Dimension | None] = MappingProxyType(
    {
        "_bytes_per_s": Dimension.BANDWIDTH,
        "_flop_per_s": Dimension.FLOP_RATE,
        "_requests_per_s": Dimension.RATE,
        "_tokens_per_s": Dimension.RATE,
        "_tokens_per_j": None,
        "_usd_per_million_tokens": Dimension.USD_PER_MTOKEN,
        "_usd_per_kwh": Dimension.USD_PER_KWH,
        "_usd_per_h": Dimension.USD_PER_HOUR,
        "_j_per_byte": Dimension.ENERGY_PER_BYTE,
        "_j_per_flop": Dimension.ENERGY_PER_FLOP,
        "_per_s": Dimension.RATE,
        "_bytes": Dimension.BYTES,
        "_flop": Dimension.FLOP,
        "_usd": Dimension.USD,
        "_hz": Dimension.FREQUENCY,
        "_w": Dimension.POWER,
        "_j": Dimension.ENERGY,
        "_s": Dimension.TIME,
        "_frac": None,
    }
)
_QUALIFIERS = ("_per_gpu", "_per_direction", "_both_directions")

_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"(?P<number>[+-]?{_NUMBER})? ?(?P<unit>\S*)", re.ASCII)
_MAX_DIGITS = 40
_MAX_SHOWN = 40


def parse_quantity(text: str, *, dimension: Dimension) -> float:
    """Return the value of a number with a unit, in the unit used inside.

    Units are matched letter by letter: ``B`` is a byte and ``b`` a bit, ``GB`` is
    1e9 bytes and ``GiB`` is 2**30. The result is the float nearest to the exact value.

    Parameters
    ----------
    text : str
        A number of zero or more, at most one space, and a unit.
    dimension : Dimension
        What the quantity must measure.

    Returns
    -------
    float
        The value in ``base_unit(dimension)``.

    Raises
    ------
    UnitError
        If the text has no unit, an unknown one, one of another dimension, or a
        number that is negative or not finite.

    Examples
    --------
    >>> parse_quantity("8 TB/s", dimension=Dimension.BANDWIDTH)
    8000000000000.0
    >>> parse_quantity("400 Gb/s", dimension=Dimension.BANDWIDTH)
    50000000000.0
    """
    shown = _shown(text)
    found = _QUANTITY.fullmatch(text)
    if found is None or found["number"] is None or len(found["number"]) > _MAX_DIGITS:
        raise UnitError(f"{shown} is not a number with a unit; {_write(dimension)}")
    number, unit = found["number"], found["unit"]
    if not unit:
        example = example_quantity(dimension).split(" ", 1)[1]
        raise UnitError(f"{shown} has no unit; write for example '{number} {example}'")
    factor = _UNITS[dimension].get(unit)
    if factor is None:
        raise UnitError(_unknown_unit(shown, unit=unit, dimension=dimension))
    if number.startswith("-"):
        raise UnitError(f"{shown} is negative; expected zero or more; {_write(dimension)}")
    value = float(Decimal(number) * factor)
    if not math.isfinite(value):
        raise UnitError(f"{shown} is too large; expected a finite number; {_write(dimension)}")
    return value


def format_quantity(value: float, *, dimension: Dimension, digits: int | None = 4) -> str:
    """Return a value as a number with the unit that reads best.

    Parameters
    ----------
    value : float
        The value in ``base_unit(dimension)``.
    dimension : Dimension
        What the value measures.
    digits : int or None
        Significant digits; None for the shortest text that reads back as the same float.

    Returns
    -------
    str
        For example ``8 TB/s``; `parse_quantity` reads it.

    Examples
    --------
    >>> format_quantity(8e12, dimension=Dimension.BANDWIDTH)
    '8 TB/s'
    >>> format_quantity(0.0147612, dimension=Dimension.TIME)
    '14.76 ms'
    """
    table = _UNITS[dimension]
    unit = base_unit(dimension)
    if value and math.isfinite(value):
        units = _DISPLAY[dimension]
        unit = units[0]
        for larger in units[1:]:
            if abs(value) >= float(table[larger]):
                unit = larger
    if digits is not None:
        return f"{value / float(table[unit]):.{digits}g} {unit}"
    text = f"{_shortest(value / float(table[unit]))} {unit}"
    if math.isfinite(value) and parse_quantity(text, dimension=dimension) != value:
        return f"{_shortest(value)} {base_unit(dimension)}"
    return text


def base_unit(dimension: Dimension) -> str:
    """Return the unit that rackmoe uses inside for a dimension."""
    return next(iter(_UNITS[dimension]))


def noun(dimension: Dimension) -> str:
    """Return what a quantity of the dimension is called in a message."""
    return _NOUNS[dimension][0]


def example_quantity(dimension: Dimension) -> str:
    """Return a quantity of the dimension, written as a file would."""
    return _NOUNS[dimension][1]


def quantity_pattern(dimension: Dimension) -> str:
    """Return a regular expression that accepts what `parse_quantity` accepts."""
    units = "|".join(re.escape(unit) for unit in _UNITS[dimension])
    return rf"^\+?{_NUMBER} ?(?:{units})$"


def strip_unit_suffix(name: str) -> str:
    """Return a field's name without its unit: the key of a file, whose value has the unit.

    Examples
    --------
    >>> strip_unit_suffix("hbm_bandwidth_bytes_per_s")
    'hbm_bandwidth'
    >>> strip_unit_suffix("power_w_per_gpu")
    'power_per_gpu'
    """
    tail = next((end for end in _QUALIFIERS if name.endswith(end)), "")
    stem = name.removesuffix(tail)
    for suffix in UNIT_SUFFIXES:
        if stem.endswith(suffix) and stem != suffix:
            return stem.removesuffix(suffix) + tail
    return name


def _unknown_unit(shown: str, *, unit: str, dimension: Dimension) -> str:
    """Return the message for a unit that the dimension does not have."""
    if unit in _BITS and dimension is Dimension.BYTES:
        return f"{shown} counts bits; expected {noun(dimension)}; {_write(dimension)}"
    for other, units in _UNITS.items():
        if unit in units:
            return f"{shown} is {noun(other)}; expected {noun(dimension)}; {_write(dimension)}"
    known = list(_UNITS[dimension])
    close = [name for name in known if name.lower() == unit.lower()]
    close = close or difflib.get_close_matches(unit, known, n=1)
    if close:
        names = " or ".join(f"'{name}'" for name in close)
        return f"{shown} has the unknown unit '{unit[:_MAX_SHOWN]}'; did you mean {names}?"
    return f"{shown} has the unknown unit '{unit[:_MAX_SHOWN]}'; {_write(dimension)}"


def _write(dimension: Dimension) -> str:
    """Return the remedy of a message about a quantity."""
    return f"write for example '{example_quantity(dimension)}'"


def _shown(text: str) -> str:
    """Return the text in quotes, shortened when it is long."""
    return f"'{text}'" if len(text) <= _MAX_SHOWN else f"'{text[:_MAX_SHOWN]}...'"


def _shortest(value: float) -> str:
    """Return the shortest text of a float, without a needless point."""
    return repr(value).removesuffix(".0")
