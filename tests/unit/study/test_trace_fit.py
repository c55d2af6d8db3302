from pathlib import Path

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.statistics import measure_trace
from rackmoe.routing.tokens import generate_token_trace
from rackmoe.routing.trace_files import load_token_trace
from rackmoe.study.trace_fit import fit_parameters, fit_trace

SHIPPED = Path(__file__).parents[3] / "scenarios" / "traces" / "routing"


def make(name, *, n_tokens=16_000, n_requests=80):
    return generate_token_trace(
        STATISTICS[name],
        shape=MoeShape(n_layers=3, n_experts=16, top_k=2),
        n_tokens=n_tokens,
        n_requests=n_requests,
        rng=np.random.default_rng(3),
        model="toy",
    )


@pytest.mark.parametrize("name", ["gptoss20b_decode_trace", "tiny_moe_trace"])
def test_fit_regenerates_a_recorded_trace(name):
    fit = fit_trace(load_token_trace(SHIPPED / f"{name}.npz"))
    assert fit.overlap_error < 0.03
    assert abs(fit.pair_error_frac) < 0.03
    assert fit.popularity_error_frac < 0.06
    if name.startswith("gptoss"):
        # published for this recording: 72 % of the pairs in the busiest fifth
        assert fit.regenerated.pair_frac.mean() == pytest.approx(0.72, abs=0.03)


def test_fit_of_a_generated_trace_finds_requests_that_differ():
    unlike, alike = fit_trace(make("gpt_oss")), fit_trace(make("uniform"))
    assert unlike.statistics.request_sd > 0.8
    assert alike.statistics.request_sd < 0.5
    assert alike.overlap_error < 0.03
    assert unlike.overlap_error < 0.03


def test_fit_is_the_same_for_a_seed():
    trace = make("deepseek_chat", n_tokens=4000, n_requests=20)
    first, again = fit_trace(trace, seed=1), fit_trace(trace, seed=1)
    assert first.statistics == again.statistics
    assert (first.trace.routed_experts == again.trace.routed_experts).all()
    assert "fitted to toy" in first.trace.header.source


def test_trace_of_single_tokens_has_no_memory_to_fit():
    with pytest.raises(TraceError, match="no request of 5 tokens"):
        fit_trace(make("uniform", n_tokens=50, n_requests=50))


def test_parameters_imitate_a_trace_with_a_popularity_of_their_own():
    fit = fit_trace(make("gpt_oss"))
    found = fit_parameters(fit)
    again = measure_trace(
        generate_token_trace(
            found,
            shape=MoeShape(n_layers=3, n_experts=16, top_k=2),
            n_tokens=32_000,
            n_requests=160,
            rng=np.random.default_rng(1),
        )
    )
    gap = again.overlap.mean(axis=1) - fit.measured.overlap.mean(axis=1)
    assert np.abs(gap).max() < 0.04
    skews = [
        (one.counts.std(axis=1) / one.counts.mean(axis=1)).mean() for one in (fit.measured, again)
    ]
    assert skews[1] == pytest.approx(skews[0], rel=0.15)
