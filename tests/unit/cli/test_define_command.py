import json

from rackmoe.metrics.catalog import METRICS


def test_metric_is_explained_in_one_line_with_its_unit(run):
    ran = run("define", "ttft_p99_s")
    assert ran.code == 0
    assert ran.out.startswith("ttft_p99_s [s]: ")
    assert "arrival to first output token" in ran.out


def test_all_metrics_are_explained_without_a_name(run):
    found = json.loads(run("define", "--format", "json").out)
    assert {one["metric"] for one in found} == set(METRICS)
    assert len(run("define").out.splitlines()) == len(METRICS) + 2


def test_unknown_metric_is_refused_with_a_suggestion(run):
    ran = run("define", "ttft_p98_s")
    assert ran.code == 2
    assert "did you mean 'ttft_p9" in ran.err
