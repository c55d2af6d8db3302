"""Which requests arrive when, and which experts their tokens choose."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.scenario.applications import Application, Sessions, Slo, check_source
from rackmoe.scenario.arrivals import Arrivals
from rackmoe.scenario.domains import Domains
from rackmoe.scenario.drift import Drift
from rackmoe.scenario.lengths import Lengths
from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Fraction, PerSecond, Seconds

__all__ = ["Arrivals", "Lengths", "Measurement", "Routing", "Search", "Slo", "Workload"]

Positive = Annotated[int, Field(ge=1)]

_SHARE_TOLERANCE = 1e-6


def _exactly_one(document: Document, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(document, name) not in (None, False)]
    if len(given) != 1:
        what = " and ".join(given) if given else "none"
        raise ValueError(f"{what} given; write exactly one of {', '.join(names)}")


class Routing(Document):
    """Which experts the tokens choose.

    Attributes
    ----------
    uniform : bool
        Every expert equally often, with the noise of independent draws.
    balanced : bool
        Every expert exactly equally often.
    generator : str or None
        A parameter set of the routing generator, or the ``.yaml`` file of one, as
        ``rackmoe trace fit -o`` writes it; found from where rackmoe runs.
    trace : str or None
        A shipped routing trace or a file.
    source : str
        ``replay`` reads the trace token by token, ``block`` in pre-counted blocks,
        ``sampled`` draws counts from its statistics.
    tokens : int
        Tokens that the generator draws for ``replay`` and ``block``.
    drift : Drift or None
        How the popularity that the generator draws changes over time; constant if absent.
        Placements that look at loads see those at the start.
    domains : Domains or None
        How the popularity differs between the domains that applications, or the labels of
        their requests, name. By default, domains count where an application names one.
    """

    uniform: bool = False
    balanced: bool = False
    generator: str | None = None
    trace: str | None = None
    source: Literal["replay", "block", "sampled"] = "sampled"
    tokens: Annotated[int, Field(ge=64, le=10_000_000)] = 16_384
    drift: Drift | None = None
    domains: Domains | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        _exactly_one(self, ("uniform", "balanced", "generator", "trace"))
        if self.drift is not None and (self.generator is None or self.source != "sampled"):
            kind = "generator" if self.generator is not None else "no generator"
            raise ValueError(
                f"drift: {kind} with source {self.source!r}; expected a popularity whose counts "
                "are drawn in the run; write generator and source: sampled"
            )
        if self.domains is not None and (self.balanced or self.uniform):
            raise ValueError(
                "domains: every expert is as popular as the others in all of them; write "
                "generator or trace, or remove them"
            )
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
    detect_warm_up : bool
        Start the figures where the TTFT has settled by MSER-5, after any warm-up given above.
    step_tolerance_frac : float
        Plan a decode step anew only when its load differs by more than this from the
        last planned one; 0 plans every step. On four runs (gpt-oss-120b on one H200, open
        and closed loop; DeepSeek-R1 on eight H200, and on split pools of a GB200 NVL72)
        2 % and 5 % moved the mean TPOT by at most 0.1 %, output tokens per second by at
        most 0.1 % and 0.5 %, the mean TTFT by at most 0.3 % and 3.5 %, the 99th percentile
        of TPOT by at most 0.6 % and 1 % and of TTFT by at most 1.2 % and 3.2 %.
    """

    warm_up_s: Seconds | None = None
    window_s: Seconds | None = None
    warm_up_requests_frac: Fraction = 0.0
    detect_warm_up: bool = False
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


class Workload(Document):
    """The traffic of a run.

    Attributes
    ----------
    arrivals : Arrivals or None
        When requests arrive; absent where every application has its own.
    lengths : Lengths or None
        Prompt and output lengths; absent with a trace or clients, which bring their own.
    sessions : Sessions or None
        Turns that follow each other, instead of single requests.
    applications : dict
        Several applications that share the machine, by name.
    routing : Routing
        Which experts the tokens choose.
    requests : int or None
        Requests of the run; with a measured window, as many as it needs.
    duration_s : float or None
        Instead of a number: requests, or sessions, that arrive within this time, which is
        what the figures describe; the run goes on until they have ended. [s]
    measurement : Measurement
        Which part of the run the figures describe.
    search : Search or None
        An operating point to find.
    is_prefilled : bool
        Whether requests bring the KV cache of their prompt, so that an aggregated
        deployment only decodes.
    """

    arrivals: Arrivals | None = None
    lengths: Lengths | None = None
    sessions: Sessions | None = None
    applications: dict[str, Application] = Field(default_factory=dict)
    routing: Routing = Field(default_factory=lambda: Routing(uniform=True))
    requests: Positive | None = None
    duration_s: Seconds | None = None
    measurement: Measurement = Field(default_factory=Measurement)
    search: Search | None = None
    is_prefilled: bool = False

    @property
    def parts(self) -> dict[str, Application]:
        """The applications, a single unnamed one where none is named; each with arrivals."""
        if self.applications:
            common = self.arrivals
            return {
                name: one
                if one.arrivals is not None
                else one.model_copy(update={"arrivals": common})
                for name, one in self.applications.items()
            }
        only = Application.model_construct(
            arrivals=self.arrivals,
            lengths=self.lengths,
            sessions=self.sessions,
            requests=self.requests,
        )
        return {"default": only}

    @property
    def domains(self) -> Domains | None:
        """How domains choose their experts; None where they do not."""
        has_names = any(one.domain is not None for one in self.applications.values())
        if (
            self.routing.balanced
            or self.routing.uniform
            or not (has_names or self.routing.domains)
        ):
            return None
        return self.routing.domains or Domains()

    @property
    def has_shares(self) -> bool:
        """Whether applications divide common arrivals."""
        return any(one.share_frac is not None for one in self.applications.values())

    @model_validator(mode="after")
    def _check_traffic(self) -> Self:
        if self.applications:
            self._check_applications()
        elif self.arrivals is None:
            raise ValueError("'arrivals' is missing; write it, or applications")
        else:
            check_source(self.arrivals, lengths=self.lengths, sessions=self.sessions)
        self._check_extent()
        return self

    def _check_applications(self) -> None:
        """Check that arrivals are either common or each application's own."""
        if self.lengths is not None or self.sessions is not None:
            raise ValueError("lengths and sessions belong to each application; move them there")
        with_share = [one.share_frac is not None for one in self.applications.values()]
        if self.arrivals is None:
            if any(with_share):
                raise ValueError("'share' divides workload.arrivals; write them")
            if self.requests is not None:
                raise ValueError("requests: write them for each application, or a duration")
            return
        if not all(with_share) or not self.arrivals.is_open or self.arrivals.brings_lengths:
            raise ValueError(
                "arrivals: common ones are generated and open, and every application has a "
                "'share' of them; write arrivals for each application instead"
            )
        total = sum(one.share_frac or 0.0 for one in self.applications.values())
        if abs(total - 1) > _SHARE_TOLERANCE:
            raise ValueError(f"applications: shares sum up to {total:g}; write shares of 1 in all")

    def _check_extent(self) -> None:
        """Check that it is clear how much is simulated."""
        measurement = self.measurement
        parts = self.parts.values()
        is_bounded = self.duration_s is not None or measurement.window_s is not None
        if not is_bounded and not all(one.requests or self.requests for one in parts):
            raise ValueError(
                "'requests' is missing; write it, or measurement.window, or a duration"
            )
        if self.duration_s is not None and measurement.window_s is not None:
            raise ValueError("duration: the run goes by measurement.window; remove one of them")
        if self.search is not None and (self.arrivals is None or not self.arrivals.has_rate):
            raise ValueError(
                "'search' scales an arrival rate; write poisson or a trace, or other open arrivals"
            )
        is_timed = any(one.arrivals is not None and one.arrivals.is_open for one in parts)
        if measurement.window_s is not None and not is_timed:
            raise ValueError(
                "measurement.window goes by arrival times, which a closed_loop does not have; "
                "write requests, and measurement.warm_up_requests"
            )
