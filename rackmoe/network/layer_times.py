"""The nominal durations of one step by layer and rank, as the step laws take them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ShapeError

__all__ = ["ExchangeTimes", "LayerTimes"]

_ARRAYS = (
    "pre_s",
    "shared_s",
    "expert_s",
    "dispatch.egress_s",
    "dispatch.ingress_s",
    "combine.egress_s",
    "combine.ingress_s",
)


class ExchangeTimes(Protocol):
    """What a step law needs of one dispatch or combine per layer."""

    @property
    def egress_s(self) -> NDArray[np.float64]:
        """Time that the port of each rank needs to send, shape (n_layers, n_ranks) [s]."""

    @property
    def ingress_s(self) -> NDArray[np.float64]:
        """Time that the port of each rank needs to receive, shape (n_layers, n_ranks) [s]."""

    @property
    def latency_s(self) -> float:
        """Start-up latency, paid once per exchange [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTimes:
    """Nominal durations of the parts of a step, by layer and rank.

    Parameters
    ----------
    pre_s : ndarray of shape (n_layers, n_ranks)
        Work before the dispatch: attention and dense work. [s]
    shared_s : ndarray of shape (n_layers, n_ranks)
        Shared expert. [s]
    expert_s : ndarray of shape (n_layers, n_ranks)
        Routed experts. [s]
    dispatch, combine : ExchangeTimes or None
        Port times of the exchanges; None where nothing is exchanged. [s]
    overlap_shared : bool
        Whether the shared expert runs while the dispatch is under way.

    Raises
    ------
    ShapeError
        If the arrays do not have one shape.
    """

    pre_s: NDArray[np.float64]
    shared_s: NDArray[np.float64]
    expert_s: NDArray[np.float64]
    dispatch: ExchangeTimes | None
    combine: ExchangeTimes | None
    overlap_shared: bool = True
    _rows: tuple[NDArray[np.float64], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arrays, shape = self._arrays(), self.pre_s.shape
        is_matrix = len(shape) == 2  # noqa: PLR2004  rows and columns
        # a list: a generator costs more than so few comparisons
        if not is_matrix or any([array.shape != shape for array in arrays]):  # noqa: C419
            named = zip(_ARRAYS, arrays, strict=True)
            name, array = next(one for one in named if not is_matrix or one[1].shape != shape)
            msg = (
                f"{name}: shape {array.shape}, pre_s {shape}; expected (n_layers, n_ranks) "
                "for both; give every layer and rank a value"
            )
            raise ShapeError(msg)
        # a step that is planned again and again takes its rows from these
        rows = tuple([np.ascontiguousarray(array, np.float64) for array in arrays])
        object.__setattr__(self, "_rows", rows)

    def _arrays(self) -> tuple[NDArray[np.float64], ...]:
        """Return what the compiled kernels take, in their order."""
        pre_s, dispatch, combine = self.pre_s, self.dispatch, self.combine
        return (
            pre_s,
            self.shared_s,
            self.expert_s,
            pre_s if dispatch is None else dispatch.egress_s,
            pre_s if dispatch is None else dispatch.ingress_s,
            pre_s if combine is None else combine.egress_s,
            pre_s if combine is None else combine.ingress_s,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of layers and ranks."""
        return self.pre_s.shape[0], self.pre_s.shape[1]

    @property
    def is_connected(self) -> bool:
        """Whether ranks exchange anything."""
        return self.pre_s.shape[1] > 1 and self.dispatch is not None and self.combine is not None

    @property
    def latencies_s(self) -> tuple[float, float]:
        """Latency of the dispatch and of the combine. [s]."""
        if self.dispatch is None or self.combine is None:
            return 0.0, 0.0
        return float(self.dispatch.latency_s), float(self.combine.latency_s)

    def rows(self, *, first: int, last: int) -> tuple[NDArray[np.float64], ...]:
        """Return the arrays of a range of layers as the compiled kernels take them.

        Parameters
        ----------
        first, last : int
            Range of layers, the last one excluded.

        Returns
        -------
        tuple of seven ndarray of shape (n_layers, n_ranks)
            pre, shared, expert, dispatch egress and ingress, combine egress
            and ingress. [s]
        """
        if last - first == len(self._rows[0]):
            return self._rows
        return tuple([array[first:last] for array in self._rows])
