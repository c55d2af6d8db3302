"""Where the time of one measured row goes in the simulation of its scenario."""

import pandas as pd

from rackmoe.engine.run import run_engine
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.scenario.traffic import build_traffic
from rackmoe.streams import Streams
from rackmoe.study.validation.serving_rows import ServingRow, row_document

__all__ = ["explain_row"]


def explain_row(row: ServingRow, *, seed: int = 0) -> pd.DataFrame:
    """Return the mean parts of the steps of a row.

    Parameters
    ----------
    row : ServingRow
        The row.
    seed : int
        Seed of all random streams.

    Returns
    -------
    DataFrame
        One row for each pool and kind of step (``decode``, ``prompts``, ``mixed``): how many
        there were, mean sequences and prompt tokens, and mean seconds by part.
    """
    document = row_document(row)
    scenario = resolve_scenario(document, name=row.id)
    traffic = build_traffic(document, streams=Streams(seed))
    run = run_engine(
        scenario, requests=traffic.requests, is_measured=traffic.is_measured, seed=seed
    )
    steps = run.records.to_frame("steps")
    has_prompts, decodes = steps["n_prefill_tokens"] > 0, steps["n_sequences"] > 0
    kind = pd.Series("decode", index=steps.index)
    kind = kind.mask(has_prompts & ~decodes, "prompts").mask(has_prompts & decodes, "mixed")
    groups = steps.assign(kind=kind).groupby(["pool", "kind"], observed=True)
    parts = [name for name in steps.columns if name.endswith("_s") and name != "start_s"]
    means = groups[["n_sequences", "n_prefill_tokens", *parts, "imbalance"]].mean()
    means.insert(0, "n_steps", groups.size())
    return means.reset_index()
