import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.routing.affinity import PairCounts, count_pairs
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.refinements import (
    Refinements,
    domain_of_requests,
    log_lifts,
    refined_log_weights,
)
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.tokens import generate_token_trace

SHARE = np.array([[0.4, 0.3, 0.2, 0.1]])


def generate(make_rng, *, n_tokens=8000, n_requests=40, **more):
    return generate_token_trace(
        STATISTICS["deepseek_narrow"],
        shape=MoeShape(n_layers=2, n_experts=32, top_k=4),
        n_tokens=n_tokens,
        n_requests=n_requests,
        rng=make_rng(),
        refinements=Refinements(**more) if more else None,
    )


def popularity(trace, rows):
    return np.bincount(trace.routed_experts[rows, 0].ravel(), minlength=32)


def test_nothing_refined_draws_nothing(make_rng):
    rng, same = make_rng(), make_rng()
    weights = refined_log_weights(SHARE, sharpening=2.0, refinements=Refinements(), rng=rng)
    assert weights == pytest.approx(2 * np.log(SHARE)[None])
    assert not domain_of_requests(5, refinements=Refinements(), rng=rng).any()
    assert rng.random() == same.random()


def test_defaults_leave_a_trace_as_it_is(make_rng):
    plain, refined = generate(make_rng), generate(make_rng, n_domains=1)
    assert (plain.routed_experts == refined.routed_experts).all()


def test_cold_experts_are_hardly_chosen(make_rng):
    counts = popularity(generate(make_rng, cold_frac=0.25), slice(None))
    ordered = np.sort(counts)
    assert ordered[:8].mean() < 0.05 * counts.mean() < ordered[8:].mean()


def test_domains_spread_around_the_common_popularity(make_rng):
    refined = Refinements(n_domains=400, domain_sd=0.5)
    weights = refined_log_weights(SHARE, sharpening=1.0, refinements=refined, rng=make_rng())
    assert weights.shape == (400, 1, 4)
    assert weights.mean(axis=0) == pytest.approx(np.log(SHARE), abs=0.12)
    assert weights.std(axis=0) == pytest.approx(0.5, abs=0.08)


def test_mix_of_domains_drifts_as_slowly_as_asked(make_rng):
    refined = Refinements(n_domains=2, drift_sd=3.0, drift_requests=50.0)
    domain = domain_of_requests(20_000, refinements=refined, rng=make_rng())
    gap = domain - domain.mean()
    near, far = ((gap[lag:] * gap[:-lag]).mean() / gap.var() for lag in (5, 400))
    assert near > 0.4
    assert abs(far) < 0.1
    steady = Refinements(n_domains=4, drift_sd=0.0)
    equal = np.bincount(domain_of_requests(4000, refinements=steady, rng=make_rng()))
    assert equal / 4000 == pytest.approx([0.25] * 4, abs=0.03)


def test_drift_moves_the_popularity_of_experts(make_rng):
    def distance(**more):
        trace = generate(make_rng, n_tokens=32_000, n_requests=400, **more)
        parts = [
            popularity(trace, slice(*ends)) / 64_000 for ends in ((0, 16_000), (16_000, None))
        ]
        return np.abs(parts[0] - parts[1]).sum() / 2

    drifting = distance(n_domains=3, domain_sd=1.0, drift_sd=4.0, drift_requests=400.0)
    assert drifting > 2 * distance()


def test_lift_is_how_much_more_often_a_pair_comes_up():
    across = np.array([[[300, 100], [100, 300]]])
    within = np.array([[[400, 0], [0, 400]]] * 2)
    lift = np.exp(log_lifts(PairCounts(within=within, across=across)))
    # 300 where 200 are expected, with 8 more on both
    assert lift == pytest.approx(np.array([[[308, 108], [108, 308]]]) / 208)


def test_independent_layers_have_no_lift(make_routed):
    routed = make_routed(n_tokens=20_000, n_layers=2, n_experts=8, top_k=2)
    lift = log_lifts(count_pairs(routed, n_experts=8, rows=np.arange(20_000)))
    assert np.abs(lift).max() < 0.15


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"n_domains": 0}, "n_domains 0; expected at least 1"),
        ({"domain_sd": -1.0}, r"domain_sd -1\.0; expected at least 0"),
        ({"drift_requests": 0.5}, "drift_requests"),
        ({"early_boost": float("nan")}, "early_boost nan"),
        ({"cold_frac": 1.0}, r"cold_frac 1\.0; expected less than 1"),
    ],
)
def test_impossible_text_is_refused(choice, problem):
    with pytest.raises(ConfigError, match=problem):
        Refinements(**choice)
