"""How a step is put together, with parts of round durations."""

# ruff: noqa: ARG002  fakes take what the real ones take

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from strategies import write_model

from rackmoe.backend.profile import load_backend
from rackmoe.engine.pair_traffic import PairTraffic
from rackmoe.engine.step import ReplicaShape, StepLaw, StepSchedule
from rackmoe.model.config import load_model
from rackmoe.model.costs import Work
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.traffic import PortTimes
from rackmoe.records import Records
from rackmoe.routing.balanced import BalancedSource
from rackmoe.routing.placement import Placement, contiguous
from rackmoe.serving.batching import PrefillChunk, StepBatch
from rackmoe.serving.running import RunningSequences

NOTHING = Work(tensor_flop=0.0, hbm_bytes=0.0)


class Table:
    """So many seconds for each row."""

    def __init__(self, row_s):
        self._row_s = row_s

    def time_s(self, rows):
        return self._row_s * np.asarray(rows, np.float64)

    def beside_s(self, rows):
        return self.time_s(rows)

    def work(self, rows):
        return NOTHING


class Dense:
    """Attention groups whose parts take 1, 10, 100 ... seconds for a row."""

    kv_dtype = "bf16"

    def __init__(self, arch):
        windows = sorted(set(arch.layers.windows), key=str)
        self.class_of_layer = tuple(windows.index(w) for w in arch.layers.windows)
        self._n_classes = len(windows)
        self.dense, self.shared = Table(100.0), Table(1000.0)
        self.router, self.head = Table(1e4), Table(1e5)

    def chunks(self, batch):
        tokens = batch.prefill_tokens
        if not batch.chunks:
            return None
        pairs = np.zeros((self._n_classes, len(tokens)))
        return SimpleNamespace(tokens=tokens, kv_tokens=tokens, pairs=pairs, n_chunks=tokens)

    def attention_time_s(self, batch, *, chunks):
        rows = batch.decode_sequences + batch.prefill_tokens
        return np.outer(np.arange(1, self._n_classes + 1), rows).astype(float)

    def projection_time_s(self, batch, *, chunks):
        return 10.0 * (batch.decode_sequences + batch.prefill_tokens)

    def projection_work(self, batch, *, chunks):
        return NOTHING

    def score_work(self, batch, *, chunks):
        return NOTHING


class Laws:
    """One microsecond for each assignment; a shape that was asked for is kept."""

    def __init__(self):
        self.asked = {}

    def grouped_gemm_time_s(self, assignments, **shape):
        self.asked = shape
        return np.asarray(assignments) * 1e-6


class Exchanges:
    """No reductions, no exchanges, unless told."""

    traffic = PairTraffic(None, n_ranks=1, domain_ranks=1)

    def __init__(self, times=(None, None), reduce_s=0.0):
        self._times, self._reduce_s = times, reduce_s

    def group_reduce_s(self, rows):
        return np.full(len(rows), self._reduce_s)

    def expert_exchanges(self, routed, *, tokens):
        return self._times

    def sent_bytes(self, routed, *, tokens):
        return float(np.sum(tokens)), 2.0

    def port_bytes(self, routed, *, tokens):
        return np.ones((4, 1))


def host_times(**given):
    host = load_backend("ideal").host
    return host.model_copy(
        update={
            name: getattr(host, name).model_copy(update={"value": value})
            for name, value in given.items()
        }
    )


def schedule(*, is_two_batch=False, n_drafts=0, **host):
    return StepSchedule(host=host_times(**host), is_two_batch=is_two_batch, n_drafts=n_drafts)


def step_law(small_files, name, *, tp=1, n_groups=1, ep=1, redundant=0, **changes):
    arch = load_model(write_model(name, small_files))
    moe = arch.moe
    place = contiguous(
        moe.n_routed_experts, n_layers=len(arch.moe_layers), n_ranks=ep, n_redundant=redundant
    )
    values = {
        "shape": ReplicaShape(
            tp=tp, n_groups=n_groups, is_expert_parallel=ep > 1 or tp * n_groups == 1
        ),
        "laws": Laws(),
        "dense": Dense(arch),
        "routing": BalancedSource(place, top_k=moe.top_k),
        "exchanges": Exchanges(),
        "schedule": schedule(),
    }
    return StepLaw(arch, **(values | changes))


def decoding(*sequences, n_groups=1):
    """Return a step of sequences of one token, each in the group of its number."""
    running = RunningSequences(n_groups=n_groups, block_tokens=1)
    for request, group in enumerate(sequences):
        running.add(request, group=group, context=1, remaining=1, row=0)
    zeros = np.zeros(n_groups, np.int64)
    batch = StepBatch(
        decode_sequences=running.n_sequences.copy(),
        decode_kv_tokens=running.kv_tokens.copy(),
        decode_window_tokens=zeros,
        prefill_tokens=zeros,
        chunks=(),
        preempted=(),
    )
    return batch, running


def plan_of(law, step, **changes):
    batch, running = step
    return law.plan(batch, running=running, **changes)


def test_layers_before_an_expert_layer_are_folded_into_it(small_files):
    # layer 0 is dense, 1 to 3 have experts: attention 1 s, projections 10, dense 100, router 1e4
    law = step_law(small_files, "latent")
    (times,) = plan_of(law, decoding(0)).times
    assert times.pre_s[:, 0].tolist() == [2 * 11 + 100 + 1e4, 11 + 1e4, 11 + 1e4]
    assert times.shared_s[:, 0].tolist() == [1000.0] * 3
    assert times.expert_s[:, 0] == pytest.approx([4e-6] * 3)
    assert times.dispatch is None


def test_alternate_expert_layers_take_their_dense_neighbors_along(small_files):
    # layers 1 and 3 have experts; chunked layers take 1 s, the last one sees all: 2 s
    law = step_law(small_files, "alternate")
    plan = plan_of(law, decoding(0))
    (times,) = plan.times
    arch = load_model(write_model("alternate", small_files))
    assert arch.moe_layers == (1, 3)
    classes = [1 + sorted(set(arch.layers.windows), key=str).index(w) for w in arch.layers.windows]
    first, second = sum(classes[:2]), sum(classes[2:])
    assert times.pre_s[:, 0].tolist() == [first + 20 + 100 + 1e4, second + 20 + 100 + 1e4]
    assert plan.totals.attention_s == sum(classes)


def test_layers_after_the_last_experts_are_folded_into_them(small_files):
    arch = load_model(write_model("latent", small_files))
    layers = replace(arch.layers, is_moe=(True, False, True, False))
    mixed = replace(arch, layers=layers)
    place = contiguous(16, n_layers=2, n_ranks=1)
    template = step_law(small_files, "latent")
    law = StepLaw(
        mixed,
        shape=template.shape,
        laws=Laws(),
        dense=Dense(mixed),
        routing=BalancedSource(place, top_k=4),
        exchanges=Exchanges(),
        schedule=schedule(),
    )
    (times,) = plan_of(law, decoding(0)).times
    assert times.pre_s[:, 0].tolist() == [11 + 1e4, 3 * 11 + 2 * 100 + 1e4]


def test_only_last_chunks_and_sequences_need_the_head(small_files):
    law = step_law(small_files, "grouped")
    batch, running = decoding(0)
    chunks = tuple(
        PrefillChunk(request=9, group=0, n_tokens=3, past_tokens=0, is_first=True, is_last=is_last)
        for is_last in (True, False)
    )
    with_prompts = replace(batch, prefill_tokens=np.array([6]), chunks=chunks)
    plan = law.plan(with_prompts, running=running)
    assert plan.plan.tail_s.tolist() == [2e5]
    (times,) = plan.times
    # 7 rows: attention 1 s, projections 10, router 1e4 for each
    assert times.pre_s[:, 0].tolist() == [7 * (1 + 10 + 1e4)] * 3


def test_reductions_follow_attention_and_dense_parts(small_files):
    law = step_law(small_files, "latent", tp=2, exchanges=Exchanges(reduce_s=0.5))
    (times,) = plan_of(law, decoding(0)).times
    assert times.pre_s[:, 0] == pytest.approx([10122 + 3 * 0.5, 10011 + 0.5, 10011 + 0.5])
    assert times.pre_s.shape == (3, 2)
    assert (times.pre_s[:, 0] == times.pre_s[:, 1]).all()


def test_split_experts_are_as_wide_as_their_share(small_files):
    law = step_law(small_files, "latent", tp=3)
    (times,) = plan_of(law, decoding(0)).times
    # 128 columns over 3 ranks
    assert law._laws.asked["inter"] == 43
    assert law._laws.asked["n_local_experts"] == 16
    assert times.expert_s.shape == (3, 3)
    assert times.expert_s == pytest.approx(4e-6)


def test_whole_experts_get_the_assignments_of_their_rank(small_files):
    law = step_law(small_files, "latent", n_groups=2, ep=2)
    (times,) = plan_of(law, decoding(0, 0, 0, 1, n_groups=2)).times
    assert law._laws.asked["inter"] == 128
    assert law._laws.asked["n_local_experts"] == 8
    assert times.expert_s == pytest.approx(8e-6)
    # attention follows the own sequences
    assert times.pre_s[1].tolist() == [3 * 10011, 10011]


def test_the_host_sets_the_pace_and_the_gap(small_files):
    law = step_law(small_files, "latent", schedule=schedule(step_s=1e9, gap_s=2.0))
    assert plan_of(law, decoding(0)).duration_s == 1e9 + 2


def test_where_the_time_went_sums_up(small_files):
    exchange = PortTimes(
        egress_s=np.full((3, 2), 7.0), ingress_s=np.full((3, 2), 7.0), latency_s=1.0
    )
    exchanges = Exchanges((exchange, exchange))
    for overlap in (False, True):
        law = step_law(
            small_files,
            "latent",
            n_groups=2,
            ep=2,
            exchanges=exchanges,
            schedule=schedule(is_two_batch=overlap),
        )
        plan = plan_of(law, decoding(0, 0, 1, 1, n_groups=2))
        assert plan.parts_s.sum() == pytest.approx(plan.plan.end_s.mean())
        assert (plan.parts_s >= 0).all()
        assert len(plan.times) == 1 + overlap


def test_two_micro_batches_ask_for_both_halves(small_files):
    law = step_law(small_files, "latent", n_groups=2, ep=2, schedule=schedule(is_two_batch=True))
    plan = plan_of(law, decoding(0, 1, 0, 1, 0, n_groups=2))
    first, second = plan.times
    assert first.pre_s[1].tolist() == [2 * 10011, 10011]
    assert second.pre_s[1].tolist() == [10011, 10011]
    assert plan.totals.scale_up_bytes == 5.0
    assert plan.totals.scale_out_bytes == 4.0
    assert law.experts.total.sum(axis=1).tolist() == [5 * 4] * 3


def test_slow_ranks_finish_later(small_files):
    law = step_law(small_files, "latent", n_groups=2, ep=2)
    slow = Slowdown.steady(2, compute=np.array([1.0, 2.0]))
    plan = plan_of(law, decoding(0, 1, n_groups=2), slowdown=slow)
    assert plan.plan.end_s[1] == pytest.approx(2 * plan.plan.end_s[0])


def test_every_assignment_of_a_copied_expert_is_written(small_files):
    slots = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 0, 0]] * 3)
    place = Placement.from_slots(slots, n_experts=8, n_ranks=2)
    law = step_law(
        small_files,
        "grouped",
        n_groups=2,
        ep=2,
        redundant=2,
        routing=BalancedSource(place, top_k=2),
    )
    plan_of(law, decoding(*[0] * 20, n_groups=2))
    records = Records()
    law.experts.write(records.experts)
    frame = records.to_frame("experts")
    assert frame["layer"].unique().tolist() == [0, 1, 2]
    layer = frame[frame["layer"] == 1]
    # 40 assignments, 5 for each expert; the three copies of expert 0 share its 5
    assert layer["n_assignments"].tolist() == [2, 5, 5, 5, 5, 5, 5, 5, 2, 1]
    assert layer["rank"].tolist() == [0] * 5 + [1] * 5
    assert layer["logical_expert"].tolist() == slots[0].tolist()


def test_a_shape_counts_its_gpus():
    assert ReplicaShape(tp=2, n_groups=3, is_expert_parallel=True).n_gpus == 6


def test_kernels_stretch_in_a_served_model_and_exchanges_do_not(small_files):
    exchange = PortTimes(
        egress_s=np.full((3, 2), 7.0), ingress_s=np.full((3, 2), 7.0), latency_s=1.0
    )
    exchanges = Exchanges((exchange, exchange))
    alone = step_law(small_files, "latent", n_groups=2, ep=2, exchanges=exchanges)
    served = step_law(
        small_files,
        "latent",
        n_groups=2,
        ep=2,
        exchanges=exchanges,
        schedule=schedule(decode_stretch=2.0, prompt_stretch=3.0),
    )
    plain, longer = (
        plan_of(alone, decoding(0, 1, n_groups=2)),
        plan_of(served, decoding(0, 1, n_groups=2)),
    )
    assert longer.times[0].expert_s == pytest.approx(2 * plain.times[0].expert_s)
    assert longer.times[0].pre_s == pytest.approx(2 * plain.times[0].pre_s)
    assert longer.plan.tail_s == pytest.approx(2 * plain.plan.tail_s)
    assert longer.totals.attention_s == pytest.approx(2 * plain.totals.attention_s)
    assert longer.times[0].dispatch.egress_s == pytest.approx(plain.times[0].dispatch.egress_s)


def test_sequences_of_the_fullest_group_and_layers_with_prompts_cost_host_time(small_files):
    law = step_law(small_files, "grouped", schedule=schedule(sequence_s=0.5, layer_s=1e9))
    batch, running = decoding(0, 0)
    plain = law.plan(batch, running=running)
    assert plain.host_gap_s == 1.0
    assert plain.host_step_s == 0.0
    chunk = PrefillChunk(
        request=9, group=0, n_tokens=3, past_tokens=0, is_first=True, is_last=True
    )
    mixed = replace(batch, prefill_tokens=np.array([3]), chunks=(chunk,))
    assert law.plan(mixed, running=running).host_step_s == 3e9
