"""Results and outcomes that no run has made, for tables, files and commands."""

# ruff: noqa: PLC0415  heavy modules are loaded only for the tests that ask for them

import numpy as np
import pandas as pd
import pytest

TINY = """\
schema: rackmoe/scenario/1
title: tiny
hardware: {profile: hgx_h200, nodes: 1}
model: {name: gpt-oss-20b}
backend: ideal
deployment: {aggregated: {ep: 4, attention_dp: 4}}
workload:
  arrivals: {closed_loop: 2}
  lengths: {input: 64, output: 8}
  requests: 4
slo: {tpot: 20 ms}
"""


@pytest.fixture(scope="session")
def tiny_text():
    """Return the text of a scenario that runs in a second."""
    return TINY


@pytest.fixture(scope="session")
def tiny_scenario():
    from rackmoe.scenario.document import ScenarioDocument
    from rackmoe.scenario.resolved import resolve_scenario
    from rackmoe.schema.documents import parse_document

    document = parse_document(TINY, model=ScenarioDocument, place="tiny.yaml")
    return resolve_scenario(document, name="tiny")


def fill_records(records):
    """Write two requests and two steps, each worked by hand."""
    from rackmoe.records import Pool, State, Tier

    done, running = State.DONE, State.RUNNING
    records.requests.append_row((0, 0.0, 0.1, 0.3, 0.4, 0.5, 1.5, 64, 11, 0, 0, 1, 0, done, 0, 0))
    records.requests.append_row(
        (1, 0.2, 0.3, 0.5, 0.6, np.nan, np.nan, 64, 0, 0, 0, 1, 1, running, 0, 0)
    )
    for pool, start, n_prefill, n_decode in ((Pool.PREFILL, 0.1, 64, 0), (Pool.DECODE, 0.5, 0, 2)):
        parts = (0.04, 0.06, 0.01, 0.02, 0.03, 0.0, 0.01, 0.02, 0.01, 0.0)
        work = (1e12, 1e12, 0.0, 0.0, 1e9, 1e6, 0.0, 1.25)
        replica = 0 if pool is Pool.PREFILL else 1
        row = (replica, pool, start, 0.2, 0.19, n_decode, n_prefill, n_decode, *parts, *work)
        records.steps.append_row(row)
    records.links.append_row(
        (
            0,
            0,
            Tier.SCALE_UP,
            0,
            450e9,
            1e6,
            1e6,
            2e6,
            0.0,
            0.0,
            0.0,
            1e-6,
            1e-5,
            0.1,
            0.1,
            0.0,
            0.0,
            0.0,
        )
    )
    for expert, count in ((0, 30), (1, 10)):
        records.experts.append_row((3, expert, expert, 0, count))
    records.power.append_row((0, 0.0, 1.0, 5000.0, 900.0, 5600.0, 5000.0))


@pytest.fixture(scope="session")
def make_result(tiny_scenario):
    """Return a function that makes a result by hand, with changed figures if asked."""
    from rackmoe.engine.run import EngineRun
    from rackmoe.metrics.window import Window
    from rackmoe.records import Records
    from rackmoe.simulation import Result

    def make(*, seed=0, **figures):
        records = Records()
        fill_records(records)
        run = EngineRun(
            records=records,
            plans=(),
            replica_pools=(0, 1),
            n_arrived=2,
            n_unfinished=1,
            end_s=2.0,
            warnings=(),
        )
        summary = {
            "output_tokens_per_s_per_gpu": 100.0,
            "ttft_p50_s": 0.5,
            "tpot_p99_s": float("nan"),
            "n_requests": 2,
            "n_done": 1,
            "slo_met_frac": 0.5,
        } | figures
        return Result(
            scenario=tiny_scenario,
            seed=seed,
            summary=summary,
            warnings=("a warning",),
            provenance={"traffic": "closed loop of 2 requests"},
            window=Window(start_s=0.0, end_s=2.0),
            run=run,
        )

    return make


@pytest.fixture(scope="session")
def make_outcome():
    """Return a function that makes an outcome by hand."""
    from rackmoe.report.outcome import Outcome

    def make(name="base", *, machine="hgx_h200", pool="decode", seed=0, **figures):
        breakdown = pd.DataFrame(
            {
                "pool": [pool] * 3,
                "part": ["attention", "expert", "other"],
                "time_per_step_s": [0.002, 0.006, -1e-19],
            }
        )
        latencies = pd.DataFrame(
            {"ttft_s": [0.1, 0.2, 0.4], "tpot_s": [0.02, 0.03, np.nan], "e2e_s": [1.0, 2.0, 3.0]}
        )
        loads = pd.DataFrame([[1.5, 0.5], [1.0, 1.0]], index=[3, 4], columns=[0, 1])
        summary = {
            "output_tokens_per_s_per_gpu": 200.0,
            "interactivity_p50_tokens_per_s": 50.0,
            "ttft_p50_s": 0.2,
            "it_power_w": 10_000.0,
            "slo_met_frac": 1.0,
            "stepping_frac": 0.9,
        } | figures
        return Outcome(
            name=name,
            title="A title",
            seed=seed,
            machine=machine,
            machine_title=f"NVIDIA {machine}",
            n_gpus=8,
            summary=summary,
            warnings=(f"warning of {name}",),
            provenance={"traffic": "generated"},
            breakdown=breakdown,
            latencies=latencies,
            expert_loads=loads,
        )

    return make
