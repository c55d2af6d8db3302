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
