from rackmoe.serving.prompt_gate import PromptGate


def test_an_open_gate_lets_everyone_in():
    gate = PromptGate(poll_steps=1, balance_steps=0)
    assert gate.is_open
    assert gate.allows([3, 0], is_idle=False)


def test_intake_is_looked_at_every_few_steps():
    gate = PromptGate(poll_steps=10, balance_steps=0)
    assert gate.allows([1], is_idle=False)
    gate.count(9)
    assert not gate.allows([1], is_idle=False)
    gate.count(1)
    assert gate.allows([1], is_idle=False)


def test_an_idle_replica_never_holds_prompts_back():
    gate = PromptGate(poll_steps=10, balance_steps=50)
    assert gate.allows([1, 0], is_idle=True)
    assert gate.allows([1, 0], is_idle=True)


def test_a_prompt_waits_for_the_other_groups_but_not_forever():
    gate = PromptGate(poll_steps=1, balance_steps=5)
    assert not gate.allows([1, 0], is_idle=False)
    gate.count(4)
    assert not gate.allows([2, 0], is_idle=False)
    assert gate.allows([2, 1], is_idle=False)
    assert not gate.allows([1, 0], is_idle=False)
    gate.count(5)
    assert gate.allows([1, 0], is_idle=False)


def test_nothing_waiting_restarts_the_patience():
    gate = PromptGate(poll_steps=1, balance_steps=5)
    assert not gate.allows([1, 0], is_idle=False)
    gate.count(4)
    assert gate.allows([0, 0], is_idle=False)
    assert not gate.allows([1, 0], is_idle=False)
    gate.count(4)
    assert not gate.allows([1, 0], is_idle=False)


def test_prompts_that_were_seen_do_not_wait_for_the_next_look():
    gate = PromptGate(poll_steps=10, balance_steps=0)
    assert gate.allows([5], is_idle=False)
    gate.count(1)
    # two of five fitted the step: the others are known
    assert gate.allows([3], is_idle=False)
    gate.count(1)
    # nothing started, so those that wait are new or have no room
    assert not gate.allows([3], is_idle=False)
    gate.count(8)
    assert gate.allows([3], is_idle=False)
