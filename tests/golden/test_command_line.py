"""Runs from the command line to the folder: the same bytes whatever the process."""

import json
import os
import subprocess
import sys

import pytest

SCENARIO = """\
schema: rackmoe/scenario/1
title: small, two machines
hardware: {profile: hgx_h200, nodes: 1}
model: {name: gpt-oss-20b}
backend: ideal
deployment:
  prefill: {replicas: 2, ep: 2, attention_dp: 2}
  decode: {ep: 4, attention_dp: 4}
workload:
  arrivals: {poisson: 40 /s}
  lengths: {input: 256, output: 12, spread: [0.5, 1.5]}
  routing: {generator: deepseek_chat, source: sampled}
  requests: 24
slo: {ttft: 2 s, tpot: 20 ms}
variants:
  h100: {hardware.profile: hgx_h100}
"""


@pytest.fixture(scope="module")
def command_line(tmp_path_factory):
    """Return a function that runs the command line in a process of its own."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.yaml").write_text(SCENARIO)

    def call(*arguments, hash_seed):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(  # noqa: S603  our own interpreter
            [sys.executable, "-m", "rackmoe", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    call.folder = folder
    return call


@pytest.fixture(scope="module")
def runs(command_line):
    """Run twice with one seed: hash seeds, output forms and numbers of processes differ."""
    shown = command_line("run", "small.yaml", "-o", "one", "--jobs", "1", hash_seed="1")
    data = command_line(
        "run", "small.yaml", "-o", "two", "--jobs", "2", "--format", "json", hash_seed="2"
    )
    return shown, json.loads(data.stdout)


def test_same_seed_gives_the_same_bytes_under_any_hash_seed(runs, command_line):
    assert runs[1]["base"] == "small"
    one, two = command_line.folder / "one", command_line.folder / "two"
    files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert files == {path.relative_to(two) for path in two.rglob("*") if path.is_file()}
    assert len(files) == 2 * 10 + 3
    for name in files:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_table_stands_side_by_side_and_matches_the_result(runs):
    shown, data = runs
    assert "hgx_h200 / hgx_h100" in shown.stdout
    ratio = data["ratios"]["h100"]["output_tokens_per_s_per_gpu"]
    line = next(row for row in shown.stdout.splitlines() if row.startswith("output per GPU"))
    assert float(line.split()[-1]) == pytest.approx(ratio, rel=1e-3)


def test_every_request_ends_on_both_machines(runs):
    for one in runs[1]["results"].values():
        assert one["metrics"]["n_done"] == one["metrics"]["n_requests"] == 24


def test_progress_is_on_standard_error_alone(runs):
    shown, _ = runs
    lines = shown.stderr.splitlines()
    assert "small: started" in lines
    assert any(line.startswith("h100: 24 of 24 measured requests done, ") for line in lines)
    assert "started" not in shown.stdout


def test_another_seed_gives_another_result(runs, command_line):
    command_line("run", "small.yaml", "-o", "other", "--seed", "1", "--jobs", "1", hash_seed="1")
    assert runs[1]["results"]["small"]["seed"] == 0
    one = json.loads((command_line.folder / "one" / "result.json").read_text())
    other = json.loads((command_line.folder / "other" / "result.json").read_text())
    assert one["digests"] == other["digests"]
    assert one["metrics"] != other["metrics"]


def test_result_names_no_folder_of_this_machine(runs, command_line):
    assert runs[1]["schema"] == "rackmoe/comparison/1"
    text = (command_line.folder / "one" / "result.json").read_text()
    assert str(command_line.folder) not in text
