import numpy as np
import pytest

from rackmoe.engine.drafting import add_draft_totals, append_drafts, draft_part
from rackmoe.engine.micro_batches import MicroBatch
from rackmoe.engine.planned import StepTotals
from rackmoe.network.layer_times import LayerTimes
from rackmoe.network.traffic import PortTimes
from rackmoe.serving.step_batch import PrefillChunk, StepBatch


def part_of(*, sequences, prompt_tokens=0):
    chunk = PrefillChunk(
        request=0, group=0, n_tokens=prompt_tokens, past_tokens=0, is_first=True, is_last=True
    )
    batch = StepBatch(
        decode_sequences=np.array([sequences]),
        decode_kv_tokens=np.array([100 * sequences]),
        decode_window_tokens=np.array([100 * sequences]),
        prefill_tokens=np.array([prompt_tokens]),
        chunks=(chunk,) if prompt_tokens else (),
        preempted=(),
        tokens_per_sequence=4,
    )
    zeros = np.zeros(sequences, dtype=np.int64)
    return MicroBatch(batch=batch, trace_rows=zeros, groups=zeros, requests=zeros)


def column(*values):
    return np.array(values, dtype=float)[:, None]


def times_of(*values):
    layers = column(*values)
    ports = PortTimes(egress_s=10 * layers, ingress_s=20 * layers, latency_s=0.5)
    return LayerTimes(
        pre_s=layers, shared_s=2 * layers, expert_s=3 * layers, dispatch=ports, combine=None
    )


def totals_of(scale):
    return StepTotals(
        by_peak_flop=scale * np.array([1.0, 2.0, 3.0]),
        hbm_bytes=scale * 40.0,
        scale_up_bytes=scale * 50.0,
        scale_out_bytes=scale * 60.0,
        attention_s=scale * 7.0,
        imbalance=1.25,
    )


def test_a_draft_computes_one_token_of_every_sequence_and_no_prompts():
    drafted = draft_part(part_of(sequences=3, prompt_tokens=50))
    assert drafted.batch.decode_tokens.tolist() == [3]
    assert drafted.batch.prefill_tokens.tolist() == [0]
    assert drafted.batch.chunks == ()


def test_prompts_alone_draft_nothing():
    assert draft_part(part_of(sequences=0, prompt_tokens=50)) is None


def test_the_first_draft_is_the_last_layer_again_and_further_ones_are_short():
    both = append_drafts(times_of(1, 2), drafts=times_of(5, 6, 7), n_drafts=3)
    assert both.pre_s.ravel().tolist() == [1, 2, 2, 6, 7]
    assert both.expert_s.ravel().tolist() == [3, 6, 6, 18, 21]
    assert both.dispatch.ingress_s.ravel().tolist() == [20, 40, 40, 120, 140]
    assert both.dispatch.latency_s == 0.5
    assert both.combine is None


def test_without_decoding_only_the_first_draft_is_added():
    both = append_drafts(times_of(1, 2), drafts=None, n_drafts=3)
    assert both.shared_s.ravel().tolist() == [2, 4, 4]


def test_each_draft_adds_the_share_of_one_layer():
    # 4 layers, 3 drafts: 1 + 1/4 of the step, and 2/4 of a pass ten times as large
    total = add_draft_totals(totals_of(1), drafts=totals_of(10), n_layers=4, n_drafts=3)
    assert total.by_peak_flop == pytest.approx([6.25, 12.5, 18.75])
    assert total.hbm_bytes == pytest.approx(250)
    assert total.scale_out_bytes == pytest.approx(375)
    assert (total.attention_s, total.imbalance) == (7.0, 1.25)
