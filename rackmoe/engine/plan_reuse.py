"""When a step is so much like the last planned one that it takes the same time."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.expert_counts import ExpertCounts
from rackmoe.engine.planned import PlannedStep
from rackmoe.serving.batching import Batcher, StepBatch

__all__ = ["StepMemory"]

# A plan is made anew after this many steps, however alike they are: each plan draws its
# routing, so the mean over a run keeps its noise (kind: assumed; a balance of both).
_MAX_REUSES = 16


class StepMemory:
    """The last planned step of a replica, and whether it stands for the next one.

    Only steps without prompts are compared. Their sequences and cached tokens, summed
    over the attention groups, may differ by a share of the planned ones.

    Parameters
    ----------
    tolerance_frac : float
        Largest relative difference of both sums; 0 plans every step.
    experts : ExpertCounts, optional
        Gets the assignments of a plan again for every further step that it stands for.
    """

    def __init__(self, tolerance_frac: float, *, experts: ExpertCounts | None = None) -> None:
        self._tolerance_frac = tolerance_frac
        self._experts = experts
        self._before: NDArray[np.int64] | None = None
        self._counts: NDArray[np.int64] | None = None
        self._plan: PlannedStep | None = None
        self._planned = (0, 0)
        self._n_reuses = 0

    def begin(self) -> None:
        """Take note that a step is about to be planned."""
        if self._tolerance_frac and self._experts is not None:
            self._before = self._experts.total.copy()

    def count(self, n_steps: int) -> None:
        """Book the assignments of further steps that the remembered plan stands for.

        Parameters
        ----------
        n_steps : int
            Steps beyond the one that was planned.
        """
        if self._experts is not None and self._counts is not None and n_steps:
            self._experts.total += n_steps * self._counts

    def keep(self, plan: PlannedStep) -> None:
        """Remember a plan.

        Parameters
        ----------
        plan : PlannedStep
            The step that is about to run.
        """
        if self._tolerance_frac and not plan.batch.chunks:
            self._plan = plan
            self._planned = _sums(plan.batch)
            if self._experts is not None and self._before is not None:
                self._counts = self._experts.total - self._before
            self._n_reuses = 0

    def forget(self) -> None:
        """Plan the next step anew, however like the last one it is."""
        self._plan = None

    def recall(self, batch: StepBatch) -> PlannedStep | None:
        """Return the remembered plan if it stands for a step.

        Parameters
        ----------
        batch : StepBatch
            What the step computes.

        Returns
        -------
        PlannedStep or None
            None if the step has to be planned.
        """
        plan = self._plan
        if plan is None or batch.chunks or self._n_reuses == _MAX_REUSES:
            return None
        for now, planned in zip(_sums(batch), self._planned, strict=True):
            if abs(now - planned) > self._tolerance_frac * planned:
                return None
        self._n_reuses += 1
        self.count(1)
        return plan

    def n_repeats(self, batch: StepBatch, *, batcher: Batcher) -> int:
        """Return how many steps may run in a row as one, if nothing joins.

        None of them ends a sequence before the last one, needs memory that is not
        there, or lets the context grow beyond the tolerance.

        Parameters
        ----------
        batch : StepBatch
            What the first one computes.
        batcher : Batcher
            The scheduler of the replica.

        Returns
        -------
        int
            At least 1.
        """
        if self._plan is None or batch.chunks:
            return 1
        # an open gate lets prompts in as soon as memory allows: when a sequence ends
        if batcher.n_waiting and not batcher.gate.is_open:
            return 1
        running = batcher.running
        largest = (1 + self._tolerance_frac) * self._planned[1]
        by_context = 1 + int((largest - running.total_kv_tokens) / len(running))
        free_blocks = int(batcher.free_blocks.min()) // int(running.n_sequences.max())
        by_memory = (free_blocks - 1) * batcher.limits.block_tokens
        by_output = int(running.remaining.min())
        n_steps = min(by_context, by_memory, by_output) // batch.tokens_per_sequence
        return max(1, min(_MAX_REUSES, n_steps))


def _sums(batch: StepBatch) -> tuple[int, int]:
    """Return the sequences and the cached tokens of all attention groups."""
    return (
        int(np.add.reduce(batch.decode_sequences)),
        int(np.add.reduce(batch.decode_kv_tokens)),
    )
