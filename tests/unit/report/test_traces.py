import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.report.traces import token_trace_summary, trace_summary
from rackmoe.routing.trace_files import save_token_trace
from rackmoe.routing.traces import TokenTrace, TraceHeader


@pytest.fixture
def trace():
    """Return four tokens of two requests; expert 0 gets half of the assignments."""
    routed = np.array([[[0, 1]], [[0, 2]], [[0, 3]], [[0, 1]]], dtype=np.uint8)
    header = TraceHeader(
        model="tiny",
        n_experts=4,
        top_k=2,
        moe_layer_ids=(0,),
        phase="decode",
        source="by hand",
        licence="Apache-2.0",
    )
    return TokenTrace(
        routed_experts=routed,
        req_offsets=np.array([0, 3, 4]),
        n_prompt_rows=np.zeros(2, np.int32),
        header=header,
    )


def test_routing_trace_says_its_size_origin_and_skew(trace, tmp_path):
    save_token_trace(trace, path=tmp_path / "t.npz")
    summary = trace_summary(tmp_path / "t.npz")
    assert summary == token_trace_summary(trace)
    assert (summary["n_tokens"], summary["n_requests"], summary["model"]) == (4, 2, "tiny")
    assert summary["imbalance_of_experts_mean"] == 2.0  # 4 of 8 assignments, mean 2
    assert summary["top_tenth_frac_mean"] == 0.5


def test_request_trace_says_its_rate_and_lengths(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0,10,1\n1,20,2\n4,30,3\n")
    summary = trace_summary(path)
    assert summary["rate_requests_per_s"] == 0.5
    assert summary["gap_cv"] == 0.5  # gaps of 1 s and 3 s: mean 2, deviation 1
    assert summary["input_tokens"]["sum"] == 60
    assert summary["output_tokens"]["p50"] == 2


def test_trace_of_one_request_has_no_rate(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0,10,1\n")
    assert trace_summary(path)["rate_requests_per_s"] is None


def test_damaged_trace_is_refused_when_it_is_described(tmp_path):
    path = tmp_path / "t.npz"
    path.write_bytes(b"not a trace")
    with pytest.raises(TraceError, match=r"t\.npz: not a zip file"):
        trace_summary(path)
