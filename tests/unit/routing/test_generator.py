from dataclasses import replace

import numpy as np
import pytest

from rackmoe.routing.eplb import eplb
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.generator import (
    CountNoise,
    inclusion,
    popularity,
    scatter_counts,
    scatter_counts_plain,
)
from rackmoe.routing.placement import contiguous
from rackmoe.routing.replicas import split_counts
from rackmoe.routing.shape import MoeShape

R1 = MoeShape(n_layers=58, n_experts=256, top_k=8)


def spread(load):
    """Max over mean and deviation over mean, averaged over layers."""
    mean = load.mean(axis=1)
    return (load.max(axis=1) / mean).mean(), (load.std(axis=1) / mean).mean()


def test_generated_imbalance_is_that_of_the_published_table(make_rng):
    """TensorRT-LLM tech blog 4, table 1: 2.564 and 0.480; 1.282; 1.109; 1.115."""
    rng = make_rng(1)
    share = popularity(STATISTICS["deepseek_narrow"], shape=R1, rng=rng)
    noise = CountNoise(inclusion(share, top_k=8), top_k=8, step_jitter=0.10, rng=rng)
    places = {
        "none": contiguous(256, n_layers=58, n_ranks=32),
        "ep32": eplb(share, n_ranks=32, n_redundant=32),
        "ep36": eplb(share, n_ranks=36, n_redundant=32),
    }
    ranks = {name: [] for name in places}
    experts = []
    for _ in range(10):
        counts = noise.draw(4096, out=np.empty((58, 256), np.int32))
        experts.append(spread(counts))
        for name, place in places.items():
            load = split_counts(counts.astype(float), placement=place, choice="random")
            ranks[name].append(spread(load.reshape(58, place.n_ranks, -1).sum(axis=2)))
    imbalance = {name: np.mean(values, axis=0) for name, values in ranks.items()}
    assert 2.4 < imbalance["none"][0] < 2.65
    assert 0.45 < imbalance["none"][1] < 0.50
    assert 1.25 < np.mean(experts, axis=0)[1] < 1.4
    assert 1.09 < imbalance["ep32"][0] < 1.13
    assert 1.10 < imbalance["ep36"][0] < 1.14


def test_popularity_adds_up_and_has_the_skew_of_its_sigma(make_rng):
    share = popularity(STATISTICS["deepseek_narrow"], shape=R1, rng=make_rng())
    assert share.sum(axis=1) == pytest.approx(np.ones(58), rel=1e-12)
    # a log-normal has the coefficient of variation sqrt(exp(1.02**2) - 1) = 1.353
    assert (share.std(axis=1) * 256).mean() == pytest.approx(1.353, abs=0.06)
    uniform = popularity(STATISTICS["uniform"], shape=R1, rng=make_rng())
    assert uniform == pytest.approx(np.full((58, 256), 1 / 256), rel=1e-9)


def test_layers_of_one_family_differ_within_the_measured_range(make_rng):
    share = popularity(STATISTICS["deepseek_chat"], shape=R1, rng=make_rng())
    top = np.sort(share, axis=1)[:, -32:].sum(axis=1)
    # moe-balance, GPQA: the 32 hottest experts hold 31.3 % (24.9 to 49.7)
    assert top.mean() == pytest.approx(0.313, abs=0.03)
    assert 0.22 < top.min() < top.max() < 0.50


def test_power_law_is_as_skewed_as_the_collector_of_the_kernel_tables(make_rng):
    share = popularity(STATISTICS["power_law"], shape=R1, rng=make_rng())
    assert 1.3 < (share.std(axis=1) * 256).mean() < 2.1
    assert 0.49 < np.sort(share, axis=1)[:, -32:].sum(axis=1).mean() < 0.73


def test_no_expert_is_chosen_more_often_than_there_are_tokens():
    share = np.array([[0.9, 0.05, 0.03, 0.02]])
    chance = inclusion(share, top_k=2)
    assert chance.sum() == pytest.approx(2.0, rel=1e-12)
    # one certain expert; the other assignment goes to the rest, 5 : 3 : 2
    assert chance[0] == pytest.approx([1.0, 0.5, 0.3, 0.2], rel=1e-12)


def test_counts_of_a_step_add_up_exactly_and_have_binomial_noise(make_rng):
    share = popularity(STATISTICS["deepseek_chat"], shape=R1, rng=make_rng())
    chance = inclusion(share, top_k=8)
    noise = CountNoise(chance, top_k=8, step_jitter=0.0, rng=make_rng(1))
    for n_tokens in (0, 1, 3, 17, 4096):
        counts = noise.draw(n_tokens, out=np.empty((58, 256), np.int32))
        assert (counts.sum(axis=1) == 8 * n_tokens).all()
        assert counts.min() >= 0
    drawn = np.array([noise.draw(2000, out=np.empty((58, 256), np.int32)) for _ in range(300)])
    mean = 2000 * chance
    assert drawn.mean(axis=0) == pytest.approx(mean, rel=0.12)
    assert drawn.var(axis=0).mean() == pytest.approx((mean * (1 - chance)).mean(), rel=0.08)


def test_jitter_widens_the_noise_and_steps_remember_a_little(make_rng):
    chance = np.full((1, 64), 8 / 64)
    drawn = {}
    for jitter in (0.0, 0.3):
        noise = CountNoise(chance, top_k=8, step_jitter=jitter, rng=make_rng())
        drawn[jitter] = np.array(
            [noise.draw(4000, out=np.empty((1, 64), np.int32))[0] for _ in range(600)]
        )
    extra = drawn[0.3].var() - drawn[0.0].var()
    assert extra == pytest.approx((0.3 * 500) ** 2, rel=0.15)
    off = drawn[0.3] - drawn[0.3].mean(axis=0)
    assert (off[1:] * off[:-1]).mean() / off.var() == pytest.approx(0.3, abs=0.06)


def test_numbers_drawn_ahead_are_used_once(make_rng):
    chance = np.full((2, 64), 8 / 64)
    noise = CountNoise(chance, top_k=8, step_jitter=0.0, rng=make_rng())
    drawn = {noise.draw(4000, out=np.empty((2, 64), np.int32)).tobytes() for _ in range(200)}
    assert len(drawn) == 200


@pytest.mark.parametrize("n_tokens", [1, 40, 5000])
def test_compiled_counts_equal_their_twin(make_rng, n_tokens):
    rng = make_rng()
    shape = replace(R1, n_layers=4)
    chance = inclusion(popularity(STATISTICS["deepseek_chat"], shape=shape, rng=rng), top_k=8)
    bank = rng.standard_normal((2, 2, 4, 256)).astype(np.float32)
    state = rng.standard_normal((2, 4, 256)).astype(np.float32)
    start = rng.random(4)
    out = np.empty((4, 256), np.int32)
    scatter_counts(
        np.sqrt(chance).astype(np.float32),
        (0.5 * np.sqrt(1 - chance)).astype(np.float32),
        n_tokens,
        8 * n_tokens,
        0.1,
        bank,
        np.array([0, 1, 1, 0]),
        np.stack([[0.7, 0.2, 0.5, 0.4], start]),
        state,
        out,
    )
    twin = scatter_counts_plain(
        chance,
        n_tokens=n_tokens,
        n_assignments=8 * n_tokens,
        jitter=0.1,
        fields=state.astype(float),
        start=start,
    )
    assert (out.sum(axis=1) == 8 * n_tokens).all()
    assert np.abs(out - twin).max() <= 1  # the last bit of a sum may move a rounding
    assert (out == twin).mean() > 0.99
