"""When requests arrive, as a scenario says it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import PerSecond, Seconds

__all__ = ["Arrivals", "BurstyGaps", "ClientSlice", "OnOff", "RampPoint", "chosen_names"]

Positive = Annotated[int, Field(ge=1)]

_WAYS = (
    "closed_loop",
    "poisson",
    "gamma",
    "weibull",
    "on_off",
    "ramp",
    "batch",
    "trace",
    "clients",
)


def chosen_names(document: Document, *, names: tuple[str, ...]) -> list[str]:
    """Return which of several keys a mapping has.

    Parameters
    ----------
    document : Document
        The mapping.
    names : tuple of str
        Keys in the file.

    Returns
    -------
    list of str
        Those with a value that is neither nothing nor false nor empty.
    """
    fields = {str(info.alias): name for name, info in type(document).model_fields.items()}
    values = {name: getattr(document, fields[name]) for name in names}
    # a number that is zero was given, and is to be told that it is zero
    return [
        name for name, value in values.items() if value not in (None, ()) and value is not False
    ]


class BurstyGaps(Document):
    """Independent gaps of a given variation.

    Attributes
    ----------
    rate_requests_per_s : float
        Mean rate. [1/s]
    cv : float
        Coefficient of variation of the gaps: 1 is Poisson, more gives bursts.
    """

    rate_requests_per_s: PerSecond
    cv: Annotated[float, Field(gt=0, le=100)]


class OnOff(Document):
    """Traffic that comes and goes; Poisson arrivals within each phase.

    Attributes
    ----------
    on_rate_requests_per_s, off_rate_requests_per_s : float
        Rates in both phases. [1/s]
    on_s, off_s : float
        Mean lengths of the phases. [s]
    phases : str
        ``exponential`` or ``fixed`` lengths.
    """

    on_rate_requests_per_s: PerSecond
    off_rate_requests_per_s: PerSecond = 0.0
    on_s: Seconds
    off_s: Seconds
    phases: Literal["exponential", "fixed"] = "exponential"


class RampPoint(Document):
    """A rate at an instant.

    Attributes
    ----------
    at_s : float
        Time. [s]
    rate_requests_per_s : float
        Rate of a Poisson process then; linear between points, constant after the last. [1/s]
    """

    at_s: Seconds
    rate_requests_per_s: PerSecond


class ClientSlice(Document):
    """A part of the day of a pool of measured clients.

    Attributes
    ----------
    pool : str
        A shipped pool or a file.
    start_s : float
        Where the slice begins, from the start of the measurement; ``workload.duration``
        says how long it is. [s]
    """

    pool: str
    start_s: Seconds = 0.0


class Arrivals(Document):
    """When requests, or sessions, arrive; exactly one way.

    Attributes
    ----------
    closed_loop : int or None
        Requests, or sessions, in the system at all times.
    poisson_requests_per_s : float or None
        Rate of a Poisson process. [1/s]
    gamma, weibull : BurstyGaps or None
        Independent gaps of these distributions.
    on_off : OnOff or None
        Traffic that comes and goes.
    ramp : tuple of RampPoint
        A rate that is linear between points.
    batch : bool
        All at time zero.
    trace : str or None
        A shipped request trace or a file: its gaps, and its lengths too.
    clients : ClientSlice or None
        A pool of measured clients: their gaps, and their lengths too.
    rate_scale : float
        Factor on the arrival rate; it keeps the shape of bursts. A trace is compressed in
        time; clients and generated arrivals get denser within the same time.
    burst_cv : float or None
        Coefficient of variation of the gaps of ``poisson``: the same as ``gamma``.
    """

    closed_loop: Positive | None = None
    poisson_requests_per_s: PerSecond | None = None
    gamma: BurstyGaps | None = None
    weibull: BurstyGaps | None = None
    on_off: OnOff | None = None
    ramp: tuple[RampPoint, ...] = ()
    batch: bool = False
    trace: str | None = None
    clients: ClientSlice | None = None
    rate_scale: Annotated[float, Field(gt=0)] = 1.0
    burst_cv: Annotated[float, Field(gt=0, le=100)] | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        chosen = chosen_names(self, names=_WAYS)
        if len(chosen) != 1:
            what = " and ".join(chosen) or "none"
            raise ValueError(f"{what} given; write exactly one of {', '.join(_WAYS)}")
        rate = self.poisson_requests_per_s
        if rate is not None and rate <= 0.0:
            raise ValueError(f"poisson: {rate:g} /s; nobody would ever come; write more than 0")
        if self.burst_cv is not None and self.poisson_requests_per_s is None:
            raise ValueError("burst_cv goes with poisson only; remove it")
        return self

    @property
    def is_open(self) -> bool:
        """Whether requests arrive without waiting for others to finish."""
        return self.closed_loop is None

    @property
    def has_rate(self) -> bool:
        """Whether there is a rate to scale."""
        return self.is_open and not self.batch

    @property
    def brings_lengths(self) -> bool:
        """Whether the arrivals come with lengths of their own."""
        return self.trace is not None or self.clients is not None
