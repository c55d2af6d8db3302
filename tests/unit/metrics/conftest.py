from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from rackmoe.records import BREAKDOWN_COLUMNS, Pool, Records, State

Frame = Callable[..., pd.DataFrame]


@pytest.fixture(scope="session")
def make_requests() -> Frame:
    """Build a request frame from columns; what is not given is a plain finished request."""

    def make(**columns: object) -> pd.DataFrame:
        n_requests = max(np.size(values) for values in columns.values())
        given = {name: np.asarray(values, float) for name, values in columns.items()}
        arrival_s = given.get("arrival_s", np.zeros(n_requests))
        first_s = given.get("first_token_s", arrival_s + 1)
        row = {
            "request_id": np.arange(n_requests),
            "arrival_s": arrival_s,
            "scheduled_s": arrival_s,
            "prefill_end_s": first_s,
            "transfer_end_s": np.nan,
            "first_token_s": first_s,
            "last_token_s": first_s + 1,
            "n_input_tokens": 100,
            "n_output_tokens": 11,
            "n_preemptions": 0,
            "prefill_replica": 0,
            "decode_replica": 0,
            "decode_rank": 0,
            "state": State.DONE,
            "n_cached_tokens": 0,
            "application": 0,
        }
        records = Records()
        records.requests.append_columns(row | given)
        return records.to_frame("requests")

    return make


@pytest.fixture(scope="session")
def make_steps() -> Frame:
    """Build a step frame from columns; what is not given is a decode step of four sequences."""

    def make(**columns: object) -> pd.DataFrame:
        given = {name: np.asarray(values, float) for name, values in columns.items()}
        duration_s = given["duration_s"]
        row: dict[str, object] = {
            "replica": 0,
            "pool": Pool.DECODE,
            "gpu_busy_s": duration_s,
            "n_decode_tokens": given.get("n_sequences", 4),
            "n_prefill_tokens": 0,
            "n_sequences": 4,
            **dict.fromkeys(BREAKDOWN_COLUMNS, 0.0),
            "attention_s": duration_s,
            "flop": 0.0,
            "bf16_flop": 0.0,
            "fp8_flop": 0.0,
            "fp4_flop": 0.0,
            "hbm_bytes": 0.0,
            "scale_up_bytes": 0.0,
            "scale_out_bytes": 0.0,
            "imbalance": 1.0,
        }
        records = Records()
        records.steps.append_columns(row | given)
        return records.to_frame("steps")

    return make
