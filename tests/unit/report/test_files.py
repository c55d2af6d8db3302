import hashlib
import importlib.util
import json

import pandas as pd
import pytest

from rackmoe.errors import ConfigError
from rackmoe.records import TABLES
from rackmoe.report.files import fill_folder, result_data, staged_folder, write_result
from rackmoe.report.plain import digest_of

FILES = {
    "result.json",
    "summary.csv",
    "breakdown.csv",
    "requests.csv",
    "experts.csv",
    "links.csv",
    "hot_links.csv",
    "power.csv",
    "rebalances.csv",
    "timeline.json.gz",
}


def names(folder):
    """Return the names in a folder, hidden ones included."""
    return {path.name for path in folder.iterdir()}


def test_folder_holds_the_files_of_a_result_and_nothing_else(tmp_path, make_result):
    folder = write_result(make_result(), folder=tmp_path / "out")
    assert names(folder) == FILES
    assert names(tmp_path) == {"out"}


def test_equal_results_are_equal_files(tmp_path, make_result):
    one = write_result(make_result(), folder=tmp_path / "one")
    two = write_result(make_result(), folder=tmp_path / "two")
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_result_has_inputs_digests_seed_metrics_and_null_for_nan(tmp_path, make_result):
    text = (write_result(make_result(seed=7), folder=tmp_path / "out") / "result.json").read_text()
    data = json.loads(text, parse_constant=pytest.fail)
    assert data["schema"] == "rackmoe/result/1"
    assert data["seed"] == 7
    assert data["metrics"]["tpot_p99_s"] is None
    assert data["units"]["ttft_p50_s"] == "s"
    assert data["warnings"] == ["a warning"]
    assert data["provenance"] == {"traffic": "closed loop of 2 requests"}
    assert data["validity"]["status"] == "extrapolated"
    assert data["inputs"]["hardware"]["name"] == "hgx_h200"
    assert data["digests"] == {name: digest_of(one) for name, one in data["inputs"].items()}
    assert list(data) == sorted(data)


def test_result_says_the_digest_of_every_other_file(tmp_path, make_result):
    folder = write_result(make_result(), folder=tmp_path / "out")
    files = json.loads((folder / "result.json").read_text())["files"]
    assert set(files) == FILES - {"result.json"}
    for name, digest in files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_tables_keep_labels_and_every_digit(tmp_path, make_result):
    result = make_result()
    folder = write_result(result, folder=tmp_path / "out")
    requests = pd.read_csv(folder / "requests.csv")
    assert requests["state"].tolist() == ["done", "running"]
    assert requests["last_token_s"].isna().tolist() == [False, True]
    summary = pd.read_csv(folder / "summary.csv").set_index("metric")
    assert summary.loc["ttft_p50_s"].tolist() == [0.5, "s"]


def test_search_leaves_its_runs_in_the_result(make_result):
    data = result_data(make_result(), probes=[{"rate_scale": 2.0}])
    assert data["probes"] == [{"rate_scale": 2.0}]


def test_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, make_result):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"out: the folder is not empty; .* --overwrite"):
        write_result(make_result(), folder=tmp_path / "out")
    assert names(tmp_path) == {"out"}
    assert names(tmp_path / "out") == {"mine.txt"}


def test_file_in_place_of_the_folder_is_refused(tmp_path, make_result):
    (tmp_path / "out").write_text("x")
    with pytest.raises(ConfigError, match="not a folder"):
        write_result(make_result(), folder=tmp_path / "out", overwrite=True)


def test_overwriting_replaces_the_older_result_and_nothing_else(tmp_path, make_result):
    folder = write_result(make_result(seed=1), folder=tmp_path / "out")
    (folder / "mine.txt").write_text("x")
    (folder / "variants" / "old").mkdir(parents=True)
    (folder / "comparison.csv").write_text("x")
    write_result(make_result(seed=2), folder=folder, overwrite=True)
    assert names(folder) == FILES | {"mine.txt"}
    assert json.loads((folder / "result.json").read_text())["seed"] == 2
    assert names(tmp_path) == {"out"}


def test_empty_folder_is_filled(tmp_path, make_result):
    (tmp_path / "out").mkdir()
    assert names(write_result(make_result(), folder=tmp_path / "out")) == FILES


def test_failure_leaves_nothing_behind_not_even_new_parents(tmp_path):
    def fail():
        with staged_folder(tmp_path / "a" / "b" / "out") as stage:
            (stage / "half.csv").write_text("1,")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == set()


def test_failure_keeps_the_older_result(tmp_path, make_result):
    folder = write_result(make_result(seed=1), folder=tmp_path / "out")
    before = (folder / "result.json").read_bytes()

    def interrupt():
        with staged_folder(folder, overwrite=True) as stage:
            (stage / "result.json").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert (folder / "result.json").read_bytes() == before
    assert names(tmp_path) == {"out"}


def test_folder_that_fills_up_meanwhile_is_not_overwritten(tmp_path):
    def race():
        with staged_folder(tmp_path / "out") as stage:
            (stage / "result.json").write_text("new")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "other.txt").write_text("x")

    with pytest.raises(ConfigError, match="not empty"):
        race()
    assert names(tmp_path / "out") == {"other.txt"}


def test_parquet_without_its_package_says_what_to_install(tmp_path, make_result, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pyarrow is not installed; .* rackmoe\[parquet\]"):
        fill_folder(make_result(), folder=tmp_path, parquet=True)
    assert names(tmp_path) == set()


def test_parquet_has_a_file_for_each_table(tmp_path, make_result):
    pytest.importorskip("pyarrow")
    fill_folder(make_result(), folder=tmp_path, parquet=True)
    assert names(tmp_path) == FILES | {f"{name}.parquet" for name in TABLES}
