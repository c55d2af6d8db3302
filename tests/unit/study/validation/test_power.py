import csv

import pytest

from rackmoe.errors import CapacityError, ConfigError
from rackmoe.study.validation import power
from rackmoe.study.validation.power import validate_power

HEAD = (
    "id",
    "trust",
    "hardware",
    "n_gpus",
    "model",
    "mode",
    "load",
    "osl",
    "metric",
    "value",
    "unit",
)
SERVING = ("DeepSeek-R1-0528", "agg, steady state", "64", "900", "mean GPU board power")
ROWS = [
    ("a", "A", "hgx_b200", "8", *SERVING, "800", "W/GPU"),
    ("b", "C", "hgx_b200", "8", *SERVING, "400", "J/request"),
    ("c", "A", "hgx_b200", "8", "x", "agg", "", "", "mean GPU board power", "500", "W/GPU"),
    ("d", "B", "hgx_b200", "1", "", "provisioned constant", "", "", "all-in", "2.17", "kW/GPU"),
    ("e", "B", "hgx_b200", "1", "", "cost constant", "", "", "TCO", "1.9", "$/GPU-h"),
]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(power, "serving_power", lambda _scenario: (880.0, 16.0))
    file = tmp_path / "power.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([HEAD, *ROWS])
    return file


def test_measurements_are_compared_in_watts_joules_and_kilowatts(path):
    a, b, c, d, e = validate_power(path, jobs=1).points
    assert (a.measured, a.predicted, a.error) == (800, 880, pytest.approx(0.1))
    assert (b.predicted, b.unit, b.is_scored) == (pytest.approx(880 * 8 / 16), "J/request", False)
    assert not c.answered
    assert "its lengths and loads are not in the file" in c.reason
    assert (d.measured, d.predicted, d.role) == (2170, 2170, "input")
    assert (e.answered, e.is_scored) == (False, False)


def test_strata_tell_measurements_from_inputs(path):
    strata = {one.name: one for one in validate_power(path, jobs=1).strata}
    assert strata["all, held out"].n == 2
    assert strata["all, held out"].n_answered == 1
    assert strata["all, held out"].error_median == pytest.approx(0.1)
    assert strata["provisioned constant"].error_median == 0
    assert "cost constant" not in strata


def test_a_run_that_does_not_fit_is_a_reason(path, monkeypatch):
    def refuse(_scenario):
        msg = "rank 0 needs more"
        raise CapacityError(msg)

    monkeypatch.setattr(power, "serving_power", refuse)
    (point,) = validate_power(path, only="a", jobs=1).points
    assert point.reason == "rank 0 needs more"
    assert point.predicted is None


def test_rows_are_chosen_by_pattern_and_told(path):
    told = []
    found = validate_power(path, only="[ab]", jobs=1, progress=lambda *at: told.append(at))
    assert [one.id for one in found.points] == ["a", "b"]
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(ConfigError, match="matches none of 5 rows"):
        validate_power(path, only="z*", jobs=1)
