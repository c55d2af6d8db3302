"""The compiled law of a step against the law itself."""

from dataclasses import replace

import numpy as np
import pytest

from rackmoe.compute.attention import AttentionDecodeLaw
from rackmoe.compute.attention_steps import AttentionOfSteps
from rackmoe.model.costs import Work

LAW = AttentionDecodeLaw(
    launch_s=4e-6,
    sequence_s=2e-9,
    split_s=3e-6,
    split_tokens=900.0,
    flop_s=1.1e-11,
    byte_s=2.3e-11,
    chain_s=1.7e-9,
    sharpness=2.5,
    kv_work=Work(tensor_flop=1.0, hbm_bytes=1.0),
    query_work=Work(tensor_flop=0.0, hbm_bytes=1.0),
)
SEQUENCES = np.array([3, 0, 40, 1])
KV_TOKENS = np.array([9000, 0, 70_000, 17])
IN_WINDOW = np.array([384, 0, 5120, 17])


@pytest.mark.parametrize("sharpness", [1.0, 2.5, np.inf])
@pytest.mark.parametrize("query_tokens", [1, 4])
def test_step_takes_what_the_law_says_of_each_class(sharpness, query_tokens):
    law = replace(LAW, sharpness=sharpness)
    of_steps = AttentionOfSteps(law, is_windowed=np.array([True, False]))
    found_s = of_steps.time_s(
        SEQUENCES, kv_tokens=KV_TOKENS, window_tokens=IN_WINDOW, query_tokens=query_tokens
    )
    for row, tokens in zip(found_s, (IN_WINDOW, KV_TOKENS), strict=True):
        assert row == pytest.approx(law(SEQUENCES, tokens, query_tokens), rel=1e-13)
    assert found_s[:, 1].tolist() == [0.0, 0.0]


def test_constants_without_a_split_divide_nothing_by_nothing():
    law = replace(LAW, split_s=0.0, split_tokens=0.0)
    of_steps = AttentionOfSteps(law, is_windowed=np.array([False]))
    none = np.zeros(1, np.int64)
    found_s = of_steps.time_s(np.array([2]), kv_tokens=none, window_tokens=none, query_tokens=1)
    assert found_s.tolist() == [[4e-6 + 2 * 2e-9]]
