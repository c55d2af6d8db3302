"""How people read a number: significant digits, and the unit that its name carries."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from rackmoe.units import Dimension, format_quantity

__all__ = ["header_of", "show_number", "show_percent", "show_quantity"]

DIGITS = 4

_GROUPED_FROM = 1000
# from here on, tenths of a percent say nothing
_WHOLE_PERCENT = 10
# sizes below it are shown to the byte: what a token's cache takes is an exact number
_EXACT_BYTES = 1e6

# A name's ending, what stands in brackets after it, and the dimension that picks a prefix.
_ENDINGS: tuple[tuple[str, str, Dimension | None], ...] = (
    ("_usd_per_million_tokens", "USD/Mtoken", Dimension.USD_PER_MTOKEN),
    ("_bytes_per_s", "B/s", Dimension.BANDWIDTH),
    ("_flop_per_s", "FLOP/s", Dimension.FLOP_RATE),
    ("_tokens_per_s", "tokens/s", None),
    ("_requests_per_s", "requests/s", None),
    ("_tokens_per_j", "tokens/J", None),
    ("_usd_per_kwh", "USD/kWh", Dimension.USD_PER_KWH),
    ("_usd_per_hour", "USD/h", Dimension.USD_PER_HOUR),
    ("_usd_per_h", "USD/h", Dimension.USD_PER_HOUR),
    ("_j_per_byte", "J/B", Dimension.ENERGY_PER_BYTE),
    ("_j_per_flop", "J/FLOP", Dimension.ENERGY_PER_FLOP),
    ("_per_s", "1/s", Dimension.RATE),
    ("_bytes", "B", Dimension.BYTES),
    ("_flop", "FLOP", Dimension.FLOP),
    ("_usd", "USD", Dimension.USD),
    ("_hz", "Hz", Dimension.FREQUENCY),
    ("_w", "W", Dimension.POWER),
    ("_j", "J", Dimension.ENERGY),
    ("_s", "s", Dimension.TIME),
    ("_us", "us", None),
    ("_ms", "ms", None),
)
# What a figure is divided by, or which directions it adds up, may follow its unit.
_QUALIFIER = re.compile(
    r"(_per_(?:gpu|mw|direction|domain|token|step|rank)|_both_directions|_fp8|_total)+$"
)
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        word.lower(): word
        for word in ("TTFT", "TPOT", "ITL", "GPU", "CPU", "NIC", "HBM", "KV", "SLO", "IT", "SM")
    }
)


def show_number(value: object) -> str:
    """Return a cell of a table.

    Parameters
    ----------
    value : object
        A number, a text, a truth value or nothing.

    Returns
    -------
    str
        Whole numbers and numbers from a thousand on with separators, others with four
        significant digits; a dash for nothing and for what is undefined.

    Examples
    --------
    >>> [show_number(value) for value in (1296, 0.0147612, 12345.6, None, True)]
    ['1,296', '0.01476', '12,346', '-', 'yes']
    """
    if value is None:
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return _show_float(float(value))
    if isinstance(value, list | tuple):
        return ", ".join(show_number(item) for item in value)
    return str(value)


def _show_float(value: float) -> str:
    if math.isnan(value):
        return "-"
    if math.isfinite(value) and abs(value) >= _GROUPED_FROM:
        is_large = abs(value) >= 1.0 / np.finfo(np.float64).eps
        return f"{value:.{DIGITS}g}" if is_large else f"{value:,.0f}"
    return f"{value:.{DIGITS}g}"


def show_percent(value: object, *, sign: str = "") -> str:
    """Return a fraction in percent, with a digit after the point below ten percent.

    Parameters
    ----------
    value : object
        A fraction, a text, or nothing.
    sign : str, optional
        ``+`` to show the sign of positive values too.

    Returns
    -------
    str
        A dash for nothing.

    Examples
    --------
    >>> [show_percent(value) for value in (0.1234, 0.0312, None)], show_percent(0.5, sign="+")
    (['12 %', '3.1 %', '-'], '+50 %')
    """
    if not isinstance(value, float | int | np.floating) or not math.isfinite(value):
        return show_number(value)
    percent = 100 * float(value)
    digits = 0 if abs(percent) >= _WHOLE_PERCENT else 1
    return f"{percent:{sign},.{digits}f} %"


def show_quantity(name: str, *, value: object) -> str:
    """Return a value with the unit that its name carries.

    Parameters
    ----------
    name : str
        Name with its unit as suffix, for example ``hbm_bytes``.
    value : object
        The value, in that unit.

    Returns
    -------
    str
        For example ``14.3 TB``; a value whose name has no unit as `show_number` does.

    Examples
    --------
    >>> show_quantity("hbm_bytes", value=14.3e12), show_quantity("n_gpus", value=72)
    ('14.3 TB', '72')
    """
    _, _, dimension = _split_unit(name)
    if dimension is None or isinstance(value, bool) or not isinstance(value, int | float):
        return show_number(value)
    if not math.isfinite(value):
        return show_number(value)
    if dimension is Dimension.BYTES and value < _EXACT_BYTES and value == int(value):
        return f"{int(value):,} B"
    return format_quantity(value, dimension=dimension, digits=DIGITS)


def header_of(name: str) -> str:
    """Return the heading of a column: words for people, then the unit in brackets.

    Parameters
    ----------
    name : str
        Name of the column, with its unit as suffix.

    Returns
    -------
    str
        The heading.

    Examples
    --------
    >>> header_of("ttft_p99_s"), header_of("capacity_bytes_per_s_per_direction")
    ('TTFT p99 [s]', 'capacity per direction [B/s]')
    """
    stem, unit, _ = _split_unit(name)
    words = [_WORDS.get(word, word) for word in stem.removeprefix("n_").split("_") if word]
    return " ".join([*words, *([f"[{unit}]"] if unit else [])])


def _split_unit(name: str) -> tuple[str, str, Dimension | None]:
    """Return a name without its unit, the symbol of the unit, and its dimension."""
    qualifier = _QUALIFIER.search(name)
    tail = qualifier.group() if qualifier else ""
    stem = name.removesuffix(tail)
    for ending, symbol, dimension in _ENDINGS:
        if stem.endswith(ending):
            return stem.removesuffix(ending) + tail, symbol, dimension
    return name, "", None
