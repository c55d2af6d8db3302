from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rackmoe.study.validation import serving_run
from rackmoe.study.validation.serving_rows import ServingRow
from rackmoe.study.validation.serving_run import RowQuestion, row_question, simulate_row


def question_of(mode, *, users=0, stat="mean", prefill=0, decode=0):
    return RowQuestion(
        mode=mode,
        users=users,
        tpot_stat=stat,
        ttft_stat=stat,
        n_prefill_gpus=prefill,
        n_decode_gpus=decode,
    )


@pytest.fixture
def figures_of(monkeypatch):
    """Return the figures of tables that stand for a run."""

    def figures(question, *, requests, steps=None):
        tables = {"requests": pd.DataFrame(requests), "steps": pd.DataFrame(steps or {})}
        records = SimpleNamespace(to_frame=tables.__getitem__)
        n_requests = len(tables["requests"])
        asked = SimpleNamespace(input_tokens=np.ones(n_requests))
        traffic = SimpleNamespace(requests=_Sized(asked, n_requests), is_measured=None)
        monkeypatch.setattr(serving_run, "build_traffic", lambda *_, **__: traffic)
        monkeypatch.setattr(
            serving_run, "run_engine", lambda *_, **__: SimpleNamespace(records=records)
        )
        monkeypatch.setattr(serving_run, "row_features", lambda *_, **__: None)
        return simulate_row(SimpleNamespace(document=None), question=question)[0]

    return figures


class _Sized:
    def __init__(self, asked, size):
        self.input_tokens, self.size = asked.input_tokens, size

    def __len__(self):
        return self.size


REQUESTS = {
    "request_id": [0, 1, 2],
    "arrival_s": [0.0, 0.0, 0.0],
    "first_token_s": [1.0, 2.0, 6.0],
    "last_token_s": [2.0, 4.0, 10.0],
    "n_input_tokens": [100, 100, 100],
    "n_output_tokens": [11, 11, 11],
}


def test_a_row_asks_for_the_gpus_of_its_phase():
    cells = {"prefill_workers": "2", "prefill_tp": "4", "decode_workers": "1", "decode_tp": "8"}
    split = row_question(ServingRow(cells=cells | {"mode": "disagg", "arrival": "closed"}))
    assert (split.n_prefill_gpus, split.n_decode_gpus, split.n_gpus) == (8, 8, 16)
    prompts = row_question(ServingRow(cells=cells | {"mode": "prefill_only"}))
    assert (prompts.n_prefill_gpus, prompts.n_decode_gpus, prompts.n_gpus) == (8, 0, 8)


def test_a_batch_is_measured_from_its_first_arrival_to_its_last_token(figures_of):
    found = figures_of(question_of("agg", decode=2), requests=REQUESTS)
    # 0.1, 0.2 and 0.4 s per token; 33 tokens in 10 s on 2 GPUs
    assert found["tpot_ms"] == pytest.approx(700 / 3)
    assert found["ttft_ms"] == pytest.approx(3000)
    assert found["output_tokens_per_s_per_gpu"] == pytest.approx(1.65)
    assert found["total_tokens_per_s_per_gpu"] == pytest.approx(16.65)


def test_the_median_is_that_of_the_middle_request(figures_of):
    found = figures_of(question_of("agg", decode=2, stat="median"), requests=REQUESTS)
    assert found["tpot_ms"] == pytest.approx(200)
    assert found["ttft_ms"] == pytest.approx(2000)


def test_a_saturated_prefill_counts_full_steps_alone(figures_of):
    steps = {"n_prefill_tokens": [1000, 1000, 100], "duration_s": [0.5, 1.5, 9.0]}
    found = figures_of(question_of("prefill_only", prefill=4), requests=REQUESTS, steps=steps)
    assert found["input_tokens_per_s_per_prefill_gpu"] == pytest.approx(250)
    assert found["tpot_ms"] is None


def test_a_saturated_decode_counts_the_steps_while_its_loop_is_full(figures_of):
    steps = {
        "start_s": [0.0, 2.0, 4.0, 10.0],
        "duration_s": [2.0, 2.0, 2.0, 5.0],
        "n_decode_tokens": [1, 40, 40, 3],
        "n_sequences": [1, 20, 20, 3],
    }
    requests = REQUESTS | {"arrival_s": [0.0, 1.0, 10.0]}
    found = figures_of(question_of("decode_only", decode=4), requests=requests, steps=steps)
    # steps two and three: 80 tokens in 4 s on 4 GPUs, two tokens of a user in 2 s
    assert found["output_tokens_per_s_per_decode_gpu"] == pytest.approx(5)
    assert found["tpot_ms"] == pytest.approx(1000)
