"""Which requests arrive when, and which experts their tokens choose."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Fraction, PerSecond, Seconds

__all__ = ["Arrivals", "Lengths", "Measurement", "Routing", "Search", "Slo", "Workload"]

Positive = Annotated[int, Field(ge=1)]


def _exactly_one(document: Document, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(document, name) not in (None, False)]
    if len(given) != 1:
        what = " and ".join(given) if given else "none"
        raise ValueError(f"{what} given; write exactly one of {', '.join(names)}")


class Arrivals(Document):
    """When requests arrive; exactly one way.

    Attributes
    ----------
    closed_loop : int or None
        Requests in the system at all times.
    poisson_requests_per_s : float or None
        Rate of a Poisson process. [1/s]
    batch : bool
        All at time zero.
    trace : str or None
        A shipped request trace or a file: its gaps, and its lengths too.
    rate_scale : float
        Factor on the arrival rate; it keeps the shape of bursts.
    burst_cv : float or None
        Coefficient of variation of the gaps of ``poisson``, drawn from a gamma
        distribution; exponential gaps if absent.
    """

    closed_loop: Positive | None = None
    poisson_requests_per_s: PerSecond | None = None
    batch: bool = False
    trace: str | None = None
    rate_scale: Annotated[float, Field(gt=0)] = 1.0
    burst_cv: Annotated[float, Field(gt=0, le=100)] | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        given = {
            "closed_loop": self.closed_loop is not None,
            "poisson": self.poisson_requests_per_s is not None,
            "batch": self.batch,
            "trace": self.trace is not None,
        }
        chosen = [name for name, is_given in given.items() if is_given]
        if len(chosen) != 1:
            what = " and ".join(chosen) or "none"
            raise ValueError(f"{what} given; write exactly one of {', '.join(given)}")
        if self.burst_cv is not None and self.poisson_requests_per_s is None:
            raise ValueError("burst_cv goes with poisson only; remove it")
        return self

    @property
    def is_open(self) -> bool:
        """Whether requests arrive without waiting for others to finish."""
        return self.closed_loop is None


class Lengths(Document):
    """Prompt and output lengths, for arrivals that bring none.

    Attributes
    ----------
    input, output : int
        Nominal tokens.
    spread : tuple of float
        Each length is uniform between these multiples of its nominal value.
    is_staggered : bool
        Whether the first requests of a closed loop start in the middle of their outputs,
        as in a loop that has been running for long.
    """

    input: Positive
    output: Positive
    spread: tuple[float, float] = (1.0, 1.0)
    is_staggered: bool = False

    @model_validator(mode="after")
    def _check_spread(self) -> Self:
        low, high = self.spread
        if not 0 < low <= high:
            raise ValueError(f"spread: [{low}, {high}]; write two factors with 0 < low <= high")
        return self


class Routing(Document):
    """Which experts the tokens choose.

    Attributes
    ----------
    uniform : bool
        Every expert equally often, with the noise of independent draws.
    balanced : bool
        Every expert exactly equally often.
    generator : str or None
        A parameter set of the routing generator.
    trace : str or None
        A shipped routing trace or a file.
    source : str
        ``replay`` reads the trace token by token, ``block`` in pre-counted blocks,
        ``sampled`` draws counts from its statistics.
    tokens : int
        Tokens that the generator draws for ``replay`` and ``block``.
    """

    uniform: bool = False
    balanced: bool = False
    generator: str | None = None
    trace: str | None = None
    source: Literal["replay", "block", "sampled"] = "sampled"
    tokens: Annotated[int, Field(ge=64, le=10_000_000)] = 16_384

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        _exactly_one(self, ("uniform", "balanced", "generator", "trace"))
        return self


class Measurement(Document):
    """Which part of the run the figures describe.

    Requests that arrive in it are followed to their end.

    Attributes
    ----------
    warm_up_s : float or None
        Simulated time before the window. [s]
    window_s : float or None
        Length of the window; until the last arrival if absent. [s]
    warm_up_requests_frac : float
        Share of the requests before the window, where no time is given.
    step_tolerance_frac : float
        Plan a decode step anew only when its load differs by more than this from the
        last planned one; 0 plans every step.
    """

    warm_up_s: Seconds | None = None
    window_s: Seconds | None = None
    warm_up_requests_frac: Fraction = 0.0
    step_tolerance_frac: Fraction = 0.0


class Search(Document):
    """Scale the arrival rate until a statistic is met.

    Attributes
    ----------
    interactivity_tokens_per_s : float
        Tokens per second that the median user shall get. [1/s]
    tolerance_frac : float
        Accepted relative distance.
    max_runs : int
        Runs after which the search gives up.
    """

    interactivity_tokens_per_s: PerSecond
    tolerance_frac: Fraction = 0.02
    max_runs: Annotated[int, Field(ge=3, le=64)] = 12


class Slo(Document):
    """What a request has to meet to count as good.

    Attributes
    ----------
    ttft_s : float or None
        Time to first token. [s]
    tpot_s : float or None
        Time per output token. [s]
    e2e_s : float or None
        Arrival to last token. [s]
    """

    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    e2e_s: Seconds | None = None


class Workload(Document):
    """The traffic of a run.

    Attributes
    ----------
    arrivals : Arrivals
        When requests arrive.
    lengths : Lengths or None
        Prompt and output lengths; absent with a trace, which brings its own.
    routing : Routing
        Which experts the tokens choose.
    requests : int or None
        Requests of the run; with a measured window, as many as it needs.
    measurement : Measurement
        Which part of the run the figures describe.
    search : Search or None
        An operating point to find.
    is_prefilled : bool
        Whether requests bring the KV cache of their prompt, so that an aggregated
        deployment only decodes.
    """

    arrivals: Arrivals
    lengths: Lengths | None = None
    routing: Routing = Field(default_factory=lambda: Routing(uniform=True))
    requests: Positive | None = None
    measurement: Measurement = Field(default_factory=Measurement)
    search: Search | None = None
    is_prefilled: bool = False

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if (self.arrivals.trace is None) == (self.lengths is None):
            raise ValueError(
                "write 'lengths' for generated arrivals, and none for a trace, "
                "which brings its own"
            )
        if self.requests is None and self.measurement.window_s is None:
            raise ValueError("'requests' is missing; write it, or measurement.window")
        has_rate = self.arrivals.trace is not None or (
            self.arrivals.poisson_requests_per_s is not None
        )
        if self.search is not None and not has_rate:
            raise ValueError("'search' scales an arrival rate; write poisson or a trace")
        if self.measurement.window_s is not None and not self.arrivals.is_open:
            raise ValueError(
                "measurement.window goes by arrival times, which a closed_loop does not have; "
                "write requests, and measurement.warm_up_requests"
            )
        return self
