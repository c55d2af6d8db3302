import numpy as np
import pytest

from rackmoe.routing.traces import count_experts, join_domains


def test_spans_divide_requests_into_prompt_and_output(make_trace):
    trace = make_trace(
        n_tokens=12, n_layers=1, n_experts=4, top_k=1, n_prompt=3, n_requests=3, phase="both"
    )
    assert (trace.n_tokens, trace.n_layers) == (12, 1)
    assert trace.spans("prefill").tolist() == [[0, 3], [4, 3], [8, 3]]
    assert trace.spans("decode").tolist() == [[3, 1], [7, 1], [11, 1]]
    assert trace.phase_rows("decode").tolist() == [3, 7, 11]


def test_rows_of_a_generated_trace_serve_both_phases(make_trace):
    trace = make_trace(n_tokens=4, n_layers=1, n_experts=4, top_k=1, phase="any", n_requests=2)
    for phase in ("prefill", "decode"):
        assert trace.phase_rows(phase).tolist() == [0, 1, 2, 3]


def test_phase_that_was_not_recorded_has_no_rows(make_trace):
    trace = make_trace(n_tokens=4, n_layers=1, n_experts=4, top_k=1, phase="decode")
    assert trace.phase_rows("prefill").size == 0
    assert trace.spans("prefill").shape == (0, 2)


@pytest.mark.parametrize("n_tokens", [10, 9000])
def test_expert_counts_add_up_to_the_assignments(make_trace, n_tokens):
    trace = make_trace(n_tokens=n_tokens, n_layers=2, n_experts=8, top_k=3)
    rows = np.arange(n_tokens)[::2]
    counts = count_experts(trace, rows=rows)
    assert counts.sum(axis=1).tolist() == [rows.size * 3] * 2
    assert counts[1, 5] == (trace.routed_experts[rows, 1] == 5).sum()


def test_joined_domains_come_apart_again(make_trace):
    parts = [
        make_trace(n_tokens=n, n_layers=2, n_experts=8, top_k=2, n_prompt=1, n_requests=2)
        for n in (8, 6)
    ]
    joined = join_domains(parts, names=("chat", "code"))
    assert joined.req_offsets.tolist() == [0, 4, 8, 11, 14]
    assert joined.domain.tolist() == [0, 0, 1, 1]
    for name, part in zip(("chat", "code"), parts, strict=True):
        again = joined.of_domain(name)
        assert (again.routed_experts == part.routed_experts).all()
        assert again.req_offsets.tolist() == part.req_offsets.tolist()
        assert again.n_prompt_rows.tolist() == [1, 1]
        assert again.domain_names == (name,)
