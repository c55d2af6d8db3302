"""What the simulator says about the scenario of a measured row, in the units of the file."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.engine.run import run_engine
from rackmoe.scenario.resolved import Scenario
from rackmoe.scenario.traffic import Traffic, build_traffic
from rackmoe.streams import Streams
from rackmoe.study.validation.serving_features import RowFeatures, row_features
from rackmoe.study.validation.serving_rows import CLIENT_ROUNDS, ServingRow

__all__ = ["FIGURES", "RowQuestion", "row_question", "simulate_row"]

FIGURES: Final = (
    "tpot_ms",
    "ttft_ms",
    "total_tokens_per_s_per_gpu",
    "output_tokens_per_s_per_gpu",
    "output_tokens_per_s_per_decode_gpu",
    "input_tokens_per_s_per_prefill_gpu",
)
"""What a row may have measured: milliseconds, and tokens per second and GPU."""

_MS: Final = 1e-3
# Share of a saturated run that is left out at its start, where ranks fall into step.
_SETTLING_FRAC: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RowQuestion:
    """What a row asks of a run of its scenario.

    Attributes
    ----------
    mode : str
        ``agg``, ``disagg``, ``decode_only`` or ``prefill_only``.
    users : int
        Users of a closed loop, a count; 0 for a batch.
    tpot_stat, ttft_stat : str
        ``mean``; anything else asks for the median.
    n_prefill_gpus, n_decode_gpus : int
        GPUs of each phase, a count; all of them where one pool does both.
    """

    mode: str
    users: int
    tpot_stat: str
    ttft_stat: str
    n_prefill_gpus: int
    n_decode_gpus: int

    @property
    def n_gpus(self) -> int:
        """GPUs of the deployment, a count."""
        split = self.mode == "disagg"
        return (
            self.n_decode_gpus + self.n_prefill_gpus
            if split
            else max(self.n_decode_gpus, self.n_prefill_gpus)
        )


def row_question(row: ServingRow) -> RowQuestion:
    """Return what a row asks.

    Parameters
    ----------
    row : ServingRow
        The row.

    Returns
    -------
    RowQuestion
        Its mode, users, statistics and GPUs.
    """
    mode = row.text("mode")
    return RowQuestion(
        mode=mode,
        users=row.count("concurrency") if row.text("arrival") == "closed" else 0,
        tpot_stat=row.text("tpot_stat"),
        ttft_stat=row.text("ttft_stat"),
        n_prefill_gpus=row.gpus("prefill") if mode in {"disagg", "prefill_only"} else 0,
        n_decode_gpus=row.gpus("decode") if mode != "prefill_only" else 0,
    )


def simulate_row(
    scenario: Scenario, *, question: RowQuestion, seed: int = 0
) -> tuple[dict[str, float | None], RowFeatures | None]:
    """Return the figures of a row, and its steps.

    Parameters
    ----------
    scenario : Scenario
        The scenario of the row.
    question : RowQuestion
        What the row measured, and how.
    seed : int
        Seed of all random streams.

    Returns
    -------
    tuple of dict and RowFeatures or None
        By column of the file, in its units; None where the mode has no such figure.
        Milliseconds, and tokens per second and GPU.
    """
    traffic = build_traffic(scenario.document, streams=Streams(seed))
    run = run_engine(
        scenario,
        requests=traffic.requests,
        is_measured=_followed(traffic, mode=question.mode),
        seed=seed,
    )
    requests = run.records.to_frame("requests")
    steps = run.records.to_frame("steps")
    n_ended = int(requests["last_token_s"].notna().sum())
    features = row_features(
        scenario,
        run=run,
        weights=_weights(n_ended, users=question.users),
        n_burst=question.users,
    )
    if question.mode == "decode_only":
        return _decode_figures(requests, steps, question), features
    if question.mode == "prefill_only":
        return _prefill_figures(steps, question), features
    return _client_figures(requests, question), features


def _followed(traffic: Traffic, *, mode: str) -> NDArray[np.bool_]:
    """Return the requests whose end the run waits for; a saturated decode needs none to end."""
    if mode != "decode_only":
        return traffic.is_measured
    is_last = np.zeros(len(traffic.requests), dtype=bool)
    # in its stationary state the loop has turned once when its first new request ends
    is_last[traffic.requests.input_tokens.size * 2 // 3] = True
    return is_last


def _client_figures(requests: pd.DataFrame, question: RowQuestion) -> dict[str, float | None]:
    """Return what a benchmark client reports at its end."""
    done = requests[requests["last_token_s"].notna()].sort_values("request_id")
    arrival_s, last_s = done["arrival_s"].to_numpy(), done["last_token_s"].to_numpy()
    ttft_s = done["first_token_s"].to_numpy() - arrival_s
    outputs = done["n_output_tokens"].to_numpy()
    tpot_s = (last_s - done["first_token_s"].to_numpy()) / np.maximum(outputs - 1, 1)
    weights = _weights(len(done), users=question.users)
    duration_s = _duration_s(arrival_s, last_s, users=question.users)
    scale = CLIENT_ROUNDS * question.users / len(done) if question.users else 1.0
    output_rate = scale * float(outputs.sum()) / duration_s
    input_rate = scale * float(done["n_input_tokens"].sum()) / duration_s
    figures: dict[str, float | None] = {
        "tpot_ms": _statistic(tpot_s, weights, question.tpot_stat) / _MS,
        "ttft_ms": _statistic(ttft_s, weights, question.ttft_stat) / _MS,
    }
    return figures | _rates(output_rate, input_rate, question)


def _duration_s(
    arrival_s: NDArray[np.float64], last_s: NDArray[np.float64], *, users: int
) -> float:
    """Return how long the client's whole benchmark lasts, of which a part was simulated.

    A loop that has been simulated for fewer rounds goes on as after its first round, by
    Little's law.
    """
    whole_s = float(last_s.max() - arrival_s.min())
    missing = CLIENT_ROUNDS * users - len(arrival_s)
    if users == 0 or missing <= 0:
        return whole_s
    # every user sends its next request when the last one ends
    later = np.argsort(arrival_s, kind="stable")[users:]
    stay_s = float((last_s - arrival_s)[later].mean())
    return whole_s + missing * stay_s / users


def _weights(n_requests: int, *, users: int) -> NDArray[np.float64]:
    """Return what each request stands for; the first round comes in one burst, and once only."""
    weights = np.ones(n_requests)
    if 0 < users < n_requests:
        weights[users:] = (CLIENT_ROUNDS - 1) * users / (n_requests - users)
    return weights


def _statistic(values: NDArray[np.float64], weights: NDArray[np.float64], stat: str) -> float:
    if stat == "mean":
        return float(np.average(values, weights=weights))
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _rates(
    output_rate: float, input_rate: float, question: RowQuestion
) -> dict[str, float | None]:
    split = question.mode == "disagg"
    n_gpus = question.n_gpus
    return {
        "total_tokens_per_s_per_gpu": (output_rate + input_rate) / n_gpus,
        "output_tokens_per_s_per_gpu": output_rate / n_gpus,
        "output_tokens_per_s_per_decode_gpu": (
            output_rate / (question.n_decode_gpus if split else n_gpus)
        ),
        "input_tokens_per_s_per_prefill_gpu": (
            input_rate / (question.n_prefill_gpus if split else n_gpus)
        ),
    }


def _nothing() -> dict[str, float | None]:
    return dict.fromkeys(FIGURES)


def _decode_figures(
    requests: pd.DataFrame, steps: pd.DataFrame, question: RowQuestion
) -> dict[str, float | None]:
    """Return the rate of a saturated decode while its loop is full."""
    end_s = float(requests["arrival_s"].max())
    first = steps["start_s"] >= _SETTLING_FRAC * end_s
    counted = steps[first & (steps["start_s"] + steps["duration_s"] <= end_s)]
    if not len(counted):
        counted = steps
    rate = float(counted["n_decode_tokens"].sum() / counted["duration_s"].sum())
    per_user_s = float(counted["n_sequences"].sum() / counted["n_decode_tokens"].sum())
    return _nothing() | {
        "tpot_ms": per_user_s * float(counted["duration_s"].mean()) / _MS,
        "output_tokens_per_s_per_decode_gpu": rate / question.n_decode_gpus,
    }


def _prefill_figures(steps: pd.DataFrame, question: RowQuestion) -> dict[str, float | None]:
    """Return the rate of full prefill steps."""
    full = steps[steps["n_prefill_tokens"] >= steps["n_prefill_tokens"].max() / 2]
    rate = float(full["n_prefill_tokens"].sum() / full["duration_s"].sum())
    return _nothing() | {"input_tokens_per_s_per_prefill_gpu": rate / question.n_prefill_gpus}
