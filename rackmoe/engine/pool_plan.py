"""What the replicas of a pool share."""

from dataclasses import dataclass

from rackmoe.engine.pipeline import StageShape
from rackmoe.engine.plan_reuse import StepMemory
from rackmoe.engine.step import StepLaw
from rackmoe.model.memory import MemoryPlan
from rackmoe.records import Pool as PoolRole
from rackmoe.scenario.deployment import Pool
from rackmoe.serving.batching import BatchLimits
from rackmoe.serving.speculation import Speculation

__all__ = ["PoolPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """What all replicas of a pool share.

    Attributes
    ----------
    role : records.Pool
        What the pool does.
    pool : Pool
        Its shape.
    limits : BatchLimits
        What bounds its steps.
    memory : MemoryPlan
        What the memory of a rank holds.
    law : StepLaw
        How long its steps take.
    step_tolerance_frac : float
        Difference of load up to which a step takes the time of the last planned one.
    speculation : Speculation or None
        Tokens that a decode step drafts and verifies.
    stages : StageShape or None
        What its pipelines are made of; None without.
    """

    role: PoolRole
    pool: Pool
    limits: BatchLimits
    memory: MemoryPlan
    law: StepLaw
    step_tolerance_frac: float = 0.0
    speculation: Speculation | None = None
    stages: StageShape | None = None

    def new_memory(self) -> StepMemory:
        """Return what a replica remembers of its last planned step: nothing yet."""
        return StepMemory(self.step_tolerance_frac, experts=self.law.experts)
