"""What a simulated row would have given with other host times, without simulating it again."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.profile import HostTimes
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_features import StepFeatures
from rackmoe.study.validation.serving_rows import CLIENT_ROUNDS, ServingRow

__all__ = ["HOST_CONSTANTS", "HostPoint", "RowSurrogate", "host_point", "row_surrogate"]

HOST_CONSTANTS: Final = ("gap_s", "sequence_s", "layer_s", "request_s", "poll_steps")
"""What is fitted for a backend on a family of GPUs."""

HostPoint = NDArray[np.float64]
"""Values of `HOST_CONSTANTS`: four times [s] and a count."""

_MS: Final = 1e-3
# A request arrives in the middle of a step, and of the steps between two looks at the intake.
_MIDDLE: Final = 0.5
_LEAST_S: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSurrogate:
    """A row as a function of the host times.

    Attributes
    ----------
    row : ServingRow
        What was measured.
    features : StepFeatures
        Its simulated steps.
    at : ndarray of shape (5,)
        Host times of the simulation. [s]
    host_step_s : float
        Host work of a step without prompts. [s]
    tpot_s, ttft_s : float
        What the simulation gave. [s]
    """

    row: ServingRow
    features: StepFeatures
    at: HostPoint
    host_step_s: float
    tpot_s: float
    ttft_s: float

    def tpot_at_s(self, point: HostPoint) -> float:
        """Return the time per token with other host times.

        Parameters
        ----------
        point : ndarray of shape (5,)
            Host times. [s]

        Returns
        -------
        float
            The simulated one, scaled as its steps are. [s]
        """
        return self.tpot_s * self._step_s(point) / self._step_s(self.at)

    def ttft_at_s(self, point: HostPoint, *, cold_start_s: float = 0.0) -> float:
        """Return the time to the first token with other host times.

        Parameters
        ----------
        point : ndarray of shape (5,)
            Host times. [s]
        cold_start_s : float
            Time without transfers at the start, which delays the first round. [s]

        Returns
        -------
        float
            The simulated one, changed by what a prompt waits for. [s]
        """
        features = self.features
        more_s = float(point[3] - self.at[3])
        more_s += features.prompt_steps * (self._prompt_s(point) - self._prompt_s(self.at))
        if self.row.text("mode") == "agg":
            here_s, there_s = self._step_s(point), self._step_s(self.at)
            more_s += _MIDDLE * (float(point[4]) * here_s - float(self.at[4]) * there_s)
        if self.row.text("ttft_stat") == "mean" and self.row.text("mode") == "disagg":
            more_s += cold_start_s / CLIENT_ROUNDS
        return max(self.ttft_s + more_s, _LEAST_S)

    def _step_s(self, point: HostPoint) -> float:
        """Return the mean step that a decoding sequence waits for."""
        features = self.features
        layers_s = self.host_step_s + float(point[2]) * features.n_layers
        decode_s = _mean_s(
            features.decode_busy_s, features.decode_sequences, self.host_step_s, point
        )
        mixed_s = _mean_s(features.mixed_busy_s, features.mixed_sequences, layers_s, point)
        share = features.mixed_share if features.mixed_busy_s else 0.0
        if not features.decode_busy_s:
            share = 1.0
        return (1 - share) * decode_s + share * mixed_s

    def _prompt_s(self, point: HostPoint) -> float:
        floor_s = self.host_step_s + float(point[2]) * self.features.n_layers
        busy_s = self.features.prompt_busy_s
        return _mean_s(busy_s, (0.0,) * len(busy_s), floor_s, point)


def _mean_s(
    busy_s: tuple[float, ...], sequences: tuple[float, ...], floor_s: float, point: HostPoint
) -> float:
    """Return the mean duration of steps with other host times."""
    if not busy_s:
        return 0.0
    took_s = np.maximum(np.array(busy_s), floor_s)
    return float(np.mean(took_s + point[0] + point[1] * np.array(sequences)))


def host_point(host: HostTimes) -> HostPoint:
    """Return the fitted constants of host times.

    Parameters
    ----------
    host : HostTimes
        Of a profile.

    Returns
    -------
    ndarray of shape (5,)
        In the order of `HOST_CONSTANTS`. [s]
    """
    return np.array([float(getattr(host, name).value) for name in HOST_CONSTANTS])


def row_surrogate(row: ServingRow, *, answer: Answer, host: HostTimes) -> RowSurrogate | None:
    """Return a row as a function of the host times.

    Parameters
    ----------
    row : ServingRow
        The row.
    answer : Answer
        What a simulation gave.
    host : HostTimes
        With which host times.

    Returns
    -------
    RowSurrogate or None
        None where the row was not answered or has no latencies.
    """
    tpot_ms, ttft_ms = answer.figures.get("tpot_ms"), answer.figures.get("ttft_ms")
    if answer.features is None or tpot_ms is None or ttft_ms is None:
        return None
    return RowSurrogate(
        row=row,
        features=answer.features,
        at=host_point(host),
        host_step_s=host.step_s.value,
        tpot_s=tpot_ms * _MS,
        ttft_s=ttft_ms * _MS,
    )
