"""What one application asks of the machine: arrivals, lengths or sessions, and its goals."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from rackmoe.scenario.arrivals import Arrivals, chosen_names
from rackmoe.scenario.domains import DomainShares, check_shares
from rackmoe.scenario.lengths import Lengths
from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Fraction, Seconds

__all__ = ["Application", "GeneratedSessions", "Sessions", "Slo", "check_source"]

Positive = Annotated[int, Field(ge=1)]


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


class GeneratedSessions(Document):
    """Agents that append to one context turn by turn.

    Attributes
    ----------
    system : int
        Tokens of the system prompt and tool descriptions that all sessions share.
    turns : float
        Mean turns of a session, geometrically distributed.
    lengths : Lengths
        Tokens that a turn adds, and those of its answer.
    delay_s : float
        Mean time from an answer to the next turn, exponentially distributed. [s]
    max_context : int or None
        Tokens at which a session ends.
    """

    system: Annotated[int, Field(ge=0)] = 0
    turns: Annotated[float, Field(ge=1, le=1e6)]
    lengths: Lengths
    delay_s: Seconds
    max_context: Positive | None = None


class Sessions(Document):
    """Turns that follow each other; arrivals start sessions, and ``requests`` counts turns.

    Attributes
    ----------
    trace : str or None
        A shipped trace with sessions or a file; they are drawn at random.
    generated : GeneratedSessions or None
        Sessions of a simple model.
    max_delay_s : float or None
        Longer delays of a trace are cut to this. [s]
    """

    trace: str | None = None
    generated: GeneratedSessions | None = None
    max_delay_s: Seconds | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        ways = ("trace", "generated")
        chosen = chosen_names(self, names=ways)
        if len(chosen) != 1:
            what = " and ".join(chosen) or "none"
            raise ValueError(f"{what} given; write exactly one of {', '.join(ways)}")
        if self.max_delay_s is not None and self.trace is None:
            raise ValueError("max_delay goes with trace only; remove it")
        return self


def check_source(
    arrivals: Arrivals, *, lengths: Lengths | None, sessions: Sessions | None
) -> None:
    """Check that arrivals have lengths from one place.

    Parameters
    ----------
    arrivals : Arrivals
        When requests arrive.
    lengths : Lengths or None
        Lengths of single requests.
    sessions : Sessions or None
        Sessions of requests.

    Raises
    ------
    ValueError
        If there is more than one place, or none.
    """
    n_sources = arrivals.brings_lengths + (lengths is not None) + (sessions is not None)
    if n_sources != 1:
        raise ValueError(
            "write 'lengths' for generated arrivals, or 'sessions', and none for a trace or "
            "clients, which bring their own"
        )


class Application(Document):
    """One of several applications that share the machine.

    Attributes
    ----------
    arrivals : Arrivals or None
        When its requests arrive.
    share_frac : float or None
        Instead: its part of the arrivals of the workload, drawn request by request.
    lengths : Lengths or None
        Prompt and output lengths.
    sessions : Sessions or None
        Turns that follow each other.
    requests : int or None
        Its requests; without them, those of ``workload.duration`` or of the window.
    domain : str, dict of str to float, or None
        What its texts are about, which decides the experts that they choose; or the parts of
        its sessions that are about each of several domains. A trace may say it for each
        request.
    priority : int
        Requests of a higher one are taken first from a queue, and give up their KV memory
        last.
    slo : Slo
        What its requests have to meet; the scenario's ``slo`` where nothing is said.
    """

    arrivals: Arrivals | None = None
    share_frac: Fraction | None = None
    lengths: Lengths | None = None
    sessions: Sessions | None = None
    requests: Positive | None = None
    domain: str | DomainShares | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    slo: Slo = Field(default_factory=Slo)

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        check_shares(self.domain)
        if (self.arrivals is None) == (self.share_frac is None):
            raise ValueError("write either 'arrivals', or 'share', its part of workload.arrivals")
        if self.arrivals is not None:
            check_source(self.arrivals, lengths=self.lengths, sessions=self.sessions)
            if not self.arrivals.is_open and self.requests is None:
                raise ValueError("a closed_loop needs a number; write requests")
        elif self.lengths is None or self.sessions is not None or self.requests is not None:
            raise ValueError("'share' goes with 'lengths' only; write arrivals for anything else")
        return self
