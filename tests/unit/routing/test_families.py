import csv
from pathlib import Path

import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.routing.families import STATISTICS, routing_statistics

SKEW = (
    Path(__file__).parents[3] / "scenarios" / "traces" / "routing" / "deepseek_v3_layer_skew.csv"
)


def test_every_parameter_set_names_its_source_and_is_a_probability_where_it_should():
    for name, family in STATISTICS.items():
        assert name == family.name
        assert family.source.split(";")[0] in {"measured", "fitted", "derived", "assumed"}
        assert len(family.source) > 20
        assert 0 <= family.reuse < 1
        assert 0 <= family.affinity < 1


def test_unknown_parameter_set_is_refused_with_a_suggestion():
    with pytest.raises(
        ConfigError, match=r"generator: 'deepseek_chta'; .* did you mean 'deepseek"
    ):
        routing_statistics("deepseek_chta")
    with pytest.raises(ConfigError, match="write one of these"):
        routing_statistics("zzz", place="generator")
    assert routing_statistics("qwen3").sigma_mean == 0.9


def test_deepseek_skew_is_that_of_the_measured_layers():
    with SKEW.open() as file:
        rows = list(csv.DictReader(file))
    sigma = np.array(
        [[float(r["lognormal_sigma_gpqa"]), float(r["lognormal_sigma_aime25"])] for r in rows]
    )
    family = STATISTICS["deepseek_chat"]
    assert sigma.mean() == pytest.approx(family.sigma_mean, abs=0.02)
    assert sigma[:, 0].std() == pytest.approx(family.sigma_sd, abs=0.02)
