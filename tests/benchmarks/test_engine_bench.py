"""Cost of decode steps of DeepSeek-R1, whole and by stage, and how much faster they are than real.

`pytest tests/benchmarks/test_engine_bench.py --benchmark-enable -q` prints the ratios of
simulated to processor time. All 100 sequences of a rank decode; one that ends is replaced by a
request whose prompt is computed elsewhere.
"""

import sys
import time
from functools import cache

import numpy as np
import pytest
import simpy

from rackmoe.engine.assembly import build_replicas, plan_pool
from rackmoe.engine.client import ClosedLoopClient
from rackmoe.engine.clock import to_s
from rackmoe.engine.fabric_run import FabricRun
from rackmoe.engine.ledger import Ledger
from rackmoe.engine.micro_batches import whole_batch
from rackmoe.engine.rack import Rack
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.network.recurrence import layered_step
from rackmoe.records import Records
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.scenario.traffic import build_traffic
from rackmoe.streams import Streams

pytestmark = pytest.mark.benchmark(timer=time.process_time)

# sequences of a rank and tokens of the routing trace: to measure, and to see that it runs
MEASURED, TRIED = (100, 16_384), (4, 512)
PROMPT, OUTPUT = 1024, 1024
MACHINES = {
    "ep8": {
        "hardware": {"profile": "hgx_h200", "nodes": 1},
        "model": {"name": "deepseek-r1", "weights": "fp8"},
        "deployment": {"aggregated": {"ep": 8, "attention_dp": 8}},
    },
    "ep72": {
        "hardware": {"profile": "gb200_nvl72", "racks": 1},
        "model": {"name": "deepseek-r1", "weights": "nvfp4"},
        "deployment": {"aggregated": {"ep": 72, "attention_dp": 72, "redundant_experts": 32}},
        "experts": {"placement": "eplb"},
    },
}
SOURCES = ("replay", "block", "sampled")
WARM_UP_STEPS = 20
STEPS_PER_ROUND = 20
ROUNDS = 10


@cache
def scenario(group, source, size):
    """One replica that only decodes, in a closed loop in its stationary state."""
    per_rank, tokens = size
    n_sequences = per_rank * MACHINES[group]["deployment"]["aggregated"]["ep"]
    document = {
        "schema": "rackmoe/scenario/1",
        "title": "decode steps for the benchmark",
        "backend": "trtllm-2026h1",
        **MACHINES[group],
        "workload": {
            "arrivals": {"closed_loop": n_sequences},
            "lengths": {"input": PROMPT, "output": OUTPUT, "is_staggered": True},
            "routing": {"generator": "deepseek_chat", "source": source, "tokens": tokens},
            "requests": 8 * n_sequences,
            "is_prefilled": True,
        },
    }
    return resolve_scenario(ScenarioDocument.model_validate(document), name=f"{group}-{source}")


class Decoding:
    """A rack in the middle of a run, as `run_engine` builds it."""

    def __init__(self, group, source, size):
        case, streams = scenario(group, source, size), Streams(0)
        requests = build_traffic(case.document, streams=streams).requests
        self.env = simpy.Environment()
        self.records = Records()
        routing = RoutingInputs(case, streams=streams)
        self.plan = plan_pool(case, name="aggregated", routing=routing)
        ledger = Ledger(
            n_input_tokens=requests.input_tokens, n_output_tokens=requests.output_tokens
        )
        starts = self.plan.law.tokens.trace_starts
        if len(starts):
            chosen = streams.rng("trace rows").integers(0, len(starts), size=len(ledger))
            ledger.trace_row[:] = starts[chosen]
        fabric = FabricRun(self.env, scenario=case, plans=[self.plan])
        rack = Rack(
            self.env,
            ledger=ledger,
            links=fabric.kv,
            ended=self._ended,
            is_prefilled=True,
        )
        (self.replica,) = build_replicas(
            self.env, plans=[self.plan], ledger=ledger, steps=self.records.steps, hooks=rack
        )
        rack.install([self.replica])
        fabric.attach([self.replica], rack=rack, streams=streams)
        self.client = ClosedLoopClient(
            self.env,
            concurrency=case.document.workload.arrivals.closed_loop,
            ledger=ledger,
            submit=rack.submit,
        )
        self.run(WARM_UP_STEPS)

    def _ended(self, requests):
        self.client.ended(requests)

    def run(self, n_steps):
        end = len(self.records.steps) + n_steps
        while len(self.records.steps) < end:
            self.env.step()


decoding = cache(Decoding)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("group", MACHINES)
def test_whole_decode_steps(benchmark, capsys, group, source):
    size = TRIED if benchmark.disabled else MEASURED
    rack = decoding(group, source, size)
    before_s = to_s(rack.env.now)
    benchmark.pedantic(rack.run, args=(STEPS_PER_ROUND,), rounds=ROUNDS)
    took_s = to_s(rack.env.now) - before_s
    assert len(rack.replica.batcher.running) == size[0] * rack.plan.pool.ep
    if benchmark.disabled:
        return
    simulated_s, processor_s = took_s / ROUNDS, benchmark.stats.stats.median
    benchmark.extra_info["simulated_over_processor_s"] = simulated_s / processor_s
    with capsys.disabled():
        sys.stdout.write(
            f"\n{group} {source}: {simulated_s / STEPS_PER_ROUND * 1e3:.1f} ms a step, "
            f"{processor_s / STEPS_PER_ROUND * 1e6:.0f} us of processor time, "
            f"{simulated_s / processor_s:.1f}x real time\n"
        )


def stages(rack):
    """The parts of a step, each ready to be repeated without moving the clock."""
    law, batcher = rack.plan.law, rack.replica.batcher
    running, table = batcher.running, Records().steps
    batch = batcher.next_step()
    rows = batch.decode_tokens + batch.prefill_tokens
    (part,) = whole_batch(batch, running=running)
    routed = law.tokens.route(part)
    load = {"rows": rows, "chunks": None, "routed": routed}
    times, _ = law._times(batch, **load)
    tail_s = law._tail_s(batch)
    plan = law.plan(batch, running=running)
    row = {"replica": 0, "pool": rack.replica.pool, "start_s": 0.0, "duration_s": 0.02}
    work = {"chunks": None, "routed": routed, "logits": batch.decode_tokens}
    nothing = np.zeros(len(running), dtype=np.int64)

    def schedule():
        running.advance(nothing)
        batcher.next_step()

    return {
        "routing": lambda: law.tokens.route(part),
        "laws": lambda: law._times(batch, **load),
        "recurrence": lambda: layered_step(times, tail_s=tail_s),
        "work": lambda: law._work.total(batch, **work),
        "scheduler": schedule,
        "records": lambda: table.append_row(plan.row(**row)),
        "whole plan": lambda: law.plan(batch, running=running),
    }


@pytest.mark.parametrize(
    "stage",
    ["routing", "laws", "recurrence", "work", "scheduler", "records", "whole plan"],
)
@pytest.mark.parametrize("group", MACHINES)
def test_stage_of_a_decode_step(benchmark, group, stage):
    rack = decoding(group, "sampled", TRIED if benchmark.disabled else MEASURED)
    before = rack.replica.batcher.running.contexts.copy()
    benchmark(stages(rack)[stage])
    assert (rack.replica.batcher.running.contexts == before).all()
