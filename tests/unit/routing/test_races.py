from math import log

import numpy as np
import pytest

from rackmoe.routing.races import draw_layer


def draw(base, rng, *, n_tokens=20_000, top_k=1, **options):
    """One request of one layer (the last of two where a layer comes before)."""
    settings = {
        "request_sd": 0.0,
        "token_sd": 0.0,
        "refresh": 0.2,
        "reuse": 0.0,
        "affinity": 0.0,
        "n_groups": 1,
        "top_groups": 1,
        "early_tokens": 0,
        "early_boost": 1.0,
        "lift": np.empty((0, 0)),
    } | options
    base = np.asarray(base, float)
    has_before = settings["affinity"] or settings["lift"].size
    n_layers = 2 if has_before else 1
    routed = np.zeros((n_tokens, n_layers, top_k), np.uint16)
    followers = (np.arange(base.size)[:, None] + 1) % base.size
    for layer in range(n_layers):
        draw_layer(
            routed,
            layer,
            np.array([0, n_tokens]),
            base[None],
            np.zeros(1, np.int64),
            settings["early_tokens"],
            settings["early_boost"],
            followers,
            settings["lift"] if layer else np.empty((0, 0)),
            settings["request_sd"],
            settings["token_sd"],
            settings["refresh"],
            settings["reuse"],
            settings["affinity"] if layer else 0.0,
            settings["n_groups"],
            settings["top_groups"],
            rng,
        )
    return routed


def test_single_choice_is_in_proportion_to_weight(make_rng):
    chosen = draw([log(4), log(3), log(2), 0.0], make_rng()).ravel()
    share = np.bincount(chosen, minlength=4) / chosen.size
    assert share == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.015)


def test_two_choices_follow_draws_without_replacement(make_rng):
    chosen = draw([log(4), log(3), log(2), 0.0], make_rng(), top_k=2)[:, 0]
    has_last = (chosen == 3).any(axis=1).mean()
    # 0.1 + 0.4 * 1/6 + 0.3 * 1/7 + 0.2 * 1/8
    assert has_last == pytest.approx(0.1 + 0.4 / 6 + 0.3 / 7 + 0.2 / 8, abs=0.01)
    assert (chosen[:, 0] != chosen[:, 1]).all()


def test_kept_experts_raise_the_overlap_of_neighbors(make_rng):
    chosen = draw(np.zeros(50), make_rng(), reuse=0.3).ravel()
    again = (chosen[1:] == chosen[:-1]).mean()
    assert again == pytest.approx(0.3 + 0.7 / 50, abs=0.02)


def test_passing_weights_are_remembered_for_a_few_tokens(make_rng):
    chosen = draw(np.zeros(16), make_rng(), token_sd=2.0, refresh=0.2).ravel()
    overlap = [(chosen[lag:] == chosen[:-lag]).mean() for lag in (1, 5, 100)]
    assert overlap[0] > overlap[1] + 0.03 > overlap[2] + 0.05
    assert overlap[2] == pytest.approx(1 / 16, abs=0.02)


def test_affinity_follows_the_choice_of_the_layer_before(make_rng):
    routed = draw(np.zeros(20), make_rng(), affinity=0.4)
    followed = (routed[:, 1, 0] == (routed[:, 0, 0] + 1) % 20).mean()
    assert followed == pytest.approx(0.4 + 0.6 / 20, abs=0.02)


def test_group_limit_holds_and_forced_experts_respect_it(make_rng):
    for options in ({}, {"reuse": 0.5}, {"affinity": 0.5}):
        routed = draw(
            np.zeros(32), make_rng(), n_tokens=3000, top_k=4, n_groups=8, top_groups=2, **options
        )
        groups = routed[:, -1] // 4
        assert max(len(set(row)) for row in groups.tolist()) == 2
        ids = np.sort(routed[:, -1], axis=1)
        assert (ids[:, 1:] != ids[:, :-1]).all()


def test_group_race_with_all_groups_is_the_plain_race(make_rng):
    base = np.log(np.arange(1, 17.0))
    plain = draw(base, make_rng(), top_k=3)
    grouped = draw(base, make_rng(1), top_k=3, n_groups=4, top_groups=4)
    counts = [np.bincount(x.ravel(), minlength=16) / 60_000 for x in (plain, grouped)]
    assert counts[0] == pytest.approx(counts[1], abs=0.008)


def test_group_of_single_experts_works(make_rng):
    routed = draw(np.zeros(8), make_rng(), n_tokens=100, top_k=2, n_groups=8, top_groups=2)
    assert (routed[:, 0, 0] != routed[:, 0, 1]).all()


def test_lift_multiplies_the_weights_after_an_expert(make_rng):
    lift = np.ones((3, 3))
    lift[0, 2] = 4.0
    routed = draw(np.zeros(3), make_rng(), lift=lift)[:, :, 0]
    after = routed[routed[:, 0] == 0, 1]
    # weights 1, 1, 4
    assert np.bincount(after, minlength=3) / after.size == pytest.approx(
        [1 / 6, 1 / 6, 4 / 6], abs=0.02
    )
    rest = routed[routed[:, 0] == 1, 1]
    assert np.bincount(rest, minlength=3) / rest.size == pytest.approx([1 / 3] * 3, abs=0.02)


def test_first_tokens_are_more_skewed(make_rng):
    base = [log(2), 0.0]
    routed = draw(base, make_rng(), n_tokens=20_000, early_tokens=10_000, early_boost=2.0)[:, 0, 0]
    # weights 4 to 1, then 2 to 1
    assert (routed[:10_000] == 0).mean() == pytest.approx(0.8, abs=0.02)
    assert (routed[10_000:] == 0).mean() == pytest.approx(2 / 3, abs=0.02)
