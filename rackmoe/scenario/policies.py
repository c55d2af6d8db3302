"""How requests are spread over replicas, and what else a deployment decides while it runs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.schema.documents import Document

__all__ = ["RouterChoice"]


class RouterChoice(Document):
    """Which replica of a pool a request goes to.

    Attributes
    ----------
    policy : str
        ``least_loaded``: the one with the fewest tokens, waiting or cached. ``round_robin``:
        one after the other. ``kv_aware``: the one with the least work left for the prompt,
        counting what its prefix cache has, beside what it computes already.
    overlap_weight : float
        Weight of prompt tokens to compute against tokens in use, for ``kv_aware`` only.
    """

    policy: Literal["least_loaded", "round_robin", "kv_aware"] = "least_loaded"
    overlap_weight: Annotated[float, Field(ge=0, le=1e6)] = 1.0

    @model_validator(mode="after")
    def _check_weight(self) -> Self:
        if self.policy != "kv_aware" and self.overlap_weight != 1.0:
            raise ValueError("overlap_weight goes with policy kv_aware only; remove it")
        return self
