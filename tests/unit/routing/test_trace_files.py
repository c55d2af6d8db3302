import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.trace_files import (
    load_count_trace,
    load_token_trace,
    save_count_trace,
    save_token_trace,
)
from rackmoe.routing.traces import CountTrace

SHIPPED = Path(__file__).parents[3] / "scenarios" / "traces" / "routing"


@pytest.fixture
def trace(make_trace):
    return make_trace(n_tokens=20, n_layers=2, n_experts=8, top_k=2, n_prompt=3, n_requests=4)


@pytest.fixture
def arrays(trace, tmp_path):
    """The arrays of a good file, to be damaged."""
    save_token_trace(trace, path=tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as archive:
        return dict(archive)


def load_with(arrays, tmp_path, **changes):
    np.savez(tmp_path / "bad.npz", **(arrays | changes))
    return load_token_trace(tmp_path / "bad.npz")


def header_with(arrays, **changes):
    return np.array(json.dumps(json.loads(str(arrays["header"])) | changes))


@pytest.mark.parametrize("name", ["trace.npz", "trace"])
def test_token_trace_survives_a_round_trip(trace, tmp_path, name):
    save_token_trace(trace, path=tmp_path / name)
    read = load_token_trace(tmp_path / name, shape=MoeShape(n_layers=2, n_experts=8, top_k=2))
    assert read.header == trace.header
    assert (read.routed_experts == trace.routed_experts).all()
    assert (read.n_prompt_rows == trace.n_prompt_rows).all()


@pytest.mark.parametrize("name", ["trace.npz", "trace"])
def test_labels_survive_a_round_trip(trace, tmp_path, name):
    labeled = replace(trace, domain=np.array([1, -1, 0, 1]), domain_names=("chat", "code"))
    save_token_trace(labeled, path=tmp_path / name)
    read = load_token_trace(tmp_path / name)
    assert read.domain.tolist() == [1, -1, 0, 1]
    assert read.domain_names == ("chat", "code")


@pytest.mark.parametrize("domain", [[0, 0, 0], [0, 0, 0, 1], [0, 0, 0, -2]])
def test_labels_of_nothing_are_refused(arrays, tmp_path, domain):
    names = np.array(["chat"])
    with pytest.raises(TraceError, match=r"req_domains: .* 4 requests and 1 domain_names; exp"):
        load_with(arrays, tmp_path, req_domains=np.array(domain), domain_names=names)


def test_folder_is_memory_mapped(trace, tmp_path):
    save_token_trace(trace, path=tmp_path / "trace")
    assert isinstance(load_token_trace(tmp_path / "trace").routed_experts, np.memmap)


def test_wide_ids_are_narrowed(arrays, tmp_path):
    wide = arrays["routed_experts"].astype(np.int64)
    assert load_with(arrays, tmp_path, routed_experts=wide).routed_experts.dtype == np.uint8


def test_prefill_trace_is_all_prompt(arrays, tmp_path):
    read = load_with(arrays, tmp_path, header=header_with(arrays, phase="prefill"))
    assert read.phase_rows("prefill").size == 20
    assert read.phase_rows("decode").size == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda ids: np.where(ids == ids[3, 1, 0], 9, ids), r"expert 9; expected 0 to 7"),
        (lambda ids: ids.astype(int) * 0 - 1, r"row 0, layer 0: expert -1"),
        (lambda ids: ids * 0, r"row 0, layer 0: an expert twice"),
        (lambda ids: ids * np.nan, r"float64 of 3 axes with NaN; expected integers"),
        (lambda ids: ids[:, :, 0], r"uint8 of 2 axes; expected integers of 3"),
        (lambda ids: ids[:, :, :1], r"1 experts per token; expected top_k 2"),
        (lambda ids: ids[:, :1], r"2 layer ids; expected one of .* and 1 layers"),
        (lambda ids: ids[:15], r"req_offsets: do not divide 15 rows"),
    ],
)
def test_damaged_expert_ids_are_refused(arrays, tmp_path, change, match):
    with pytest.raises(TraceError, match=rf"bad\.npz: .*{match}"):
        load_with(arrays, tmp_path, routed_experts=change(arrays["routed_experts"]))


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("req_offsets", [0, 10, 5, 15, 20], "expected rising numbers"),
        ("req_offsets", [1, 20], "expected rising numbers"),
        ("num_recorded_prompt_tokens", [9, 0, 0, 0], "beyond the rows of a request"),
        ("num_recorded_prompt_tokens", [0, 0], "req_offsets"),
    ],
)
def test_damaged_requests_are_refused(arrays, tmp_path, name, value, match):
    with pytest.raises(TraceError, match=match):
        load_with(arrays, tmp_path, **{name: np.array(value)})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"id_space": "physical"}, "ids are 'physical'; expected 'logical'"),
        ({"format": "rackmoe-count-trace-v0"}, "but 'rackmoe-count-trace-v0'"),
        ({"num_experts": "many"}, "not a JSON header"),
        ({"phase": "idle"}, "phase 'idle'"),
    ],
)
def test_foreign_header_is_refused(arrays, tmp_path, changes, match):
    with pytest.raises(TraceError, match=match):
        load_with(arrays, tmp_path, header=header_with(arrays, **changes))


def test_trace_of_another_model_is_refused(trace, tmp_path):
    save_token_trace(trace, path=tmp_path / "trace.npz")
    with pytest.raises(TraceError, match=r"2 layers, top 2 of 8 experts; the model has 58 layers"):
        load_token_trace(
            tmp_path / "trace.npz", shape=MoeShape(n_layers=58, n_experts=256, top_k=8)
        )


def test_pickled_objects_are_never_loaded(arrays, tmp_path):
    with pytest.raises(TraceError, match="holds pickled objects"):
        load_with(arrays, tmp_path, header=np.array({"a": 1}, dtype=object))


@pytest.mark.parametrize("size", [0, 10, 200, -30])
def test_truncated_file_is_refused(trace, tmp_path, size):
    save_token_trace(trace, path=tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:size])
    with pytest.raises(TraceError, match=r"cut\.npz: damaged or not a trace"):
        load_token_trace(tmp_path / "cut.npz")


def test_missing_file_and_missing_array_are_refused(arrays, tmp_path):
    with pytest.raises(TraceError, match=r"none\.npz: no such file"):
        load_token_trace(tmp_path / "none.npz")
    del arrays["req_offsets"]
    with pytest.raises(TraceError, match="req_offsets: missing"):
        load_with(arrays, tmp_path)


def test_count_trace_survives_a_round_trip_and_must_add_up(trace, tmp_path):
    counts = np.array([[[4, 2, 0, 0, 0, 0, 0, 0]] * 2, [[1] * 8] * 2])
    tokens = np.array([3, 4])
    whole = CountTrace(counts=counts, step_tokens=tokens, header=trace.header)
    for name in ("counts.npz", "counts"):
        save_count_trace(whole, path=tmp_path / name)
        assert (load_count_trace(tmp_path / name).counts == counts).all()
    for wrong, match in (
        (replace(whole, step_tokens=tokens + 1), "step 0, layer 0: counts do not add up"),
        (replace(whole, counts=counts[:1]), "counts: shape"),
        (replace(whole, counts=counts[:, :, :4]), "counts: shape"),
    ):
        save_count_trace(wrong, path=tmp_path / "bad.npz")
        with pytest.raises(TraceError, match=match):
            load_count_trace(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("name", "shape", "n_decode", "n_prefill"),
    [
        ("gptoss20b_decode_trace", (24, 32, 4), 48462, 0),
        ("tiny_moe_trace", (5, 32, 4), 9403, 26771),
    ],
)
def test_shipped_traces_are_whole(name, shape, n_decode, n_prefill):
    layers, experts, top_k = shape
    trace = load_token_trace(
        SHIPPED / f"{name}.npz", shape=MoeShape(n_layers=layers, n_experts=experts, top_k=top_k)
    )
    assert trace.phase_rows("decode").size == n_decode
    assert trace.phase_rows("prefill").size == n_prefill
