"""Tokens of a micro-batch go to the source by phase, domain and rank."""

import numpy as np
import pytest

from rackmoe.engine.batch_routing import BatchRouting
from rackmoe.engine.micro_batches import whole_batch
from rackmoe.routing.balanced import BalancedSource
from rackmoe.routing.placement import contiguous
from rackmoe.serving.running import RunningSequences
from rackmoe.serving.step_batch import PrefillChunk, StepBatch


class Recorder:
    """A source that writes down what it is told."""

    provenance = "made by a test"

    def __init__(self, *, n_ranks, spans=None, span_domain=None):
        self.placement = contiguous(4 * n_ranks, n_layers=1, n_ranks=n_ranks)
        self.needs_rows = spans is not None
        self.spans = None if spans is None else np.array(spans)
        self.span_domain = None if span_domain is None else np.array(span_domain)
        self.told = []

    def begin(self):
        self.told = []

    def add(self, tokens, *, phase, rows=None, row_rank=None, domain=0):  # noqa: ARG002 - not told
        followed = None if rows is None else rows.tolist()
        self.told.append((phase, domain, tokens.tolist(), followed))

    def finish(self):
        return self.told


def part_of(groups, *, rows=None, prompts=(), n_groups=2, n_each=1):
    """Return a step of sequences numbered from 0, and prompts (request, group, tokens)."""
    running = RunningSequences(n_groups=n_groups, block_tokens=1)
    for request, group in enumerate(groups):
        row = 0 if rows is None else rows[request]
        running.add(request, group=group, context=1, remaining=1, row=row)
    tokens = np.zeros(n_groups, np.int64)
    chunks = []
    for request, group, n_tokens in prompts:
        tokens[group] += n_tokens
        chunks.append(
            PrefillChunk(
                request=request,
                group=group,
                n_tokens=n_tokens,
                past_tokens=0,
                is_first=True,
                is_last=True,
            )
        )
    batch = StepBatch(
        decode_sequences=running.n_sequences.copy(),
        decode_kv_tokens=running.kv_tokens.copy(),
        decode_window_tokens=np.zeros(n_groups, np.int64),
        prefill_tokens=tokens,
        chunks=tuple(chunks),
        preempted=(),
        tokens_per_sequence=n_each,
    )
    return whole_batch(batch, running=running)[0]


@pytest.mark.parametrize("tokens", [[3, 0], [5, 1]])
def test_tokens_of_a_group_are_dealt_to_its_gpus(tokens):
    source = BalancedSource(contiguous(16, n_layers=1, n_ranks=4), top_k=4)
    dealt = BatchRouting(source, tp=2)._spread(np.array(tokens))
    assert dealt.reshape(2, 2).sum(axis=1).tolist() == tokens
    assert (np.ptp(dealt.reshape(2, 2), axis=1) <= 1).all()


def test_without_domains_each_phase_is_told_once():
    tokens = BatchRouting(Recorder(n_ranks=2), tp=1)
    told = tokens.route(part_of([0, 1, 1], prompts=[(3, 0, 10), (4, 1, 20)]))
    assert told == [("decode", 0, [1, 2], None), ("prefill", 0, [10, 20], None)]


def test_each_domain_gets_its_sequences_and_prompts():
    domain = np.array([1, 0, 1, 2, 1])
    tokens = BatchRouting(Recorder(n_ranks=2), tp=1, domain_of_request=domain)
    told = tokens.route(part_of([0, 1, 1], prompts=[(3, 0, 10), (4, 1, 20)], n_each=2))
    assert told == [
        ("decode", 0, [0, 2], None),
        ("decode", 1, [2, 2], None),
        ("prefill", 1, [0, 20], None),
        ("prefill", 2, [10, 0], None),
    ]


def test_followed_sequences_stay_in_the_outputs_of_their_domain():
    # outputs of 3 rows from 0 and of 4 from 10 in the first domain, of 5 from 20 in the other
    source = Recorder(n_ranks=1, spans=[[0, 3], [10, 4], [20, 5]], span_domain=[0, 0, 1])
    tokens = BatchRouting(source, tp=1, domain_of_request=np.array([0, 1]))
    assert tokens.trace_starts.tolist() == [0, 3, 7]
    ((_, _, n, rows),) = tokens.route(part_of([0, 0], rows=[6, 11], n_groups=1, n_each=2))
    assert n == [4]
    # place 6 is the last row of the first domain, place 11 the last of the other
    assert rows == [13, 0, 24, 20]


def test_requests_start_at_outputs_of_their_domain():
    spans = [[first, 10] for first in range(0, 80, 10)]
    source = Recorder(n_ranks=1, spans=spans, span_domain=[0, 0, 0, 1, 1, 1, 1, 1])
    domain = np.arange(200) % 2
    tokens = BatchRouting(source, tp=1, domain_of_request=domain)
    first = tokens.first_rows(200, rng=np.random.Generator(np.random.PCG64(0)))
    assert set(first[domain == 0].tolist()) == {0, 10, 20}
    assert set(first[domain == 1].tolist()) == {30, 40, 50, 60, 70}


def test_without_replay_no_request_follows_a_trace():
    tokens = BatchRouting(Recorder(n_ranks=1), tp=1)
    assert tokens.first_rows(3, rng=np.random.Generator(np.random.PCG64(0))).tolist() == [0, 0, 0]
