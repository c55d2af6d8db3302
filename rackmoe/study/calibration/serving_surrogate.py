"""What a simulated row would have given with other constants, without simulating it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.profile import BackendProfile, HostTimes
from rackmoe.serving.speculation import mean_tokens
from rackmoe.study.validation.recipe_table import recipe_drafts
from rackmoe.study.validation.serving_answers import Answer
from rackmoe.study.validation.serving_features import RowFeatures, WaitFeatures
from rackmoe.study.validation.serving_rows import DEFAULT_DRAFTS, ServingRow
from rackmoe.study.validation.serving_score import measured_throughput

__all__ = [
    "CONSTANTS",
    "HOST_CONSTANTS",
    "Point",
    "RowSurrogate",
    "assumed_point",
    "backend_point",
    "equal_acceptance",
    "row_surrogate",
]

HOST_CONSTANTS: Final = ("gap_s", "sequence_s", "request_s", "decode_stretch", "prompt_stretch")
"""What is fitted for a backend beside a family of GPUs. The host work of a layer of a prompt
step (`layer_s`) stays as assumed: on no row it lasts longer than the GPU's work."""

CONSTANTS: Final = (*HOST_CONSTANTS, "weights_stretch", "acceptance_frac", "setup_s")
"""The same, what holds for a format of weights, and what a backend has on all GPUs."""

Point = NDArray[np.float64]
"""Values of `CONSTANTS`: times in seconds, factors and a share."""

_GAP, _SEQUENCE, _REQUEST, _DECODE, _PROMPT, _WEIGHTS, _ACCEPTANCE, _SETUP = range(len(CONSTANTS))
_MS: Final = 1e-3
_LEAST_S: Final = 1e-3
# Of three drafts of random tokens, 1.2 are accepted; a second frontend and the handshake of a
# transfer take tens of milliseconds (kind: assumed).
_ASSUMED_ACCEPTANCE: Final = 0.6
_ASSUMED_SETUP_S: Final = 0.02
# Between these quantiles a mean stands for the median, so that it changes smoothly.
_MIDDLE_QUANTILES: Final = np.linspace(0.4, 0.6, 9)


class RowSurrogate:
    """A row as a function of the constants of its backend.

    Parameters
    ----------
    row : ServingRow
        What was measured.
    features : RowFeatures
        Its simulated steps.
    at : ndarray of shape (8,)
        Constants of the simulation.
    host : HostTimes
        Host times of the simulation.
    figures : mapping of str to float
        What the simulation gave, of ``tpot``, ``throughput`` and ``ttft``; times in seconds.
    """

    def __init__(
        self,
        row: ServingRow,
        *,
        features: RowFeatures,
        at: Point,
        host: HostTimes,
        figures: Mapping[str, float],
    ) -> None:
        self.row = row
        self.at = at
        self.figures = figures
        self.weights = features.expert_format
        self._kinds = _Kinds.of(features, host=host)
        self._first = _Waits.of(features.first)
        self._output = _Waits.of(features.output)
        self._n_out = np.array(features.n_steps_out)
        self._weights = np.array(features.weights)
        self._is_mean = {name: row.text(f"{name}_stat") == "mean" for name in ("tpot", "ttft")}
        self._n_drafts = 0
        if row.text("mtp") == "on":
            self._n_drafts = row.count("mtp_draft_tokens", default=recipe_drafts(row.cells))
        self._there = self._raw(at)

    def predict(self, point: Point) -> dict[str, float]:
        """Return the figures of the row with other constants.

        Parameters
        ----------
        point : ndarray of shape (8,)
            The constants.

        Returns
        -------
        dict of str to float
            Those of `figures`, changed as the waits of the sampled requests are.
        """
        here, there = self._raw(point), self._there
        found = {}
        for name, value in self.figures.items():
            if name == "ttft":
                found[name] = max(value + here[name] - there[name], _LEAST_S)
            else:
                found[name] = value * here[name] / there[name]
        return found

    def _raw(self, point: Point) -> dict[str, float]:
        """Return what the sampled requests wait for, and their rate."""
        took_s = self._kinds.steps_s(point, at=self.at)
        if self.row.text("arrival") != "closed":
            whole_s = float(took_s @ self._kinds.n_steps)
            return {"tpot": whole_s, "ttft": whole_s, "throughput": 1.0 / whole_s}
        first_s = self._first.total_s(took_s) + point[_REQUEST]
        if self.row.text("mode") == "disagg":
            first_s = first_s + point[_SETUP]
        output_s = self._output.total_s(took_s) * self._tokens(self.at) / self._tokens(point)
        weights = self._weights
        stay_s = float(np.average(first_s + output_s, weights=weights))
        return {
            "tpot": _statistic(
                output_s / self._n_out, weights=weights, is_mean=self._is_mean["tpot"]
            ),
            "ttft": _statistic(first_s, weights=weights, is_mean=self._is_mean["ttft"]),
            "throughput": 1.0 / stay_s,
        }

    def _tokens(self, point: Point) -> float:
        if not self._n_drafts:
            return 1.0
        return mean_tokens((float(point[_ACCEPTANCE]),), n_drafts=self._n_drafts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Kinds:
    """The kinds of steps of a row, as arrays."""

    busy_s: NDArray[np.float64]
    compute_frac: NDArray[np.float64]
    sequences: NDArray[np.float64]
    has_prompts: NDArray[np.bool_]
    n_steps: NDArray[np.float64]
    host_s: NDArray[np.float64]

    @classmethod
    def of(cls, features: RowFeatures, *, host: HostTimes) -> "_Kinds":
        works_s = [
            host.work_s(features.n_layers, has_prompts=with_prompts)
            for with_prompts in features.has_prompts
        ]
        return cls(
            busy_s=np.array(features.busy_s),
            compute_frac=np.array(features.compute_frac),
            sequences=np.array(features.sequences),
            has_prompts=np.array(features.has_prompts),
            n_steps=np.array(features.n_steps),
            host_s=np.array(works_s),
        )

    def steps_s(self, point: Point, *, at: Point) -> NDArray[np.float64]:
        """Return the duration of each kind. [s]."""
        decode = point[_DECODE] * point[_WEIGHTS] / (at[_DECODE] * at[_WEIGHTS])
        stretch = np.where(self.has_prompts, point[_PROMPT] / at[_PROMPT], decode)
        busy_s = self.busy_s * (1 + (stretch - 1) * self.compute_frac)
        idle_s = point[_GAP] + point[_SEQUENCE] * self.sequences
        found: NDArray[np.float64] = np.maximum(busy_s, self.host_s) + idle_s
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Waits:
    """What the requests of a row wait for, as arrays."""

    counts: NDArray[np.float64]
    rest_s: NDArray[np.float64]

    @classmethod
    def of(cls, waits: WaitFeatures) -> "_Waits":
        return cls(counts=np.array(waits.counts), rest_s=np.array(waits.rest_s))

    def total_s(self, took_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the time of each request. [s]."""
        found: NDArray[np.float64] = self.rest_s + self.counts @ took_s
        return found


def _statistic(
    values: NDArray[np.float64], *, weights: NDArray[np.float64], is_mean: bool
) -> float:
    if is_mean:
        return float(np.average(values, weights=weights))
    order = np.argsort(values, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(_MIDDLE_QUANTILES, middle / weights.sum(), values[order]).mean())


def assumed_point(profile: BackendProfile) -> Point:
    """Return what is assumed of a backend where nothing is measured.

    Parameters
    ----------
    profile : BackendProfile
        The backend; its host times for no GPU in particular are never fitted.

    Returns
    -------
    ndarray of shape (8,)
        In the order of `CONSTANTS`.
    """
    host = [float(getattr(profile.host, name).value) for name in HOST_CONSTANTS]
    return np.array([*host, 1.0, _ASSUMED_ACCEPTANCE, _ASSUMED_SETUP_S])


def backend_point(profile: BackendProfile, *, gpu: str, weights: str) -> Point:
    """Return the constants of a backend beside a GPU.

    Parameters
    ----------
    profile : BackendProfile
        The backend.
    gpu : str
        Name of the GPU.
    weights : str
        Format of the expert weights.

    Returns
    -------
    ndarray of shape (8,)
        In the order of `CONSTANTS`; one chance for all drafts that gives as many tokens.
    """
    host, more = profile.host_on(gpu), profile.host.weights_stretch.get(weights)
    rates = profile.speculation.acceptance_frac.value
    return np.array(
        [
            *(float(getattr(host, name).value) for name in HOST_CONSTANTS),
            1.0 if more is None else more.value,
            equal_acceptance(mean_tokens(rates, n_drafts=DEFAULT_DRAFTS)),
            profile.kv.setup_s.value,
        ]
    )


def equal_acceptance(wanted_tokens: float) -> float:
    """Return the equal chance of all drafts that gives so many tokens a step.

    Parameters
    ----------
    wanted_tokens : float
        Tokens of a sequence in a step of `DEFAULT_DRAFTS`, a count.

    Returns
    -------
    float
        From 0 to 1.
    """
    grid = np.linspace(0.0, 1.0, 1001)
    tokens = np.array([mean_tokens((a,), n_drafts=DEFAULT_DRAFTS) for a in grid.tolist()])
    return float(grid[int(np.argmin(np.abs(tokens - wanted_tokens)))])


def row_surrogate(
    row: ServingRow, *, answer: Answer, profile: BackendProfile, gpu: str
) -> RowSurrogate | None:
    """Return a row as a function of the constants of its backend.

    Parameters
    ----------
    row : ServingRow
        The row.
    answer : Answer
        What a simulation gave.
    profile : BackendProfile
        With which backend.
    gpu : str
        Name of its GPU.

    Returns
    -------
    RowSurrogate or None
        None where the row was not answered.
    """
    if answer.features is None:
        return None
    throughput = measured_throughput(row)
    columns = {"tpot": ("tpot_ms", _MS), "ttft": ("ttft_ms", _MS)}
    if throughput is not None:
        columns["throughput"] = (throughput, 1.0)
    figures = {}
    for name, (column, scale) in columns.items():
        value = answer.figures.get(column)
        if value:
            figures[name] = value * scale
    return RowSurrogate(
        row,
        features=answer.features,
        at=backend_point(profile, gpu=gpu, weights=answer.features.expert_format),
        host=profile.host_on(gpu),
        figures=figures,
    )
