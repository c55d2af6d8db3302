"""Whether the records of a run obey the laws that every run must obey."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.errors import InvariantError
from rackmoe.records import BREAKDOWN_COLUMNS

__all__ = ["check_power", "check_requests", "check_steps"]

# sums over float seconds may be off by rounding, relative
_ROUNDING = 1e-9

# (earlier, later): LAW-05 and the order of the stages between
_ORDER = (
    ("arrival_s", "scheduled_s"),
    ("scheduled_s", "prefill_end_s"),
    ("scheduled_s", "first_token_s"),
    ("prefill_end_s", "first_token_s"),
    ("prefill_end_s", "transfer_end_s"),
    ("first_token_s", "last_token_s"),
)


def check_requests(requests: pd.DataFrame, *, n_arrived: int) -> None:
    """Check that every request is accounted for and its clock never goes back.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    n_arrived : int
        Requests that the clients sent.

    Raises
    ------
    InvariantError
        If LAW-04 (arrived = done + running + waiting + rejected) or LAW-05
        (arrival <= scheduled <= first token <= last token) is broken, or a
        state contradicts the timestamps.
    """
    counts = requests["state"].value_counts()
    if int(counts.sum()) != n_arrived:
        parts = " + ".join(f"{count} {state}" for state, count in counts.items())
        raise InvariantError(f"LAW-04: {n_arrived} requests arrived, {parts}")
    if repeated := requests["request_id"][requests["request_id"].duplicated()].tolist():
        raise InvariantError(f"LAW-04: request {repeated[0]} is recorded more than once")
    for earlier, later in _ORDER:
        _check_order(requests, earlier, later)
    is_done = (requests["state"] == "done").to_numpy()
    has_ended = np.isfinite(requests["last_token_s"].to_numpy(np.float64))
    has_started = np.isfinite(requests["first_token_s"].to_numpy(np.float64))
    n_output = requests["n_output_tokens"].to_numpy(np.int64)
    is_rejected = (requests["state"] == "rejected").to_numpy()
    _raise_first(requests, is_done & ~has_ended, "LAW-04", "done without a last token")
    _raise_first(requests, is_done & (n_output < 1), "LAW-04", "done without output tokens")
    _raise_first(requests, is_rejected & has_started, "LAW-04", "rejected after its first token")
    _raise_first(
        requests, ~np.isfinite(requests["arrival_s"].to_numpy()), "LAW-05", "without an arrival"
    )


def check_steps(steps: pd.DataFrame) -> None:
    """Check that steps last, do not overlap and are the sum of their parts.

    Parameters
    ----------
    steps : DataFrame
        Steps of a run (`STEP_COLUMNS`).

    Raises
    ------
    InvariantError
        If a duration is not positive, a replica starts a step before its last
        one ended (LAW-05), the GPUs are busy for longer than the step lasts, or
        the parts of a step do not sum to its duration.
    """
    ordered = steps.sort_values(["replica", "start_s"], kind="stable")
    replica = ordered["replica"].to_numpy(np.int64)
    start_s = ordered["start_s"].to_numpy(np.float64)
    duration_s = ordered["duration_s"].to_numpy(np.float64)
    parts_s = ordered[list(BREAKDOWN_COLUMNS)].to_numpy(np.float64)
    slack_s = _ROUNDING * np.maximum(np.abs(start_s), duration_s)
    overlaps = np.zeros(replica.size, bool)
    overlaps[1:] = (replica[1:] == replica[:-1]) & (
        start_s[1:] < (start_s + duration_s - slack_s)[:-1]
    )
    checks = (
        (~(duration_s > 0), "lasts no time"),
        (overlaps, "starts before the step before it has ended"),
        (
            ordered["gpu_busy_s"].to_numpy(np.float64) > duration_s + slack_s,
            "keeps its GPUs busy for longer than it lasts",
        ),
        (~(parts_s >= -slack_s[:, None]).all(axis=1), "has a part below zero"),
        (
            ~(np.abs(parts_s.sum(axis=1) - duration_s) <= slack_s),
            "does not last as long as the sum of its parts",
        ),
    )
    for is_broken, what in checks:
        if is_broken.any():
            row = int(np.argmax(is_broken))
            raise InvariantError(
                f"LAW-05 at t={start_s[row]:.6f} s, replica {replica[row]}: a step of"
                f" {float(duration_s[row])!r} s {what}"
            )


def check_power(power: pd.DataFrame) -> None:
    """Check that energy is power over time, and power between its bounds.

    Parameters
    ----------
    power : DataFrame
        Power of the parts of a run (`POWER_COLUMNS`).

    Raises
    ------
    InvariantError
        If LAW-07 is broken: energy = power x duration; idle <= power <= maximum.
    """
    power_w = power["power_w"].to_numpy(np.float64)
    energy_j = power["energy_j"].to_numpy(np.float64)
    expected_j = power_w * power["duration_s"].to_numpy(np.float64)
    slack_w = _ROUNDING * np.abs(power_w)
    checks = (
        (~(np.abs(energy_j - expected_j) <= _ROUNDING * np.abs(expected_j)), "energy_j"),
        (~(power_w >= power["idle_power_w"].to_numpy() - slack_w), "idle_power_w"),
        (~(power_w <= power["max_power_w"].to_numpy() + slack_w), "max_power_w"),
    )
    for is_broken, column in checks:
        if is_broken.any():
            row = power.iloc[int(np.argmax(is_broken))]
            raise InvariantError(
                f"LAW-07 at t={row['start_s']:.6f} s, {row['part']}: power_w {row['power_w']}"
                f" over {row['duration_s']} s against {column} {row[column]}"
            )


def _check_order(requests: pd.DataFrame, earlier: str, later: str) -> None:
    before = requests[earlier].to_numpy(np.float64)
    after = requests[later].to_numpy(np.float64)
    is_broken = np.isfinite(after) & ~(before <= after)
    if is_broken.any():
        row = int(np.argmax(is_broken))
        raise InvariantError(
            f"LAW-05 at request {requests['request_id'].iloc[row]}: {earlier} is"
            f" {before[row].item()!r}, {later} is {after[row].item()!r}"
        )


def _raise_first(
    requests: pd.DataFrame, is_broken: NDArray[np.bool_], law: str, what: str
) -> None:
    if is_broken.any():
        request_id = requests["request_id"].iloc[int(np.argmax(is_broken))]
        raise InvariantError(f"{law}: request {request_id} is {what}")
