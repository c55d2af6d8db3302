"""Proposed pool sizes as a table."""

import pandas as pd

from rackmoe.study.rate_matching import RateMatch

__all__ = ["rates_frame"]

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
        Names as elsewhere, in SI units; figures of the check have the prefix ``run``.
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
    rows |= {
        "prefill.replicas": float(match.n_prefill),
        "decode.replicas": float(match.n_decode),
        "n_gpus": float(match.n_gpus),
    }
    rows |= {f"run.{name}": match.figures[name] for name in _CHECKED if name in match.figures}
    return pd.DataFrame({"quantity": list(rows), "value": list(rows.values())})
