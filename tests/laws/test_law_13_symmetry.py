"""LAW-13: relabeling experts with their placement, or symmetric GPUs, changes nothing."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MODELS, Case, Shape, build

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.routing.step import StepRouting
from rackmoe.serving.batching import PrefillChunk, StepBatch
from rackmoe.serving.running import RunningSequences
from rackmoe.streams import Streams

_N_GROUPS = 4
_BY_RANK = [field.name for field in fields(StepRouting) if field.name != "expert_counts"]


class Recorded:
    """A source that answers what it is told, for each of its ranks."""

    needs_rows = False
    span_domain = None
    spans = None
    provenance = "told"

    def __init__(self, placement, step):
        self.placement = placement
        self._step = step

    def begin(self):
        """Start."""

    def add(self, tokens_per_rank, *, phase, rows=None, row_rank=None):
        """Ignore the tokens."""

    def finish(self):
        return self._step


def planned(scenario, step, groups, prompts):
    """Return the plan of a step of sequences and prompts by group."""
    plan = plan_pool(
        scenario, name="aggregated", routing=RoutingInputs(scenario, streams=Streams(0))
    )
    plan.law.reroute(Recorded(plan.law.routing.placement, step))
    running = RunningSequences(n_groups=_N_GROUPS, block_tokens=1)
    for request, (group, context) in enumerate(groups):
        running.add(request, group=group, context=context, remaining=1, row=0)
    chunks = tuple(
        PrefillChunk(
            request=100 + group,
            group=group,
            n_tokens=n,
            past_tokens=3,
            is_first=False,
            is_last=True,
        )
        for group, n in prompts
    )
    tokens = np.zeros(_N_GROUPS, np.int64)
    for group, n in prompts:
        tokens[group] += n
    batch = StepBatch(
        decode_sequences=running.n_sequences.copy(),
        decode_kv_tokens=running.kv_tokens.copy(),
        decode_window_tokens=running.window_kv_tokens.copy(),
        prefill_tokens=tokens,
        chunks=chunks,
        preempted=(),
    )
    return plan.law.plan(batch, running=running)


@pytest.mark.parametrize("overlap", [False, True])
@settings(max_examples=15)
@given(
    model=st.sampled_from(sorted(MODELS)),
    groups=st.lists(
        st.tuples(st.integers(0, _N_GROUPS - 1), st.integers(1, 200)), min_size=2, max_size=12
    ),
    prompts=st.lists(st.tuples(st.integers(0, _N_GROUPS - 1), st.integers(1, 8)), max_size=3),
    order=st.permutations(range(_N_GROUPS)),
    seed=st.integers(0, 2**32),
)
def test_gpus_in_another_order_finish_in_that_order(
    small_files, overlap, model, groups, prompts, order, seed
):
    shape = Shape(attention_dp=_N_GROUPS, ep=_N_GROUPS, two_batch_overlap=overlap)
    scenario = build(Case(model=model, pools=(shape,), backend="trtllm-2026h1"), small_files)
    arch = scenario.arch
    rng = np.random.Generator(np.random.PCG64(seed))
    n_layers = len(arch.moe_layers)
    one = StepRouting.zeros(
        n_layers=n_layers, n_experts=arch.moe.n_routed_experts, n_ranks=_N_GROUPS
    )
    other = StepRouting.zeros(
        n_layers=n_layers, n_experts=arch.moe.n_routed_experts, n_ranks=_N_GROUPS
    )
    for name in _BY_RANK:
        values = rng.integers(0, 30, (n_layers, _N_GROUPS)).astype(float)
        getattr(one, name)[:] = values
        getattr(other, name)[:, list(order)] = values
    first = planned(scenario, one, groups, prompts)
    second = planned(
        scenario,
        other,
        [(order[group], context) for group, context in groups],
        [(order[group], n) for group, n in prompts],
    )
    assert second.duration_s == pytest.approx(first.duration_s, rel=1e-12)
    assert second.plan.end_s[list(order)] == pytest.approx(first.plan.end_s, rel=1e-12)
    assert second.parts_s == pytest.approx(first.parts_s, rel=1e-9, abs=1e-15)
    assert second.totals.hbm_bytes == pytest.approx(first.totals.hbm_bytes, rel=1e-12)
    assert second.totals.imbalance == pytest.approx(first.totals.imbalance, rel=1e-12)
