"""The exceptions that rackmoe raises on purpose."""

__all__ = [
    "CapacityError",
    "ConfigError",
    "InvariantError",
    "RackmoeError",
    "ShapeError",
    "TopologyError",
    "TraceError",
    "UnitError",
]


class RackmoeError(Exception):
    """Root of every error that rackmoe raises on purpose."""


class ConfigError(RackmoeError, ValueError):
    """A file, a key or a value is not what the schema or the model allows.

    Parameters
    ----------
    *problems : str
        One line for each problem, as ``place: value; what was expected; what to do``.

    Attributes
    ----------
    problems : tuple of str
        The same lines.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class UnitError(ConfigError):
    """A quantity lacks its unit, or has one of the wrong dimension."""


class ShapeError(RackmoeError, ValueError):
    """An array has a shape that a law cannot take."""


class TraceError(RackmoeError):
    """A request or routing trace is damaged or belongs to another model."""


class TopologyError(RackmoeError):
    """A machine's graph is not what its profile promises."""


class CapacityError(RackmoeError):
    """Something does not fit; an expected outcome that a study records and skips."""


class InvariantError(RackmoeError):
    """A law broke: a bug in rackmoe, never the user's fault."""
