import numpy as np
import pytest

from rackmoe.routing.drift import PopularityDrift
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.generator import popularity
from rackmoe.routing.shape import MoeShape

SHAPE = MoeShape(n_layers=4, n_experts=32, top_k=4)


def drift_of(rng, **changes):
    share = popularity(STATISTICS["deepseek_chat"], shape=SHAPE, rng=rng)
    values = {"n_domains": 3, "domain_sd": 0.7, "mix_sd": 1.0, "memory_s": 10.0}
    return share, PopularityDrift(share, **(values | changes), rng=rng)


def correlation(one, other):
    return float(np.corrcoef(np.log(one).ravel(), np.log(other).ravel())[0, 1])


def test_shares_always_add_up(make_rng):
    _, drift = drift_of(make_rng())
    for _ in range(5):
        drift.advance(3.0)
        assert drift.share.sum(axis=1) == pytest.approx(np.ones(4), rel=1e-12)
        assert drift.mix.sum() == pytest.approx(1.0, rel=1e-12)


def test_without_spread_between_domains_nothing_changes(make_rng):
    share, drift = drift_of(make_rng(), domain_sd=0.0)
    drift.advance(100.0)
    assert drift.share == pytest.approx(share, rel=1e-12)


def test_the_mix_remembers_for_a_while_and_then_forgets(make_rng):
    rng = make_rng()
    kept = {0.1: [], 100.0: []}
    for time_s, values in kept.items():
        for _ in range(300):
            _, drift = drift_of(rng, n_domains=2, memory_s=10.0)
            before = np.log(drift.mix[0] / drift.mix[1])
            drift.advance(time_s)
            values.append((before, np.log(drift.mix[0] / drift.mix[1])))
    near, far = (np.corrcoef(np.array(values).T)[0, 1] for values in kept.values())
    # correlations of 0.99 and 0.00005
    assert near > 0.97
    assert abs(far) < 0.2


def test_the_popular_experts_of_another_mix_are_others(make_rng):
    _, drift = drift_of(make_rng(), mix_sd=4.0, domain_sd=1.0)
    before = drift.share
    drift.advance(1e-3)
    assert correlation(before, drift.share) > 0.99
    for _ in range(3):
        drift.advance(1000.0)
    assert correlation(before, drift.share) < 0.9
