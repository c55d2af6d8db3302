"""LAW-03: KV blocks allocated + free = total."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import build, cases, fault_lists, with_faults

import rackmoe.engine.replica
from rackmoe.serving.batching import Batcher, BatchLimits
from rackmoe.simulation import simulate


class Auditor(Batcher):
    """A batcher that is checked before and after every step."""

    audited = None

    def __init__(self, limits, **choices):
        super().__init__(limits, **choices)
        self.audited.append(self)

    def audit(self):
        running, limits = self.running, self.limits
        blocks = np.zeros(limits.n_groups, np.int64)
        for group, context in zip(running.groups, running.contexts, strict=True):
            blocks[group] += limits.blocks(int(context))
        assert (blocks == running.kv_blocks).all()
        assert (self.held_blocks >= 0).all()
        assert (self.free_blocks >= 0).all()
        total = blocks + self.held_blocks + self.free_blocks
        assert (total == limits.kv_blocks).all()
        busy = running.n_sequences + self._reserved_sequences
        assert (busy <= limits.max_sequences).all()

    def next_step(self):
        self.audit()
        step = super().next_step()
        self.audit()
        if step is not None:
            most = max(self.limits.max_tokens_per_step, self.limits.max_sequences)
            assert (step.decode_sequences + step.prefill_tokens <= most).all()
        return step

    def finish_step(self, batch, emitted=None):
        finished = super().finish_step(batch, emitted=emitted)
        self.audit()
        return finished


@settings(max_examples=16)
@given(case=cases(kv_tokens=90) | cases())
def test_every_block_is_held_by_one_context_or_free(small_files, case):
    Auditor.audited = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rackmoe.engine.replica, "Batcher", Auditor)
        simulate(build(case, small_files))
    assert len(Auditor.audited) == sum(shape.replicas for shape in case.pools)
    for batcher in Auditor.audited:
        assert (batcher.free_blocks == batcher.limits.kv_blocks).all()
        assert batcher.n_waiting == 0


@settings(max_examples=14)
@given(case=cases(kv_tokens=90) | cases(), faults=fault_lists())
def test_failed_replicas_lose_their_blocks_and_nobody_elses(small_files, case, faults):
    Auditor.audited, lost = [], []
    fail = rackmoe.engine.replica.Replica.fail

    def failing(replica):
        lost.append(replica.batcher)
        return fail(replica)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rackmoe.engine.replica, "Batcher", Auditor)
        patch.setattr(rackmoe.engine.replica.Replica, "fail", failing)
        simulate(with_faults(case, small_files, faults))
    in_service = [batcher for batcher in Auditor.audited if batcher not in lost]
    assert len(in_service) == sum(shape.replicas for shape in case.pools)
    for batcher in in_service:
        assert (batcher.free_blocks == batcher.limits.kv_blocks).all()
        assert batcher.n_waiting == 0


@given(
    n_tokens=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    block_tokens=st.integers(1, 16),
    watermark=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_reservations_never_exceed_the_memory(n_tokens, block_tokens, watermark):
    limits = BatchLimits(
        n_groups=3,
        max_sequences=5,
        max_tokens_per_step=64,
        kv_blocks=6,
        block_tokens=block_tokens,
        kv_watermark_frac=watermark,
    )
    batcher = Batcher(limits)
    held = [(batcher.reserve(n), n) for n in n_tokens]
    assert (batcher.free_blocks >= 0).all()
    for group, n in held:
        if group is not None:
            batcher.release(group, n_tokens=n)
    assert (batcher.free_blocks == limits.kv_blocks).all()
