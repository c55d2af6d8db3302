"""One replica on the clock, with steps of round durations."""

# ruff: noqa: ARG002  fakes take what the real ones take

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import simpy

from rackmoe.engine.clock import PICOSECONDS_PER_S, to_s
from rackmoe.engine.ledger import NEVER, Ledger
from rackmoe.engine.planned import PlannedStep, StepTotals
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.replica import Replica
from rackmoe.network.recurrence import LayerTimes, layered_step
from rackmoe.network.slowdown import Slowdown
from rackmoe.records import Pool, Records
from rackmoe.serving.batching import BatchLimits, BatchPolicy
from rackmoe.serving.prefix_cache import PrefixCache
from rackmoe.serving.prefixes import PrefixBlocks


def planned(batch, slowdown=None):
    """A step that takes 1 s for each prompt token and 0.5 s for each sequence."""
    seconds = batch.prefill_tokens.sum() + 0.5 * batch.decode_sequences.sum()
    times = LayerTimes(
        pre_s=np.full((1, 1), float(seconds)),
        shared_s=np.zeros((1, 1)),
        expert_s=np.zeros((1, 1)),
        dispatch=None,
        combine=None,
    )
    plan = layered_step(times, tail_s=np.zeros(1), slowdown=slowdown)
    return PlannedStep(
        times=(times,),
        plan=plan,
        parts_s=plan.parts_s.mean(axis=1),
        totals=StepTotals(
            by_peak_flop=np.zeros(3),
            hbm_bytes=0.0,
            scale_up_bytes=0.0,
            scale_out_bytes=0.0,
            attention_s=0.0,
            imbalance=1.0,
        ),
        host_step_s=0.0,
        host_gap_s=0.0,
        batch=batch,
    )


@dataclass
class Law:
    shape: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(n_gpus=1))
    experts: None = None
    planned: int = 0

    def plan(self, batch, *, running, slowdown=None, tier=None):
        self.planned += 1
        return planned(batch, slowdown)


class Hooks:
    """Decode on in the same replica, and note what ends."""

    def __init__(self):
        self.left, self.preempted = [], []

    def prompt_done(self, replica, *, chunk):
        ledger, now = replica.ledger, replica.env.now
        ledger.first_token[chunk.request] = now
        if ledger.remaining[chunk.request]:
            replica.join(chunk.request, group=chunk.group)

    def sequences_left(self, replica, *, requests):
        self.left.append((to_s(replica.env.now), requests.tolist()))

    def sequence_preempted(self, replica, *, victim):
        self.preempted.append(victim.request)


class Seen(Replica):
    """A replica that lets its hooks see ledger and clock."""

    def __init__(self, env, *, ledger, **rest):
        self.env, self.ledger = env, ledger
        super().__init__(env, ledger=ledger, **rest)


class World:
    def __init__(self, *, inputs, outputs, tolerance=0.0, **limits):
        self.env = simpy.Environment(initial_time=0)
        self.ledger = Ledger(n_input_tokens=np.array(inputs), n_output_tokens=np.array(outputs))
        self.records, self.hooks, self.law = Records(), Hooks(), Law()
        values = {
            "n_groups": 1,
            "max_sequences": 8,
            "max_tokens_per_step": 4,
            "kv_blocks": 100,
            "block_tokens": 1,
        }
        plan = PoolPlan(
            role=Pool.AGGREGATED,
            pool=SimpleNamespace(tp=1, cp=1),
            limits=BatchLimits(**(values | limits)),
            memory=None,
            law=self.law,
            step_tolerance_frac=tolerance,
        )
        self.replica = Seen(
            self.env,
            index=3,
            plan=plan,
            first_gpu=0,
            ledger=self.ledger,
            steps=self.records.steps,
            hooks=self.hooks,
        )

    @property
    def steps(self):
        return self.records.to_frame("steps")


def test_steps_follow_each_other_until_all_is_done():
    world = World(inputs=[6], outputs=[3])
    world.replica.enqueue(0, n_tokens=6)
    world.env.run()
    steps = world.steps
    # 4 and 2 tokens of the prompt, then two more tokens
    assert steps["duration_s"].tolist() == [4.0, 2.0, 0.5, 0.5]
    assert steps["start_s"].tolist() == [0.0, 4.0, 6.0, 6.5]
    assert steps["n_prefill_tokens"].tolist() == [4, 2, 0, 0]
    assert steps["n_decode_tokens"].tolist() == [0, 0, 1, 1]
    assert set(steps["replica"]) == {3}
    assert world.hooks.left == [(7.0, [0])]
    ledger = world.ledger
    assert ledger.scheduled[0] == 0
    assert ledger.prefill_end[0] == ledger.first_token[0] == 6 * PICOSECONDS_PER_S
    assert ledger.last_token[0] == 7 * PICOSECONDS_PER_S
    assert ledger.remaining[0] == 0


def test_an_idle_replica_starts_when_work_comes():
    world = World(inputs=[2], outputs=[1])

    def later():
        yield world.env.timeout(5 * PICOSECONDS_PER_S)
        world.replica.enqueue(0, n_tokens=2)

    world.env.process(later())
    world.env.run()
    assert world.steps["start_s"].tolist() == [5.0]
    world.replica.wake()
    world.env.run()
    assert len(world.steps) == 1


def test_a_request_that_arrives_during_a_step_gets_no_token_from_it():
    world = World(inputs=[2, 5], outputs=[9, 3])
    world.replica.enqueue(0, n_tokens=2)
    group = world.replica.batcher.reserve(5)
    world.ledger.remaining[1] = 2
    world.ledger.first_token[1] = 0

    def arrive():
        yield world.env.timeout(PICOSECONDS_PER_S // 4)
        world.replica.join(1, group=group)

    world.env.process(arrive())
    world.env.run()
    assert (world.ledger.decode_replica[1], world.ledger.decode_rank[1]) == (3, 0)
    # the prompt step ends at 2 s, then two steps of both
    assert world.hooks.left[0] == (4.0, [1])
    assert world.steps["n_decode_tokens"].tolist()[:4] == [0, 2, 2, 1]


def test_a_slowdown_in_the_middle_stretches_what_is_left_and_then_ends():
    world = World(inputs=[4], outputs=[2])
    world.replica.enqueue(0, n_tokens=4)

    def change():
        yield world.env.timeout(PICOSECONDS_PER_S)
        world.replica.slow_down(Slowdown.steady(1, compute=2.0))
        yield world.env.timeout(2 * PICOSECONDS_PER_S)
        world.replica.slow_down(None)

    world.env.process(change())
    world.env.run()
    # 1 s of work in the first second, 1 s in the next two, 2 s at full speed
    assert world.steps["duration_s"].tolist() == [5.0, 0.5]


def test_a_steady_slowdown_applies_to_the_next_steps():
    world = World(inputs=[2], outputs=[2])
    world.replica.slow_down(Slowdown.steady(1, compute=3.0))
    world.replica.enqueue(0, n_tokens=2)
    world.env.run()
    assert world.steps["duration_s"].tolist() == [6.0, 1.5]


def test_losing_all_memory_makes_no_step():
    world = World(inputs=[4], outputs=[9], kv_blocks=4, policy=BatchPolicy.PREFILL_FIRST)
    world.replica.enqueue(0, n_tokens=4)
    world.env.run()
    assert world.hooks.preempted == [0]
    assert world.steps["duration_s"].tolist() == [4.0]


def test_settling_brings_the_ledger_up_to_date():
    world = World(inputs=[1, 9], outputs=[9, 5])
    world.replica.enqueue(0, n_tokens=1)
    world.env.run(until=int(2.2 * PICOSECONDS_PER_S))
    group = world.replica.batcher.reserve(9)
    world.ledger.first_token[1] = world.env.now
    world.ledger.remaining[1] = 4
    world.replica.join(1, group=group)
    world.replica.settle()
    # the prompt ended at 1 s, steps at 1.5 and 2 s
    assert world.ledger.remaining.tolist() == [6, 4]
    assert world.ledger.last_token.tolist() == [2 * PICOSECONDS_PER_S, world.env.now]
    assert world.ledger.first_token[0] == PICOSECONDS_PER_S


@pytest.mark.parametrize(("tolerance", "n_plans"), [(0.0, 9), (0.5, 4)])
def test_alike_decode_steps_share_a_plan(tolerance, n_plans):
    world = World(inputs=[4], outputs=[9], tolerance=tolerance)
    world.replica.enqueue(0, n_tokens=4)
    world.env.run()
    # cached tokens from 4 on: 4 stands for 5 and 6, 7 for 8 to 10, 11 for the rest
    assert world.law.planned == n_plans
    assert len(world.steps) == 9
    assert world.steps["n_decode_tokens"].tolist() == [0] + [1] * 8


def test_records_of_an_unserved_replica_are_empty():
    world = World(inputs=[1], outputs=[1])
    world.env.run()
    world.replica.settle()
    assert world.steps.empty
    assert world.ledger.last_token[0] == NEVER


def test_a_failure_empties_the_prefix_cache_and_later_prompts_fill_it_again():
    # three prompts of the same four blocks of one token
    blocks = PrefixBlocks(offsets=np.arange(4) * 4, ids=np.tile(np.arange(4), 3), block_tokens=1)
    world = World(inputs=[4, 4, 4], outputs=[1, 1, 1])
    replica = world.replica
    replica.remember_prompts(lambda: PrefixCache(blocks, n_groups=1))
    replica.enqueue(0, n_tokens=4)
    world.env.run()
    assert replica.batcher.cache.n_stored_blocks == 4
    assert replica.fail() == []
    assert replica.batcher.cache.n_stored_blocks == 0
    world.env.run()
    replica.repair()
    for request in (1, 2):
        replica.enqueue(request, n_tokens=4)
        world.env.run()
    # the first one after the failure finds nothing; of the next all but the last token is there
    assert world.ledger.n_cached_tokens.tolist() == [0, 0, 3]
    assert world.steps["n_prefill_tokens"].tolist() == [4, 4, 1]
