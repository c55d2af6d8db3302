"""Popularity and samples that all runs of a study share."""

import numpy as np

from rackmoe.engine.drawn_popularity import domain_deviates, domain_sample, drawn_popularity
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.shape import MoeShape

SHAPE = MoeShape(n_layers=3, n_experts=64, top_k=4)
STATS = STATISTICS["gpt_oss"]


def popular(sample):
    return np.stack([np.bincount(sample[:, layer].ravel(), minlength=64) for layer in range(3)])


def test_it_is_drawn_once_and_nobody_writes_to_it():
    share, sample = drawn_popularity(STATS, shape=SHAPE, seed=0)
    assert drawn_popularity(STATS, shape=SHAPE, seed=0)[0] is share
    assert (drawn_popularity(STATS, shape=SHAPE, seed=1)[0] != share).any()
    assert not share.flags.writeable
    assert not sample.flags.writeable
    assert np.corrcoef(share.ravel(), popular(sample).ravel())[0, 1] > 0.8


def test_a_domain_is_known_by_its_name_and_the_seed():
    one = domain_deviates(SHAPE, seed=0, domain="chat")
    assert (one == domain_deviates(SHAPE, seed=0, domain="chat")).all()
    assert (one != domain_deviates(SHAPE, seed=0, domain="code")).all()
    assert (one != domain_deviates(SHAPE, seed=1, domain="chat")).all()


def test_samples_of_two_domains_have_little_in_common():
    counts = [
        popular(
            domain_sample(STATS, shape=SHAPE, seed=0, domain=domain, specific_frac=1.0)
        ).ravel()
        for domain in ("chat", "code")
    ]
    assert abs(np.corrcoef(*counts)[0, 1]) < 0.3
