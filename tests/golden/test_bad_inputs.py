"""What people get wrong: one clear error each, with place and remedy, and nothing left behind."""

import json

import numpy as np
import pytest

from rackmoe.cli import EXIT_NO_FIT, EXIT_USAGE, main

SCENARIO = """\
schema: rackmoe/scenario/1
title: small
hardware: {profile: hgx_h200, nodes: 1}
model: {name: gpt-oss-20b}
backend: ideal
deployment: {aggregated: {ep: 4, attention_dp: 4}}
workload:
  arrivals: {closed_loop: 2}
  lengths: {input: 64, output: 8}
  requests: 4
slo: {tpot: 20 ms}
"""


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Return a function that runs a changed scenario, and gives exit code and errors."""
    monkeypatch.chdir(tmp_path)

    def call(old, new, *, command=("run", "small.yaml", "-o", "results/out")):
        assert old in SCENARIO
        (tmp_path / "small.yaml").write_text(SCENARIO.replace(old, new))
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            main(list(command))
        captured = capsys.readouterr()
        assert captured.out == ""
        assert sorted(tmp_path.rglob("*")) == before, "nothing half-written is left behind"
        lines = [line for line in captured.err.splitlines() if not line.endswith(": started")]
        return stop.value.code, [line for line in lines if not line.startswith("compiling")]

    return call


@pytest.mark.parametrize(
    ("old", "new", "place", "problem"),
    [
        ("requests: 4", "requsts: 4", "small.yaml:10:3", "did you mean 'requests'?"),
        (
            "nodes: 1}",
            "nodes: 1, overrides: {gpu.hbm_bandwidth: 8 tb/s}}",
            "gpu.hbm_bandwidth",
            "did you mean 'TB/s'",
        ),
        ("tpot: 20 ms", "tpot: 20", "small.yaml:11:13", "write for example"),
        ("deployment: {aggregated: {", "deployment: {aggregated: &a {", "small.yaml:6:26", "a"),
        ("title: small", "title: small\ntitle: again", "small.yaml:3:1", "title"),
        ("ep: 4, attention_dp: 4", "ep: 5, attention_dp: 5", "ep: 5", "nearest valid: 4, 8"),
    ],
    ids=["misspelt key", "tb/s", "no unit", "anchor", "duplicate key", "ep"],
)
def test_wrong_file_is_refused_with_place_and_remedy(old, new, place, problem, refused):
    code, lines = refused(old, new)
    assert code == EXIT_USAGE
    assert len(lines) == 1, lines
    assert place in lines[0]
    assert problem in lines[0]


def test_alias_is_refused_with_its_place(refused):
    new = "deployment: {aggregated: *other}"
    code, lines = refused("deployment: {aggregated: {ep: 4, attention_dp: 4}}", new)
    assert code == EXIT_USAGE
    assert len(lines) == 1, lines
    assert "small.yaml:6:26" in lines[0]
    assert "alias" in lines[0]


def test_model_that_does_not_fit_says_how_much_is_missing(refused):
    # 671 GB of weights on one GPU of 141 GB
    middle = "backend: ideal\ndeployment: {aggregated: {"
    old = f"model: {{name: gpt-oss-20b}}\n{middle}ep: 4, attention_dp: 4}}}}"
    code, lines = refused(old, f"model: {{name: deepseek-r1}}\n{middle}}}}}")
    assert code == EXIT_NO_FIT
    assert len(lines) == 1, lines
    assert "GB" in lines[0]
    assert ";" in lines[0]


def test_trace_with_experts_that_the_model_lacks_is_refused(refused, tmp_path):
    header = {
        "format": "rackmoe-token-trace-v0",
        "model": "gpt-oss-20b",
        "num_experts": 32,
        "top_k": 4,
        "moe_layer_ids": list(range(24)),
        "id_space": "logical",
        "phase": "decode",
    }
    routed = np.tile(np.arange(4, dtype=np.uint8), (6, 24, 1))
    routed[5, 7, 2] = 40
    np.savez(
        tmp_path / "t.npz",
        routed_experts=routed,
        req_offsets=np.array([0, 6]),
        header=np.array(json.dumps(header)),
    )
    new = "  requests: 4\n  routing: {trace: t.npz, source: replay}"
    code, lines = refused("  requests: 4", new)
    assert code == EXIT_USAGE
    assert len(lines) == 1, lines
    assert "t.npz: routed_experts: row 5, layer 7: expert 40; expected 0 to 31" in lines[0]


def test_arrival_file_with_nan_is_refused_with_its_line(refused, tmp_path):
    (tmp_path / "r.csv").write_text("arrival_s,input_tokens,output_tokens\n0,10,5\nnan,10,5\n")
    old = "  arrivals: {closed_loop: 2}\n  lengths: {input: 64, output: 8}\n"
    code, lines = refused(old, "  arrivals: {trace: r.csv}\n")
    assert code == EXIT_USAGE
    assert len(lines) == 1, lines
    assert "r.csv:3" in lines[0]


def test_all_problems_of_a_file_are_reported_at_once(refused):
    old = "  requests: 4\nslo: {tpot: 20 ms}"
    code, lines = refused(old, "  requsts: 4\nslo: {tpot: 20, ttf: 1 s}")
    assert code == EXIT_USAGE
    assert len(lines) == 3, lines


def test_unknown_scenario_is_refused_with_a_suggestion(refused):
    command = ("run", "deepseek_r1_azur", "-o", "results/out")
    code, lines = refused("small", "small", command=command)
    assert code == EXIT_USAGE
    assert len(lines) == 1, lines
    assert "did you mean 'deepseek_r1_azure'?" in lines[0]
