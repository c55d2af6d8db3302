"""How much the machine delivers: tokens and requests per second."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.metrics.window import Window, overlap_s

__all__ = ["Fleet", "emitted_tokens", "processed_input_tokens", "throughput_figures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The GPUs that a throughput is divided by.

    Parameters
    ----------
    n_gpus : int
        All GPUs of the deployment.
    n_prefill_gpus, n_decode_gpus : int, optional
        GPUs of the pools of a disaggregated deployment; 0 where there are none.
    """

    n_gpus: int
    n_prefill_gpus: int = 0
    n_decode_gpus: int = 0


def emitted_tokens(requests: pd.DataFrame, *, window: Window) -> float:
    """Return the output tokens that come out within a window.

    The first and the last token of a request count where they fall, the others
    as if they were evenly spread between the two.

    Parameters
    ----------
    requests : DataFrame
        The requests of a run (`REQUEST_COLUMNS`), unfinished ones included.
    window : Window
        The window.

    Returns
    -------
    float
        Tokens, not a whole number where the window cuts a request.
    """
    first_s = requests["first_token_s"].to_numpy(np.float64)
    last_s = requests["last_token_s"].to_numpy(np.float64)
    n_tokens = requests["n_output_tokens"].to_numpy(np.float64)
    started = np.isfinite(first_s) & (n_tokens > 0)
    first_s, last_s, n_tokens = first_s[started], last_s[started], n_tokens[started]
    n_first = ((first_s >= window.start_s) & (first_s < window.end_s)).sum()
    has_last = np.isfinite(last_s)  # of the others only the first token has a place in time
    share = _share_within(first_s[has_last], last_s[has_last], window)
    return float(n_first + (share * (n_tokens[has_last] - 1)).sum())


def processed_input_tokens(requests: pd.DataFrame, *, window: Window) -> float:
    """Return the prompt tokens that are processed within a window.

    Parameters
    ----------
    requests : DataFrame
        The requests of a run (`REQUEST_COLUMNS`), unfinished ones included.
    window : Window
        The window.

    Returns
    -------
    float
        Tokens, evenly spread between the start and the end of their prefill.
    """
    start_s = requests["scheduled_s"].to_numpy(np.float64)
    end_s = requests["prefill_end_s"].to_numpy(np.float64)
    n_tokens = requests["n_input_tokens"].to_numpy(np.float64)
    processed = np.isfinite(start_s) & np.isfinite(end_s)
    share = _share_within(start_s[processed], end_s[processed], window)
    return float((share * n_tokens[processed]).sum())


def throughput_figures(
    requests: pd.DataFrame, *, window: Window, fleet: Fleet
) -> dict[str, float]:
    """Return tokens and requests per second.

    Parameters
    ----------
    requests : DataFrame
        All requests of a run (`REQUEST_COLUMNS`).
    window : Window
        Time in which tokens and requests count.
    fleet : Fleet
        GPUs to divide by.

    Returns
    -------
    dict of str to float
        See `METRICS`; the figures per prefill and per decode GPU only where the
        fleet has such pools. [1/s]
    """
    output_per_s = emitted_tokens(requests, window=window) / window.duration_s
    input_per_s = processed_input_tokens(requests, window=window) / window.duration_s
    done = requests[requests["state"] == "done"]
    last_s = done["last_token_s"]
    n_done = ((last_s >= window.start_s) & (last_s < window.end_s)).sum()
    figures = {
        "output_tokens_per_s": output_per_s,
        "input_tokens_per_s": input_per_s,
        "total_tokens_per_s": output_per_s + input_per_s,
        "output_tokens_per_s_per_gpu": output_per_s / fleet.n_gpus,
        "total_tokens_per_s_per_gpu": (output_per_s + input_per_s) / fleet.n_gpus,
        "completed_requests_per_s": float(n_done) / window.duration_s,
    }
    if fleet.n_decode_gpus:
        figures["output_tokens_per_s_per_decode_gpu"] = output_per_s / fleet.n_decode_gpus
    if fleet.n_prefill_gpus:
        figures["input_tokens_per_s_per_prefill_gpu"] = input_per_s / fleet.n_prefill_gpus
    return figures


def _share_within(
    start_s: NDArray[np.float64], end_s: NDArray[np.float64], window: Window
) -> NDArray[np.float64]:
    """Return the share of each interval within a window; all or nothing for an instant."""
    length_s = end_s - start_s
    share = ((start_s >= window.start_s) & (start_s < window.end_s)).astype(np.float64)
    common_s = overlap_s(start_s, end_s=end_s, window=window)
    np.divide(common_s, length_s, out=share, where=length_s > 0)
    return share
