"""A source of steps that asks its parts, one for each phase."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.load import StepLoad
from rackmoe.routing.parts import StepPart
from rackmoe.routing.step import Phase, StepRouting

__all__ = ["StepSource"]


class StepSource:
    """A source that gets the tokens of each phase from its own part.

    Parameters
    ----------
    load : StepLoad
        Collects the parts of a step.
    parts : mapping
        For each phase, a function that builds its part when it is first needed.
    provenance : str
        Where the choices come from, in one sentence.
    spans : ndarray of shape (n, 2), int64, optional
        First row and number of rows of each recorded output that decode tokens
        can follow; if given, decode tokens must come with their rows.

    Attributes
    ----------
    load : StepLoad
        Collects the parts of a step.
    """

    def __init__(
        self,
        load: StepLoad,
        *,
        parts: Mapping[Phase, Callable[[], StepPart]],
        provenance: str,
        spans: NDArray[np.int64] | None = None,
    ) -> None:
        self.placement = load.placement
        self.provenance = provenance
        self.needs_rows = spans is not None
        self.spans = spans
        self.span_domain: NDArray[np.int64] | None = None
        self.load = load
        self._builders = dict(parts)
        self._parts: dict[Phase, StepPart] = {}

    def begin(self) -> None:
        """Start a step without tokens."""
        self.load.begin()

    def add(
        self,
        tokens_per_rank: NDArray[np.int64],
        *,
        phase: Phase,
        rows: NDArray[np.int64] | None = None,
        row_rank: NDArray[np.int32] | None = None,
        domain: int = 0,  # noqa: ARG002 - all are alike here
    ) -> None:
        """Add tokens to the step; see `RoutingSource.add`."""
        self.add_to(
            self.load, tokens_per_rank=tokens_per_rank, phase=phase, rows=rows, row_rank=row_rank
        )

    def add_to(
        self,
        load: StepLoad,
        *,
        tokens_per_rank: NDArray[np.int64],
        phase: Phase,
        rows: NDArray[np.int64] | None = None,
        row_rank: NDArray[np.int32] | None = None,
    ) -> None:
        """Add tokens to a step that others collect.

        Parameters
        ----------
        load : StepLoad
            The step, under the same placement.
        tokens_per_rank, phase, rows, row_rank
            As for `RoutingSource.add`.
        """
        if phase not in self._parts:
            self._parts[phase] = self._builders[phase]()
        self._parts[phase].add(load, tokens_per_rank=tokens_per_rank, rows=rows, row_rank=row_rank)

    def finish(self) -> StepRouting:
        """Return the routing of the step; its arrays are reused."""
        return self.load.finish()

    def route(
        self,
        tokens_per_rank: NDArray[np.int64],
        *,
        phase: Phase,
        rows: NDArray[np.int64] | None = None,
        row_rank: NDArray[np.int32] | None = None,
    ) -> StepRouting:
        """Return the routing of a step of one phase; see `RoutingSource.route`."""
        self.begin()
        self.add(tokens_per_rank, phase=phase, rows=rows, row_rank=row_rank)
        return self.finish()
