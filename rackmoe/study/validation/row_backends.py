"""Which backend profile a row of measured serving points stands for."""

from functools import cache
from typing import Final

from rackmoe.errors import ConfigError
from rackmoe.schema.shipped import shipped_names

__all__ = ["ENGINES", "dated_backend", "dated_backends"]

# DeepSeek's own engine runs the kernels that SGLang uses (DeepGEMM, FlashMLA, DeepEP).
ENGINES: Final = {"trtllm": "trtllm", "sglang": "sglang", "vllm": "vllm", "deepseek": "sglang"}
"""Engine whose profiles stand for that of a row."""

_LAST_MONTH_OF_FIRST_HALF: Final = 6


def dated_backend(engine: str, *, date: str, place: str) -> str:
    """Return the profile of an engine at a date.

    Engines change by 5 to 15 % from release to release, so that their profiles carry half-years.
    Of the shipped ones the nearest in time is taken, the later one of two; where no date is
    told, the last one.

    Parameters
    ----------
    engine : str
        A key of `ENGINES`.
    date : str
        When the row was measured, ``2025-12-09`` or ``2025-12``; may be empty.
    place : str
        The row, for messages.

    Returns
    -------
    str
        Name of a shipped profile, such as ``trtllm-2025h2``.

    Raises
    ------
    ConfigError
        If the engine is unknown, or the date is none.
    """
    if engine not in ENGINES:
        raise ConfigError(
            f"{place}: engine: '{engine}'; expected one of {', '.join(ENGINES)}; rename it"
        )
    known = dated_backends(ENGINES[engine])
    if not date:
        return known[max(known)]
    try:
        year, month = (int(part) for part in date.split("-")[:2])
    except ValueError:
        raise ConfigError(
            f"{place}: source_date: '{date}'; expected YYYY-MM-DD or YYYY-MM; correct it"
        ) from None
    wanted = _half_year(year, 1 if month <= _LAST_MONTH_OF_FIRST_HALF else 2)
    return known[min(known, key=lambda half: (abs(half - wanted), -half))]


@cache
def dated_backends(engine: str) -> dict[int, str]:
    """Return the shipped profiles of an engine.

    Parameters
    ----------
    engine : str
        A value of `ENGINES`.

    Returns
    -------
    dict of int to str
        Names by date, in half-years, a count.
    """
    found = {}
    for name in shipped_names("scenarios/backends"):
        stem, _, date = name.rpartition("-")
        year, is_dated, half = date.partition("h")
        if stem == engine and is_dated:
            found[_half_year(int(year), int(half))] = name
    return found


def _half_year(year: int, half: int) -> int:
    return 2 * year + half - 1
