"""Recorded traces whose requests carry labels."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.engine.domain_routing import labeled_parts, traced_source
from rackmoe.errors import TraceError
from rackmoe.routing.placement import contiguous
from rackmoe.routing.sources import block_source, replay_source, sampled_trace_source
from rackmoe.routing.traces import TokenTrace, TraceHeader


def trace_of(domain, names):
    """Return requests of 20 rows, 5 of them prompt; requests of domain d choose 4 d to 4 d + 3."""
    rng = np.random.Generator(np.random.PCG64(0))
    n = 20 * len(domain)
    first = rng.integers(0, 4, (n, 2)) + 4 * np.maximum(np.repeat(domain, 20), 0)[:, None]
    return TokenTrace(
        routed_experts=np.stack([first, first ^ 1], axis=2).astype(np.uint8),
        req_offsets=np.arange(len(domain) + 1) * 20,
        n_prompt_rows=np.full(len(domain), 5, np.int32),
        header=TraceHeader(
            model="toy",
            n_experts=8,
            top_k=2,
            moe_layer_ids=(0, 1),
            phase="both",
            source="made by a test",
            licence="Apache-2.0",
        ),
        domain=np.array(domain),
        domain_names=names,
    )


TRACE = trace_of([1, 0, 1, 0], ("chat", "code"))


def test_each_domain_gets_its_requests():
    code, everything = labeled_parts(TRACE, names=("code", None))
    assert code.n_tokens == 40
    assert (code.routed_experts >= 4).all()
    assert everything is TRACE


@pytest.mark.parametrize(
    ("trace", "has"),
    [
        (TRACE, "it has chat, code"),
        (trace_of([0, 0], ("chat", "law")), "it has chat"),
        (replace(TRACE, domain=np.empty(0, np.int64), domain_names=()), "it has no labels at all"),
    ],
)
def test_a_trace_without_a_domain_is_refused(trace, has):
    with pytest.raises(TraceError, match=f"nothing about law; {has}; use a trace with"):
        labeled_parts(trace, names=("law", None))


@pytest.mark.parametrize("build", [block_source, sampled_trace_source, replay_source])
def test_prompts_and_outputs_choose_as_their_domain_did(build):
    names = ("chat", "code")
    source = traced_source(
        build,
        trace=TRACE,
        names=names,
        parts=labeled_parts(TRACE, names=names),
        placement=contiguous(8, n_layers=2, n_ranks=2),
        rng=np.random.Generator(np.random.PCG64(1)),
        choice="random",
    )
    for number, tokens in enumerate((np.array([6, 0]), np.array([3, 4]))):
        rows = rank = None
        if source.needs_rows:
            first = source.spans[source.span_domain == number][0, 0]
            rows, rank = first + np.arange(tokens.sum()), np.repeat([0, 1], tokens)
        for phase in ("decode", "prefill"):
            source.begin()
            is_followed = phase == "decode"
            source.add(
                tokens,
                phase=phase,
                domain=number,
                rows=rows if is_followed else None,
                row_rank=rank.astype(np.int32) if is_followed and rank is not None else None,
            )
            counts = source.finish().expert_counts.reshape(2, 2, 4).sum(axis=2)
            assert counts[:, number].tolist() == [2 * tokens.sum()] * 2
            assert not counts[:, 1 - number].any()


def test_requests_without_a_domain_follow_any_output():
    source = traced_source(
        replay_source,
        trace=TRACE,
        names=("code", None),
        parts=labeled_parts(TRACE, names=("code", None)),
        placement=contiguous(8, n_layers=2, n_ranks=2),
        rng=np.random.Generator(np.random.PCG64(1)),
        choice="random",
    )
    assert source.spans[:, 0].tolist() == [5, 45, 5, 25, 45, 65]
    assert source.span_domain.tolist() == [0, 0, 1, 1, 1, 1]
