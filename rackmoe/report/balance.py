"""The settings of a study of balance as a table."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from rackmoe.study.balance import BalanceRow

__all__ = ["balance_frame"]


def balance_frame(rows: Sequence[BalanceRow]) -> pd.DataFrame:
    """Return a row for each setting.

    Parameters
    ----------
    rows : sequence of BalanceRow
        From `study_balance`; the first is the base.

    Returns
    -------
    DataFrame
        ``speedup`` is the throughput over that of the first row.
    """
    frame = pd.DataFrame([asdict(row) for row in rows])
    base = frame["output_tokens_per_s_per_gpu"].iloc[0]
    at = list(frame.columns).index("output_tokens_per_s_per_gpu")
    frame.insert(at + 1, "speedup", frame["output_tokens_per_s_per_gpu"] / base)
    if not frame["problem"].any():
        frame = frame.drop(columns="problem")
    return frame
