"""Prompts that wait, in the order in which they are taken."""

import numpy as np
import pytest

from rackmoe.serving.prompts import Prompt, PromptQueue


def test_a_queue_starts_empty_with_nothing_in_progress():
    queue = PromptQueue()
    assert not queue.waiting
    assert queue.prefilling is None


def test_a_new_prompt_has_nothing_done():
    prompt = Prompt(request=3, n_tokens=100)
    assert (prompt.request, prompt.n_tokens, prompt.done_tokens) == (3, 100, 0)


def test_queues_do_not_share_their_prompts():
    first, second = PromptQueue(), PromptQueue()
    first.waiting.append(Prompt(request=1, n_tokens=10))
    assert not second.waiting


@pytest.mark.parametrize(
    ("priorities", "is_urgent", "order"),
    [
        (None, False, [0, 1, 2, 3]),
        (None, True, [3, 0, 1, 2]),
        ([1, 0, 0, 0], False, [0, 1, 2, 3]),
        ([1, 0, 0, 0], True, [0, 3, 1, 2]),
        ([1, 0, 0, 1], False, [0, 3, 1, 2]),
        ([0, 0, 0, 1], False, [3, 0, 1, 2]),
    ],
)
def test_a_prompt_waits_behind_its_own_and_higher_priorities(priorities, is_urgent, order):
    queue = PromptQueue()
    ranks = None if priorities is None else np.array(priorities)
    for request in range(3):
        queue.waiting.append(Prompt(request=request, n_tokens=1))
    queue.put(Prompt(request=3, n_tokens=1), priorities=ranks, is_urgent=is_urgent)
    assert [prompt.request for prompt in queue.waiting] == order


def test_a_prompt_is_cut_into_pieces_after_what_was_cached():
    prompt = Prompt(request=3, n_tokens=100, done_tokens=30, cached_tokens=30)
    first, last = prompt.cut(50, group=1), prompt.cut(50, group=1)
    assert (first.past_tokens, first.n_tokens, first.is_first, first.is_last) == (
        30,
        50,
        True,
        False,
    )
    assert (last.past_tokens, last.n_tokens, last.is_first, last.is_last) == (80, 20, False, True)
    assert (last.request, last.group, prompt.done_tokens) == (3, 1, 100)
