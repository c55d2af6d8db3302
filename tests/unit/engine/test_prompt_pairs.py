"""The compiled sums over prompt chunks against the formula of the model."""

import numpy as np
import pytest

from rackmoe.engine.prompt_pairs import PromptPairs
from rackmoe.model.architecture import Window
from rackmoe.model.attention import score_pairs

WINDOWS = (None, Window(n_tokens=128), Window(n_tokens=64, is_chunked=True))
# group, new tokens, tokens before
CHUNKS = np.array(
    [(0, 5, 0), (2, 8192, 8192), (2, 1, 127), (0, 128, 63), (2, 300, 0), (2, 64, 64)]
)


def test_sums_are_those_of_the_formula():
    pairs, kv_tokens, n_chunks = PromptPairs(WINDOWS).sums(CHUNKS, n_groups=3)
    group, new, past = CHUNKS.T
    for row, window in zip(pairs, WINDOWS, strict=True):
        expected = np.bincount(group, weights=score_pairs(new, past_tokens=past, window=window))
        assert row.tolist() == expected.tolist()
    assert kv_tokens.tolist() == [5 + 191, 0, 2 * 8192 + 128 + 300 + 128]
    assert n_chunks.tolist() == [2, 0, 4]


@pytest.mark.parametrize(("width", "n_pairs"), [(0, 10.0), (2, 1 + 2 + 2 + 2), (3, 1 + 2 + 3 + 3)])
def test_four_tokens_see_themselves_and_those_before_in_the_window(width, n_pairs):
    window = Window(n_tokens=width) if width else None
    pairs, _, _ = PromptPairs([window]).sums(np.array([(0, 4, 0)]), n_groups=1)
    assert pairs.tolist() == [[n_pairs]]
