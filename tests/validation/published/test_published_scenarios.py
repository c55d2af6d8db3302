"""Famous runs, shipped as scenarios: each loads, quotes its measurement, and runs."""

import re

import pytest

from rackmoe.scenario.resolved import load_scenario
from rackmoe.schema.shipped import shipped_folder, shipped_names
from rackmoe.simulation import simulate
from rackmoe.study.validation.serving_rows import read_serving_points, row_backend

NAMES = shipped_names("scenarios/published")
THROUGHPUTS = (
    "output_tokens_per_s_per_gpu",
    "output_tokens_per_s_per_decode_gpu",
    "input_tokens_per_s_per_prefill_gpu",
)
ROWS = {
    row.id: row
    for row in read_serving_points(shipped_folder("scenarios/calibration") / "serving_points.csv")
}


def row_of(scenario):
    """Return the measured row that a scenario names first."""
    words = " ".join(scenario.document.notes.split())
    name = re.search(r"Calibration rows? ([\w.-]+\w)", words)
    assert name, f"{scenario.name}: notes name no calibration row"
    return ROWS[name[1]]


@pytest.mark.parametrize("name", NAMES)
def test_a_published_run_quotes_source_and_measurement(name):
    scenario = load_scenario(name)
    row = row_of(scenario)
    words = " ".join(scenario.document.notes.split())
    (measured,) = [row.number(column) for column in THROUGHPUTS if row.number(column)]
    assert f"{measured:,.10g}" in words
    assert row.text("source_date")[:4] in words + scenario.document.title
    assert scenario.backend.name == row_backend(row)
    assert scenario.machine.name == row.text("hardware")
    assert scenario.arch.name == row.text("model")


@pytest.mark.parametrize("name", NAMES)
def test_a_published_run_has_the_shape_of_its_row(name):
    scenario = load_scenario(name)
    row = row_of(scenario)
    (pool,) = scenario.document.deployment.pools.values()
    phase = "prefill" if row.text("mode") == "prefill_only" else "decode"
    assert pool.n_gpus_per_replica == row.gpus(phase)
    lengths = scenario.document.workload.lengths
    assert lengths.input == row.count("isl")
    assert lengths.output == (1 if phase == "prefill" else row.count("osl"))
    assert pool.two_batch_overlap == (row.text("two_batch_overlap") == "yes")


@pytest.mark.parametrize("name", NAMES)
def test_a_few_requests_of_a_published_run_are_served(name):
    workload = load_scenario(name).document.workload
    (pool,) = load_scenario(name).document.deployment.pools.values()
    few = {"workload.requests": 2 * pool.n_gpus_per_replica}
    if workload.arrivals.closed_loop:
        few["workload.arrivals.closed_loop"] = pool.n_gpus_per_replica
        few["workload.measurement.warm_up_requests"] = 0.0
    if workload.lengths.output > 1:
        few["workload.lengths.output"] = 4
    result = simulate(load_scenario(name, overrides=few))
    assert result.summary["n_done"] == few["workload.requests"]
    assert result.summary["total_tokens_per_s_per_gpu"] > 0
