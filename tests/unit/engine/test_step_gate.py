import simpy

from rackmoe.engine.step_gate import StepGate


def test_steps_wait_until_they_are_released_for_good():
    env = simpy.Environment(initial_time=0)
    gate, passed = StepGate(env), []

    def replica():
        yield from gate.passed()
        passed.append(env.now)
        yield env.timeout(5)
        yield from gate.passed()
        passed.append(env.now)

    env.process(replica())
    env.run(until=4)
    gate.hold()
    gate.hold()
    env.run(until=10)
    gate.release()
    gate.hold()
    env.run(until=20)
    assert passed == [0]
    gate.release()
    gate.release()
    env.run(until=30)
    assert passed == [0, 20]
