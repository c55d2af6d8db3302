"""What a simulated row tells a fit: which steps its requests wait for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.engine.run import EngineRun
from rackmoe.model.dtypes import stored_format
from rackmoe.scenario.resolved import Scenario

__all__ = ["RowFeatures", "WaitFeatures", "row_features"]

Matrix = tuple[tuple[float, ...], ...]

# Kinds of steps that are told apart by pool, prompts and duration; a run has thousands of steps.
_N_BINS: Final = 10
# Requests that stand for all others; those of the burst at the start apart.
_N_REQUESTS: Final = 60
_DIGITS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitFeatures:
    """The steps that requests wait for in a stretch of their life.

    Attributes
    ----------
    counts : tuple of tuple of float
        Steps of each kind, by request.
    rest_s : tuple of float
        Time beside steps, by request. [s]
    """

    counts: Matrix
    rest_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFeatures:
    """The steps of a row, and what its requests wait for.

    Attributes
    ----------
    busy_s : tuple of float
        GPU time of each kind of step. [s]
    compute_frac : tuple of float
        Share of it that is no exchange between GPUs.
    sequences : tuple of float
        Decoding sequences of an attention group, by kind.
    has_prompts : tuple of bool
        Whether prompts are in the steps, by kind.
    n_steps : tuple of float
        Steps of the run, by kind.
    first, output : WaitFeatures
        From the frontend to the first token, and on to the last one, of sampled requests.
    n_steps_out : tuple of float
        Their output tokens after the first, a count.
    weights : tuple of float
        Requests that each of them stands for.
    n_layers : int
        Layers of the model.
    expert_format : str
        Format of its expert weights.
    """

    busy_s: tuple[float, ...]
    compute_frac: tuple[float, ...]
    sequences: tuple[float, ...]
    has_prompts: tuple[bool, ...]
    n_steps: tuple[float, ...]
    first: WaitFeatures
    output: WaitFeatures
    n_steps_out: tuple[float, ...]
    weights: tuple[float, ...]
    n_layers: int
    expert_format: str

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "RowFeatures":
        """Return features that were written as JSON.

        Parameters
        ----------
        data : dict
            Values by name; lists stand for tuples.

        Returns
        -------
        RowFeatures
            The features.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in data.items()
        }
        for name in ("first", "output"):
            waits = data[name]
            values[name] = WaitFeatures(
                counts=tuple(tuple(row) for row in waits["counts"]),
                rest_s=tuple(waits["rest_s"]),
            )
        return cls(**values)


def row_features(
    scenario: Scenario, *, run: EngineRun, weights: NDArray[np.float64], n_burst: int
) -> RowFeatures | None:
    """Return the features of a run.

    Parameters
    ----------
    scenario : Scenario
        What was simulated.
    run : EngineRun
        Its records.
    weights : ndarray of shape (n_ended,)
        What each request that ended stands for, by id.
    n_burst : int
        Requests that arrive together at the start.

    Returns
    -------
    RowFeatures or None
        None if nothing ended.
    """
    requests = run.records.to_frame("requests")
    requests = requests[requests["last_token_s"].notna()].sort_values("request_id")
    if not len(requests):
        return None
    steps = run.records.to_frame("steps").sort_values(["replica", "start_s"], kind="stable")
    kinds = _kinds(steps)
    groups = {plan.role.name.lower(): plan.pool.attention_dp for plan in run.plans}
    clock = _StepClock(steps, kinds=kinds)
    chosen = _sampled(len(requests), n_burst=n_burst)
    few = requests.iloc[chosen]
    came_s = few["arrival_s"].to_numpy() + scenario.host.request_s.value
    first_s, last_s = few["first_token_s"].to_numpy(), few["last_token_s"].to_numpy()
    decode = few["decode_replica"].to_numpy(np.int64)
    prefill = few["prefill_replica"].to_numpy(np.int64)
    prefill = np.where(prefill < 0, decode, prefill)
    prompt_end_s = np.fmin(few["prefill_end_s"].to_numpy(), first_s)
    shares = _shares(chosen, weights, n_burst=n_burst)
    return RowFeatures(
        **_by_kind(steps, kinds, groups),
        first=_waits(clock, prefill, came_s, prompt_end_s, extra_s=first_s - prompt_end_s),
        output=_waits(clock, np.where(decode < 0, prefill, decode), first_s, last_s),
        n_steps_out=tuple(
            np.maximum(few["n_output_tokens"].to_numpy(np.float64) - 1, 1.0).tolist()
        ),
        weights=_rounded(shares),
        n_layers=scenario.arch.n_layers,
        expert_format=stored_format(scenario.arch.dtypes.routed_expert),
    )


def _kinds(steps: pd.DataFrame) -> NDArray[np.int64]:
    """Return the kind of each step: pool, with or without prompts, and how long it takes."""
    keys = steps["pool"].astype(str) + (steps["n_prefill_tokens"] > 0).map({True: "+", False: "-"})
    busy_s = steps["gpu_busy_s"].to_numpy(np.float64)
    kinds = np.zeros(len(steps), dtype=np.int64)
    n_kinds = 0
    for key in sorted(set(keys)):
        at = np.flatnonzero((keys == key).to_numpy())
        edges = np.unique(np.quantile(busy_s[at], np.linspace(0, 1, _N_BINS + 1)[1:-1]))
        bins = np.searchsorted(edges, busy_s[at], side="right")
        _, dense = np.unique(bins, return_inverse=True)
        kinds[at] = n_kinds + dense
        n_kinds += int(dense.max()) + 1
    return kinds


def _by_kind(
    steps: pd.DataFrame, kinds: NDArray[np.int64], groups: dict[str, int]
) -> dict[str, Any]:
    n_groups = steps["pool"].astype(str).map(groups).to_numpy(np.float64)
    moved_s = (steps["dispatch_s"] + steps["combine_s"]).to_numpy(np.float64)
    busy_s = steps["gpu_busy_s"].to_numpy(np.float64)
    per_group = steps["n_sequences"].to_numpy(np.float64) / n_groups
    n = np.bincount(kinds)
    mean_busy_s = np.bincount(kinds, weights=busy_s) / n
    compute_s = np.bincount(kinds, weights=np.maximum(busy_s - moved_s, 0.0)) / n
    prompts = np.bincount(kinds, weights=(steps["n_prefill_tokens"] > 0).to_numpy(np.float64))
    return {
        "busy_s": _rounded(mean_busy_s),
        "compute_frac": _rounded(compute_s / np.maximum(mean_busy_s, 1e-12)),
        "sequences": _rounded(np.bincount(kinds, weights=per_group) / n),
        "has_prompts": tuple((prompts > 0).tolist()),
        "n_steps": tuple(n.astype(np.float64).tolist()),
    }


class _StepClock:
    """How many steps of each kind a replica has done by a time."""

    def __init__(self, steps: pd.DataFrame, *, kinds: NDArray[np.int64]) -> None:
        n_kinds = int(kinds.max()) + 1
        took_s = steps["duration_s"].to_numpy(np.float64)
        self.mean_s = np.bincount(kinds, weights=took_s) / np.bincount(kinds)
        self._replicas: dict[int, tuple[NDArray[np.float64], ...]] = {}
        replica = steps["replica"].to_numpy()
        for one in np.unique(replica).tolist():
            at = np.flatnonzero(replica == one)
            one_hot = np.zeros((len(at) + 1, n_kinds))
            one_hot[np.arange(1, len(at) + 1), kinds[at]] = 1.0
            start_s = steps["start_s"].to_numpy(np.float64)[at]
            self._replicas[one] = (start_s, took_s[at], np.cumsum(one_hot, axis=0))

    def done(self, replica: int, time_s: float) -> NDArray[np.float64]:
        """Return the steps of each kind by a time; the running one counts in part."""
        if replica not in self._replicas:
            return np.zeros_like(self.mean_s)
        start_s, took_s, counts = self._replicas[replica]
        at = int(np.searchsorted(start_s, time_s, side="right")) - 1
        if at < 0:
            return np.zeros_like(self.mean_s)
        part = min(1.0, (time_s - start_s[at]) / max(took_s[at], 1e-12))
        done: NDArray[np.float64] = counts[at] + part * (counts[at + 1] - counts[at])
        return done


def _waits(
    clock: _StepClock,
    replicas: NDArray[np.int64],
    from_s: NDArray[np.float64],
    to_s: NDArray[np.float64],
    *,
    extra_s: NDArray[np.float64] | float = 0.0,
) -> WaitFeatures:
    counts = np.array(
        [
            clock.done(replica, until) - clock.done(replica, since)
            for replica, since, until in zip(
                replicas.tolist(), from_s.tolist(), to_s.tolist(), strict=True
            )
        ]
    )
    rest_s = to_s - from_s + extra_s - counts @ clock.mean_s
    return WaitFeatures(
        counts=tuple(_rounded(row) for row in counts), rest_s=_rounded(np.asarray(rest_s))
    )


def _sampled(n_requests: int, *, n_burst: int) -> NDArray[np.int64]:
    """Return evenly spaced requests of the burst and of what comes after it."""
    parts: Sequence[tuple[int, int]] = ((0, min(n_burst, n_requests)), (n_burst, n_requests))
    found = [
        np.unique(np.linspace(low, high - 1, _N_REQUESTS).astype(np.int64))
        for low, high in parts
        if high > low
    ]
    return np.concatenate(found)


def _shares(
    chosen: NDArray[np.int64], weights: NDArray[np.float64], *, n_burst: int
) -> NDArray[np.float64]:
    """Return the weights of the burst and of the rest, each dealt to their sampled requests."""
    shares = np.empty(len(chosen))
    for part, whole in (
        (chosen < n_burst, weights[:n_burst]),
        (chosen >= n_burst, weights[n_burst:]),
    ):
        if part.any():
            shares[part] = whole.sum() / part.sum()
    return shares


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
