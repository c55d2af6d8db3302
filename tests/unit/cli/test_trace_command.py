import json

import numpy as np

from rackmoe.routing.trace_files import load_token_trace

GENERATE = ("trace", "generate", "--model", "gpt-oss-20b", "--statistics", "uniform")


def test_info_says_what_a_trace_holds(run):
    data = json.loads(run("trace", "info", "tiny_moe_trace", "--format", "json").out)
    assert data["format"] == "routing"
    assert data["n_tokens"] > 0
    assert "rate_requests_per_s" in run("trace", "info", "azure_conv_2023").out


def test_generated_trace_is_labeled_and_the_same_for_a_seed(run, tmp_path):
    paths = [tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "c.npz"]
    for path, seed in zip(paths, ("1", "1", "2"), strict=True):
        ran = run(*GENERATE, "--tokens", "64", "--requests", "2", "--seed", seed, "-o", path)
        assert ran.code == 0
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1] != contents[2]
    trace = load_token_trace(paths[0])
    assert trace.n_tokens == 64
    assert "generated" in trace.header.source
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


def test_info_draws_counts_too(run, tmp_path):
    np.savez(tmp_path / "given.npz", counts=np.full((3, 2, 4), 2))
    hints = ("--hint", "top_k=2", "--hint", "n_experts=4")
    assert (
        run("trace", "import", tmp_path / "given.npz", "-o", tmp_path / "a.npz", *hints).code == 0
    )
    ran = run("trace", "info", tmp_path / "a.npz", "-o", tmp_path / "a.svg")
    assert (ran.code, "routing counts" in ran.out) == (0, True)
    assert (tmp_path / "a.svg").stat().st_size > 0


def test_existing_trace_is_kept_unless_asked(run, tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("mine")
    ran = run(*GENERATE, "--tokens", "8", "--requests", "1", "-o", path)
    assert ran.code == 2
    assert "the file exists" in ran.err
    assert path.read_text() == "mine"
    assert run(*GENERATE, "--tokens", "8", "--requests", "1", "-o", path, "--overwrite").code == 0
    assert load_token_trace(path).n_tokens == 8


def test_failed_generation_leaves_nothing_behind(run, tmp_path):
    ran = run(*GENERATE, "--tokens", "1", "--requests", "2", "-o", tmp_path / "a.npz")
    assert ran.code == 2
    assert "expected at least one token each" in ran.err
    assert run(*GENERATE, "-o", tmp_path / "a.txt").code == 2
    assert list(tmp_path.iterdir()) == []


def test_info_draws_a_heat_map_of_the_experts(run, tmp_path):
    ran = run("trace", "info", "tiny_moe_trace", "-o", tmp_path / "heat.svg")
    assert ran.code == 0, ran.err
    assert "overlap_frac.lag_128" in ran.out
    assert "<svg" in (tmp_path / "heat.svg").read_text()


def test_fit_reports_parameters_and_errors_and_writes_the_imitation(run, tmp_path):
    paths = ("-o", tmp_path / "again.npz", "--figure", tmp_path / "fit.svg")
    ran = run("trace", "fit", "tiny_moe_trace", "--format", "json", *paths)
    assert ran.code == 0, ran.err
    data = json.loads(ran.out)
    assert data["errors"]["overlap"] < 0.03
    assert data["parameters"]["request_sd"] > 0
    assert load_token_trace(tmp_path / "again.npz").n_tokens == data["regenerated_tokens"]
    assert (tmp_path / "fit.svg").exists()


def test_a_fitted_parameter_set_generates_traces(run, tmp_path):
    path = tmp_path / "tiny.yaml"
    ran = run("trace", "fit", "tiny_moe_trace", "-o", path)
    assert (ran.code, "workload.routing.generator" in ran.err) == (0, True)
    more = ("--tokens", "64", "--requests", "2", "-o", tmp_path / "a.npz")
    made = run("trace", "generate", "--model", "gpt-oss-20b", "--statistics", path, *more)
    assert made.code == 0, made.err
    assert "fitted to" in load_token_trace(tmp_path / "a.npz").header.source


def test_formats_are_listed(run):
    assert "sglang_recorder" in run("trace", "formats").out
    assert json.loads(run("trace", "formats", "--format", "json").out)[0]["name"] == "rackmoe"


def test_generated_text_can_have_domains_and_cold_experts(run, tmp_path):
    more = ("--domains", "2", "--drift-sd", "1", "--cold", "0.25", "--early-boost", "1.4")
    size = ("--tokens", "4000", "--requests", "20")
    assert run(*GENERATE, *size, *more, "-o", tmp_path / "a.npz").code == 0
    counts = np.bincount(load_token_trace(tmp_path / "a.npz").routed_experts[:, 0].ravel())
    assert (np.sort(counts)[:8] < 0.2 * counts.mean()).all()
    ran = run(*GENERATE, "--cold", "1.5", "-o", tmp_path / "b.npz")
    assert ran.code == 2
    assert "cold_frac 1.5; expected less than 1" in ran.err
