"""The integer clock."""

import simpy

from rackmoe.engine.clock import LateEvent, to_ps, to_s


def test_durations_are_rounded_up_to_whole_ticks():
    assert to_ps(0.0) == 0
    assert to_ps(1e-12) == 1
    assert to_ps(1.0000001e-12) == 2
    assert isinstance(to_ps(0.5), int)


def test_ticks_convert_back_to_seconds():
    assert to_s(to_ps(0.125)) == 0.125


def test_a_late_event_comes_after_all_others_of_its_instant():
    env = simpy.Environment()
    order = []

    def first():
        yield env.timeout(5)
        LateEvent(env).callbacks.append(lambda _: order.append("late"))
        order.append("first")

    def second():
        yield env.timeout(5)
        yield env.timeout(0)
        order.append("second")

    env.process(first())
    env.process(second())
    env.run()
    assert order == ["first", "second", "late"]
    assert env.now == 5
