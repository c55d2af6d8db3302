"""Seconds of the laws on the integer picosecond clock of the simulation."""

import math

import simpy

from rackmoe.network.flow_table import PS_PER_S

__all__ = ["LateEvent", "now_s", "to_ps"]

_LATE_PRIORITY = 2
"""After everything else of the same instant: SimPy's own priorities are 0 and 1."""


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
    return math.ceil(duration_s * PS_PER_S)


def now_s(env: simpy.Environment) -> float:
    """Return the time of a picosecond clock in seconds.

    Parameters
    ----------
    env : simpy.Environment
        The clock.

    Returns
    -------
    float
        Time. [s]
    """
    return float(env.now / PS_PER_S)


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
        env.schedule(self, priority=_LATE_PRIORITY)
