import simpy

from rackmoe.engine.routing_drift import RoutingDrift


class Routing:
    def __init__(self):
        self.times_s = []

    def drift(self, time_s):
        self.times_s.append(time_s)


def test_time_goes_by_in_parts_of_the_memory():
    env, routing = simpy.Environment(initial_time=0), Routing()
    drift = RoutingDrift(env, routing=routing, memory_s=64.0)
    drift.started(None)
    for end_s in (0.4, 0.9, 1.2, 1.9, 3.2):
        env.run(until=int(end_s * 10**12))
        drift.ended(None, start_ps=0, end_ps=env.now, n_steps=1)
    drift.idle()
    assert routing.times_s == [1.2, 2.0]
