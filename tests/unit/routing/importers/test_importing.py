import itertools
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rackmoe.errors import TraceError
from rackmoe.routing.importers import importing
from rackmoe.routing.importers.formats import FORMATS
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes
from rackmoe.routing.trace_files import (
    load_count_trace,
    load_token_trace,
    save_count_trace,
    save_token_trace,
)
from rackmoe.schema.shipped import shipped_path

HINTS = ImportHints(n_experts=8, top_k=2, source="a cluster", licence="CC0-1.0")


@pytest.fixture
def token_trace(tmp_path, choices):
    np.savez(tmp_path / "plain.npz", routed_experts=choices(5))
    return import_trace(tmp_path / "plain.npz", hints=HINTS)


@pytest.fixture
def count_trace(tmp_path, choices, count_of):
    np.savez(tmp_path / "counts.npz", counts=count_of(choices(5)))
    return import_trace(tmp_path / "counts.npz", hints=HINTS)


def test_each_format_has_a_reader():
    assert {"rackmoe", *importing._READERS} == set(FORMATS)


@pytest.mark.parametrize("name", ["own.npz", "own"])
def test_imported_traces_are_saved_and_loaded_as_they_are(
    tmp_path, token_trace, count_trace, name
):
    save_token_trace(token_trace, path=tmp_path / name)
    loaded = load_token_trace(tmp_path / name)
    np.testing.assert_array_equal(loaded.routed_experts, token_trace.routed_experts)
    assert loaded.header == token_trace.header
    save_count_trace(count_trace, path=tmp_path / f"counts_{name}")
    loaded = load_count_trace(tmp_path / f"counts_{name}")
    np.testing.assert_array_equal(loaded.counts, count_trace.counts)
    assert loaded.header == count_trace.header


@pytest.mark.parametrize("name", ["own.npz", "own"])
def test_own_traces_are_imported_unchanged(tmp_path, token_trace, count_trace, name):
    save_token_trace(token_trace, path=tmp_path / name)
    done = import_with_notes(tmp_path / name)
    assert (done.format, done.trace.header) == ("rackmoe", token_trace.header)
    save_count_trace(count_trace, path=tmp_path / f"counts_{name}")
    assert import_trace(tmp_path / f"counts_{name}").step_tokens.tolist() == [5]


def test_own_traces_of_another_model_are_refused(tmp_path, token_trace, gpt_oss):
    save_token_trace(token_trace, path=tmp_path / "own.npz")
    with pytest.raises(TraceError, match=r"own\.npz: n_experts is 8 and 32"):
        import_trace(tmp_path / "own.npz", model=gpt_oss)
    with pytest.raises(TraceError, match="3 MoE layers; expected those of"):
        import_trace(tmp_path / "own.npz", hints=ImportHints(moe_layer_ids=(0, 1)))


def test_shipped_recording_survives_the_layout_of_its_origin(tmp_path):
    path = shipped_path("scenarios/traces/routing", name="gptoss20b_decode_trace", suffix=".npz")
    trace = import_trace(path, model="gpt-oss-20b")
    last = int(trace.req_offsets[2])
    for number, (first, end) in enumerate(itertools.pairwise(trace.req_offsets[:3].tolist())):
        data = [
            {
                f"token_{at}": {
                    f"layer_{n}": {"selected_experts": ids.tolist()} for n, ids in layers
                }
            }
            for at, layers in (
                (at, enumerate(trace.routed_experts[at])) for at in range(first, end)
            )
        ]
        (tmp_path / f"{number}_examples.json").write_text(json.dumps({"router_data": data}))
    again = import_trace(tmp_path, model="gpt-oss-20b")
    np.testing.assert_array_equal(again.routed_experts, trace.routed_experts[:last])
    assert again.req_offsets.tolist() == trace.req_offsets[:3].tolist()
    assert again.header.moe_layer_ids == trace.header.moe_layer_ids


def test_unknown_format_is_refused(tmp_path, token_trace):
    assert token_trace.header.source == "a cluster"
    with pytest.raises(TraceError, match=r"plain\.npz: format 'csv'; expected one of rackmoe"):
        import_trace(tmp_path / "plain.npz", format="csv")


def test_notes_are_in_the_header(tmp_path, token_trace):
    done = import_with_notes(tmp_path / "plain.npz", hints=HINTS)
    assert done.notes == (
        "plain npz of token ids",
        "layers numbered from 0 in the order of the file; no model was named",
    )
    assert token_trace.header.note == "; ".join(done.notes)


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=200))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_raise_nothing_but_trace_errors(tmp_path, name, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(TraceError):
        import_trace(tmp_path / "a", format=name, hints=HINTS)


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=6))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_recordings_raise_nothing_but_trace_errors(tmp_path, write_torch, at, noise):
    counts = np.tile(np.arange(8, dtype=np.int32), (2, 3, 1))
    path = write_torch(tmp_path / "a.pt", {"rank": 0, "logical_count": counts})
    data = bytearray(path.read_bytes())
    data[at % len(data) : at % len(data) + len(noise)] = noise
    path.write_bytes(data)
    try:
        import_trace(path, hints=HINTS)
    except TraceError:
        return
