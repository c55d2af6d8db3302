"""Small runs frozen as CSV: `pytest --update-golden` writes them anew, and the laws hold on each.

A change of these files belongs with an entry in the change log: what was, what is, and why.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from strategies import Case, Shape, run

from rackmoe.metrics.checks import check_power, check_requests, check_steps

FOLDER = Path(__file__).parent
TABLES = ("requests", "steps", "power")
# float64 powers and logarithms differ by an ulp between processors
TOLERANCE = 1e-9

CASES = {
    "one_gpu": Case(arrivals=("poisson", "20000 /s"), requests=10),
    "expert_parallel": Case(
        pools=(Shape(attention_dp=4, ep=4, redundant_experts=4),),
        arrivals=("closed_loop", 6),
        requests=12,
        routing="uniform",
    ),
    "split_pools_fitted": Case(
        backend="trtllm-2026h1",
        pools=(Shape(attention_dp=2, ep=2), Shape(tp=2, attention_dp=2, ep=4, replicas=2)),
        arrivals=("poisson", "1000 /s"),
        requests=12,
    ),
    "little_memory": Case(
        model="grouped",
        policy="prefill_first",
        group_choice="round_robin",
        pools=(Shape(attention_dp=2, ep=2),),
        kv_tokens=100,
        lengths=(40, 20),
        requests=10,
    ),
    "windows": Case(
        model="windowed",
        pools=(Shape(tp=2),),
        group_choice="least_kv",
        max_tokens=32,
        lengths=(60, 10),
        requests=6,
    ),
    "two_batches": Case(
        model="alternate",
        pools=(Shape(attention_dp=4, ep=4, two_batch_overlap=True),),
        max_batch=8,
        lengths=(20, 8),
        requests=24,
    ),
}


def frames(result):
    """Return the tables of a run that are frozen."""
    figures = result.summary
    summary = pd.DataFrame({"metric": list(figures), "value": list(figures.values())})
    return {"summary": summary} | {name: result.to_frame(name) for name in TABLES}


@pytest.mark.parametrize("name", CASES)
def test_run_is_the_frozen_one(small_files, request, name):
    folder = FOLDER / name
    tables = frames(run(CASES[name], small_files))
    if request.config.getoption("--update-golden"):
        folder.mkdir(exist_ok=True)
        for table, frame in tables.items():
            frame.to_csv(folder / f"{table}.csv", index=False, float_format="%.12g")
    for table, frame in tables.items():
        frozen = pd.read_csv(folder / f"{table}.csv")
        assert list(frozen.columns) == list(frame.columns), table
        assert len(frozen) == len(frame), table
        for column in frame.columns:
            now, then = frame[column], frozen[column]
            if isinstance(now.dtype, pd.CategoricalDtype) or now.dtype.kind in "iO":
                assert now.astype(then.dtype).tolist() == then.tolist(), (table, column)
            else:
                assert now.to_numpy() == pytest.approx(
                    then.to_numpy(), rel=TOLERANCE, abs=1e-15, nan_ok=True
                ), (table, column)


@pytest.mark.parametrize("name", CASES)
def test_laws_hold_on_the_frozen_run(small_files, name):
    case = CASES[name]
    result = run(case, small_files)
    requests, steps = result.to_frame("requests"), result.to_frame("steps")
    check_requests(requests, n_arrived=case.requests)
    check_steps(steps)
    check_power(result.to_frame("power"))
    assert (requests["state"] == "done").all()
    experts = result.to_frame("experts").groupby("layer")["n_assignments"].sum()
    n_tokens = (steps["n_decode_tokens"] + steps["n_prefill_tokens"]).sum()
    assert (experts == n_tokens * result.scenario.arch.moe.top_k).all()
    assert (np.diff(requests[["arrival_s", "first_token_s", "last_token_s"]], axis=1) >= 0).all()


def test_the_case_with_little_memory_preempts(small_files):
    requests = run(CASES["little_memory"], small_files).to_frame("requests")
    assert requests["n_preemptions"].sum() > 0
