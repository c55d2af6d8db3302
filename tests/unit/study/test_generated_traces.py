import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.study.generated_traces import generate_model_trace


def make(**options):
    given = {"statistics": "deepseek_chat", "n_tokens": 32, "n_requests": 2} | options
    return generate_model_trace("deepseek-r1", **given)


def test_trace_has_the_shape_of_the_model_and_says_that_it_is_generated():
    trace = make()
    assert trace.routed_experts.shape == (32, 58, 8)
    assert (trace.header.model, trace.header.n_experts) == ("deepseek-r1", 256)
    assert "generated" in trace.header.source


def test_seed_decides_the_choices():
    assert np.array_equal(make(seed=1).routed_experts, make(seed=1).routed_experts)
    assert not np.array_equal(make(seed=1).routed_experts, make(seed=2).routed_experts)


def test_unknown_statistics_are_refused_at_their_option():
    with pytest.raises(ConfigError, match="--statistics: 'deepseek'; expected one of"):
        make(statistics="deepseek")
