import json

import numpy as np
import pytest

from rackmoe.routing.trace_files import load_count_trace, load_token_trace

HINTS = ("--hint", "n_experts=8", "--hint", "moe_layer_ids=1,2", "--hint", "phase=decode")


@pytest.fixture
def plain(tmp_path):
    rng = np.random.default_rng(0)
    routed = np.argsort(rng.random((20, 2, 8)), axis=2)[:, :, :2]
    np.savez(tmp_path / "plain.npz", routed_experts=routed)
    return tmp_path / "plain.npz"


@pytest.mark.parametrize("name", ["own.npz", "folder"])
def test_imported_tokens_are_those_of_the_file(run, plain, tmp_path, name):
    ran = run("trace", "import", plain, *HINTS, "-o", tmp_path / name)
    assert ran.code == 0, ran.err
    assert "20 tokens of 1 requests, read as npz" in ran.err
    trace = load_token_trace(tmp_path / name)
    assert (trace.routed_experts == np.load(plain)["routed_experts"]).all()
    assert trace.header.moe_layer_ids == (1, 2)


def test_imported_counts_stay_counts(run, tmp_path):
    counts = np.full((3, 2, 4), 5)
    np.savez(tmp_path / "counts.npz", counts=counts)
    hints = ("--hint", "top_k=2", "--hint", "moe_layer_ids=0,1")
    ran = run("trace", "import", tmp_path / "counts.npz", *hints, "-o", tmp_path / "own.npz")
    assert ran.code == 0, ran.err
    assert load_count_trace(tmp_path / "own.npz").step_tokens.tolist() == [10, 10, 10]
    data = json.loads(run("trace", "info", tmp_path / "own.npz", "--format", "json").out)
    assert data["format"] == "routing counts"
    assert data["n_tokens"] == 30


@pytest.mark.parametrize(
    ("hint", "problem"),
    [
        ("experts=8", "expected KEY=VALUE with a key of n_experts"),
        ("n_experts=many", "--hint: n_experts: 'many'; expected a whole number"),
        ("moe_layer_ids=1;2", "expected whole numbers such as 3,4,5"),
        ("physical_to_logical=gone.npy", "expected an .npy file"),
    ],
)
def test_hints_that_say_nothing_are_refused(run, plain, tmp_path, hint, problem):
    ran = run("trace", "import", plain, "--hint", hint, "-o", tmp_path / "own.npz")
    assert ran.code == 2
    assert problem in ran.err
    assert not (tmp_path / "own.npz").exists()


@pytest.mark.parametrize("engine", ["sglang", "tensorrt_llm"])
def test_placement_for_an_engine_holds_every_expert(run, tmp_path, engine):
    path = tmp_path / "placement.txt"
    ran = run("trace", "export", "tiny_moe_trace", "--to", engine, "--ep", "4", "-o", path)
    assert ran.code == 0, ran.err
    assert "eplb on 4 ranks, imbalance 1.0" in ran.err
    key = "physical_to_logical_map" if engine == "sglang" else "initial_global_assignments"
    assert key in path.read_text()


def test_exported_counts_add_up_to_the_tokens(run, tmp_path):
    path = tmp_path / "counts.json"
    assert run("trace", "export", "tiny_moe_trace", "--to", "sglang_counts", "-o", path).code == 0
    rows = np.array(json.loads(path.read_text())["logical_count"])
    assert set(rows.sum(axis=-1).ravel().tolist()) <= {0, 36_174 * 4}


def test_placement_needs_ranks(run, tmp_path):
    ran = run("trace", "export", "tiny_moe_trace", "--to", "sglang", "-o", tmp_path / "a.json")
    assert ran.code == 2
    assert "--ep: missing" in ran.err
