"""How long users wait: TTFT, TPOT, ITL, end to end, and where that time goes."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.metrics.statistics import LOWER_TAIL, statistics

__all__ = ["LATENCIES", "itl_figures", "latency_figures", "request_latencies", "token_gaps"]

# steps follow each other without a gap, up to the rounding of the clock
_IDLE_FRAC = 1e-6

LATENCIES = (
    "ttft_s",
    "tpot_s",
    "e2e_s",
    "queue_s",
    "prefill_s",
    "transfer_s",
    "decode_s",
)
"""Latencies of a request; the last four sum to `e2e_s`."""


def request_latencies(requests: pd.DataFrame) -> pd.DataFrame:
    """Return the latencies of the requests that are done.

    Parameters
    ----------
    requests : DataFrame
        The requests of a run (`REQUEST_COLUMNS`).

    Returns
    -------
    DataFrame
        Columns of `LATENCIES` [s] and `interactivity_tokens_per_s`, indexed by
        `request_id`. `decode_s` is what is left of `e2e_s` after queue, prefill
        and transfer, so time lost to preemption is part of it.
    """
    done = requests[requests["state"] == "done"]
    column = {
        name: done[name].to_numpy(np.float64)
        for name in (
            "arrival_s",
            "scheduled_s",
            "prefill_end_s",
            "transfer_end_s",
            "first_token_s",
            "last_token_s",
            "n_output_tokens",
        )
    }
    ttft_s = column["first_token_s"] - column["arrival_s"]
    e2e_s = column["last_token_s"] - column["arrival_s"]
    n_gaps = column["n_output_tokens"] - 1
    tpot_s = np.full(ttft_s.shape, np.nan)
    np.divide(e2e_s - ttft_s, n_gaps, out=tpot_s, where=n_gaps > 0)
    interactivity = np.full(ttft_s.shape, np.nan)
    np.divide(1.0, tpot_s, out=interactivity, where=tpot_s > 0)
    transfer_s = np.nan_to_num(column["transfer_end_s"] - column["prefill_end_s"])
    return pd.DataFrame(
        {
            "ttft_s": ttft_s,
            "tpot_s": tpot_s,
            "e2e_s": e2e_s,
            "queue_s": column["scheduled_s"] - column["arrival_s"],
            "prefill_s": column["prefill_end_s"] - column["scheduled_s"],
            "transfer_s": transfer_s,
            "decode_s": column["last_token_s"] - column["prefill_end_s"] - transfer_s,
            "interactivity_tokens_per_s": interactivity,
        },
        index=pd.Index(done["request_id"], name="request_id"),
    )


def latency_figures(latencies: pd.DataFrame) -> dict[str, float]:
    """Return mean and percentiles of every latency and of interactivity.

    Parameters
    ----------
    latencies : DataFrame
        From `request_latencies`, of the requests that count.

    Returns
    -------
    dict of str to float
        For example ``ttft_p99_s``; NaN where no request is done.
    """
    figures: dict[str, float] = {}
    for name in LATENCIES:
        figures |= statistics(name, values=latencies[name])
    name = "interactivity_tokens_per_s"
    return figures | statistics(name, values=latencies[name], which=LOWER_TAIL)


def token_gaps(steps: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the gaps between consecutive output tokens, from the steps.

    Each sequence that decodes in a step waited since its replica's previous
    decode step, or, when that replica had been idle, since the step began; a
    prefill step in between therefore lengthens the gap. Further tokens of the
    same sequence and step (speculative decoding) come out with the first, at a
    gap of 0.

    Parameters
    ----------
    steps : DataFrame
        Steps of a run (`STEP_COLUMNS`), in any order.

    Returns
    -------
    itl_s : ndarray of shape (n_gaps,)
        Distinct gaps. [s]
    weights : ndarray of shape (n_gaps,)
        How many tokens had that gap.

    Notes
    -----
    A sequence that joined the batch after the replica's previous decode step is
    given the gap of those that were there.
    """
    ordered = steps.sort_values(["replica", "start_s"], kind="stable")
    replica = ordered["replica"].to_numpy(np.int64)
    start_s = ordered["start_s"].to_numpy(np.float64)
    duration_s = ordered["duration_s"].to_numpy(np.float64)
    n_sequences = ordered["n_sequences"].to_numpy(np.int64)
    n_tokens = ordered["n_decode_tokens"].to_numpy(np.int64)
    is_chained = np.zeros(replica.size, bool)
    is_chained[1:] = (replica[1:] == replica[:-1]) & (
        start_s[1:] - (start_s + duration_s)[:-1] <= _IDLE_FRAC * duration_s[1:]
    )
    # since when the sequences of a step have waited: the last decode step of an unbroken chain
    chain = np.cumsum(~is_chained)
    decodes = np.flatnonzero(n_sequences > 0)
    end_s = (start_s + duration_s)[decodes]
    since_s = start_s[decodes]
    follows = chain[decodes][1:] == chain[decodes][:-1]
    since_s[1:] = np.where(follows, end_s[:-1], since_s[1:])
    n_waited = n_sequences[decodes]
    n_further = n_tokens[decodes] - n_waited
    values = np.append(end_s - since_s, 0.0)
    weights = np.append(np.minimum(n_waited, n_tokens[decodes]), np.maximum(n_further, 0).sum())
    return values, weights.astype(np.int64)


def itl_figures(steps: pd.DataFrame) -> dict[str, float]:
    """Return mean and percentiles of the gaps between output tokens.

    Parameters
    ----------
    steps : DataFrame
        Steps that count (`STEP_COLUMNS`).

    Returns
    -------
    dict of str to float
        For example ``itl_p99_s``. [s]
    """
    values, weights = token_gaps(steps)
    return statistics("itl_s", values=values, weights=weights)
