"""Seconds of the laws on the integer picosecond clock of the simulation."""

import math

import simpy
from simpy.events import EventPriority

from rackmoe.network.flow_updates import PS_PER_S

__all__ = ["PICOSECONDS_PER_S", "LateEvent", "now_ps", "to_ps", "to_s"]

PICOSECONDS_PER_S = PS_PER_S
"""Ticks of the clock in a second."""

_LATE = EventPriority(2)
"""After everything else of the same instant: SimPy's own priorities are 0 and 1."""


def now_ps(env: simpy.Environment) -> int:
    """Return the time of a clock that started at a whole number of ticks.

    Parameters
    ----------
    env : simpy.Environment
        The clock; its type allows fractions, ours never has them.

    Returns
    -------
    int
        Time. [ps]
    """
    return int(env.now)


def to_ps(duration_s: float) -> int:
    """Return a duration in whole picoseconds, rounded up.

    Parameters
    ----------
    duration_s : float
        Duration. [s]

    Returns
    -------
    int
        Picoseconds, so that nothing ends before its law says. [ps]

    Examples
    --------
    >>> to_ps(1.5e-12)
    2
    """
    return math.ceil(duration_s * PICOSECONDS_PER_S)


def to_s(picoseconds: int) -> float:
    """Return a time of the clock in seconds.

    Parameters
    ----------
    picoseconds : int
        Time. [ps]

    Returns
    -------
    float
        Time. [s]

    Examples
    --------
    >>> to_s(2_500_000_000_000)
    2.5
    """
    return float(picoseconds / PICOSECONDS_PER_S)


class LateEvent(simpy.Event):
    """An event of this instant that comes after all others of the instant.

    Changes that share an instant, such as 72 transfers that start together,
    are thereby answered once.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    """

    def __init__(self, env: simpy.Environment) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        env.schedule(self, priority=_LATE)
