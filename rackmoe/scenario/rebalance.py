"""When and how the placement of experts follows the load during a run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.schema.documents import Document
from rackmoe.schema.quantities import Seconds

__all__ = ["Rebalance"]

Positive = Annotated[int, Field(ge=1)]


class Rebalance(Document):
    """Compute a new placement again and again from the latest load, and move the experts.

    Attributes
    ----------
    every_steps : int or None
        Steps of a replica from one rebalance to the next.
    every_s : float or None
        Time from one rebalance to the next; instead of steps. [s]
    window_steps : int
        Latest steps whose loads are seen.
    policy : str
        How experts are placed, as ``placement``.
    layers_per_step : int or None
        Layers whose experts move between two steps; all of them at once if absent.
    path : str
        How experts travel: ``scale_up`` from a GPU that has them, over NICs where that is
        in another domain; ``scale_out`` over NICs; ``host`` from the memory of the CPU,
        where all experts are.
    blocks_steps : bool
        Whether no step starts while experts move; otherwise they move in the background,
        into buffers of their own.
    least_imbalance : float
        Rebalance only where the load of the busiest rank is this many times the mean, as a
        mean over layers and the window.
    planning_s : float
        Time between the decision and the first move. [s]
    """

    every_steps: Positive | None = None
    every_s: Seconds | None = None
    window_steps: Positive = 1000
    policy: Literal["eplb", "eplb_global", "eplb_hierarchical", "eplb_vec"] = "eplb"
    layers_per_step: Positive | None = None
    path: Literal["scale_up", "scale_out", "host"] = "scale_up"
    blocks_steps: bool = False
    least_imbalance: Annotated[float, Field(ge=1)] = 1.0
    planning_s: Seconds = 0.0

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        if (self.every_steps is None) == (self.every_s is None):
            what = "none" if self.every_s is None else "both"
            raise ValueError(f"{what} given; write exactly one of every_steps, every")
        if self.every_s is not None and self.every_s <= 0.0:
            raise ValueError("every: 0; expected a time between rebalances; write '10 s'")
        return self
