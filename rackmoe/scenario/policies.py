"""How requests are spread over replicas, and what else a deployment decides while it runs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Bytes

__all__ = ["PreemptionChoice", "RouterChoice"]


class RouterChoice(Document):
    """Which replica of a pool a request goes to.

    Attributes
    ----------
    policy : str
        ``least_loaded``: the one with the fewest tokens, waiting or cached. ``round_robin``:
        one after the other. ``kv_aware``: the one with the least work left for the prompt,
        counting what its prefix cache has, beside what it computes already.
        ``by_application``: each application has replicas of its own, an equal part of the
        pool in the order of both; the least loaded of them.
    overlap_weight : float
        Weight of prompt tokens to compute against tokens in use, for ``kv_aware`` only.
    frontends : int
        Frontends that deal requests to replicas without knowing of each other, with
        ``round_robin`` only; with more than one, a request waits for the replica that its
        frontend chose.
    """

    policy: Literal["least_loaded", "round_robin", "kv_aware", "by_application"] = "least_loaded"
    overlap_weight: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    frontends: Annotated[int, Field(ge=1, le=1000)] = 1

    @model_validator(mode="after")
    def _check_weight(self) -> Self:
        if self.policy != "kv_aware" and self.overlap_weight != 1.0:
            raise ValueError("overlap_weight goes with policy kv_aware only; remove it")
        if self.policy != "round_robin" and self.frontends != 1:
            raise ValueError("frontends goes with policy round_robin only; remove it")
        return self


class PreemptionChoice(Document):
    """What happens to a sequence that has to give up its KV memory.

    Attributes
    ----------
    policy : str
        ``recompute`` forgets its cache and computes it again; ``swap`` copies it to the
        memory of the CPU and back, and recomputes where that memory is full.
    host_memory_bytes : float or None
        CPU memory for one GPU, with ``swap`` only; by default its share of all there is. [B]
    """

    policy: Literal["recompute", "swap"] = "recompute"
    host_memory_bytes: Bytes | None = None

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        if self.policy != "swap" and self.host_memory_bytes is not None:
            raise ValueError("host_memory goes with policy swap only; remove it")
        return self
