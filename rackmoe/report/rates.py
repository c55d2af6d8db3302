"""Proposed pool sizes as a table."""

import math

import pandas as pd

from rackmoe.study.rate_matching import RateMatch

__all__ = ["rates_frame", "sizes_frame"]

_CHECKED = (
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_p50_s",
    "output_tokens_per_s_per_gpu",
    "slo_met_frac",
)


def rates_frame(match: RateMatch) -> pd.DataFrame:
    """Return what was found, a row for each quantity.

    Parameters
    ----------
    match : RateMatch
        From `match_rates`.

    Returns
    -------
    DataFrame
        Names as elsewhere, in SI units; figures of the run have the prefix ``run``.
    """
    rows = {
        "arrival_requests_per_s": match.arrival_requests_per_s,
        "input_tokens_mean": match.input_tokens_mean,
        "output_tokens_mean": match.output_tokens_mean,
    }
    for name, one in (("prefill", match.prefill), ("decode", match.decode)):
        rows[f"{name}.requests_per_s_per_replica"] = one.requests_per_s
        rows[f"{name}.step_s"] = one.step_s
        rows[f"{name}.sequences_per_group"] = float(one.sequences_per_group)
    chosen = match.chosen
    rows |= {
        "prefill.replicas": float(chosen.n_prefill),
        "decode.replicas": float(chosen.n_decode),
        "n_gpus": float(chosen.n_gpus),
    }
    rows |= {f"run.{name}": chosen.figures[name] for name in _CHECKED if name in chosen.figures}
    return pd.DataFrame({"quantity": list(rows), "value": list(rows.values())})


def sizes_frame(match: RateMatch) -> pd.DataFrame:
    """Return what was tried: what was predicted for it, and what a run gave.

    Parameters
    ----------
    match : RateMatch
        From `match_rates`.

    Returns
    -------
    DataFrame
        A row for each pair of sizes, the proposal first; NaN where nothing was run.
    """
    return pd.DataFrame(
        [
            {
                "prefill_replicas": one.n_prefill,
                "decode_replicas": one.n_decode,
                "n_gpus": one.n_gpus,
                "predicted_ttft_p99_s": one.predicted_ttft_p99_s,
                "ttft_p99_s": one.figures.get("ttft_p99_s", math.nan),
                "predicted_tpot_s": one.predicted_tpot_s,
                "tpot_p50_s": one.figures.get("tpot_p50_s", math.nan),
                "is_met": one.is_met,
            }
            for one in match.tried
        ]
    )
