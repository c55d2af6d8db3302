import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rackmoe.errors import TraceError
from rackmoe.routing.importers.importing import import_trace, import_with_notes


def save(path, passes, *, n_experts=8, version=1, tail=b""):
    """Write passes of (layer, ids [tokens, top_k]) as the patch does."""
    data = b"MBLT" + struct.pack("<ii", version, n_experts)
    for one in passes:
        for layer, ids in one:
            data += struct.pack("<iii", layer, ids.shape[1], ids.shape[0])
            data += ids.astype("<i4").tobytes()
    path.write_bytes(data + tail)
    return path


def whole(ids):
    return [(layer, ids[:, layer]) for layer in range(ids.shape[1])]


def prefill(ids):
    """Only the last token reaches the last layer, as in llama.cpp."""
    return [*whole(ids)[:-1], (ids.shape[1] - 1, ids[-1:, -1])]


def test_passes_become_requests(tmp_path, choices):
    prompt, other = choices(4), choices(3, seed=9)
    outputs = [choices(1, seed=seed) for seed in range(1, 4)]
    passes = [whole(prompt), *map(whole, outputs[:2]), whole(other), whole(outputs[2])]
    done = import_with_notes(save(tmp_path / "a.mblt", passes))
    assert done.format == "mblt"
    assert done.trace.req_offsets.tolist() == [0, 6, 10]
    assert done.trace.n_prompt_rows.tolist() == [4, 3]
    assert (done.trace.header.n_experts, done.trace.header.phase) == (8, "both")
    expected = np.concatenate([prompt, *outputs[:2], other, outputs[2]])
    np.testing.assert_array_equal(done.trace.routed_experts, expected)


def test_prompts_that_lack_the_last_layer_are_left_out(tmp_path, choices):
    outputs = [choices(1, seed=seed) for seed in range(4)]
    passes = [
        prefill(choices(5)),
        *map(whole, outputs[:2]),
        prefill(choices(3)),
        whole(outputs[2]),
    ]
    trace = import_trace(save(tmp_path / "a.mblt", passes))
    assert trace.req_offsets.tolist() == [0, 2, 3]
    assert trace.n_prompt_rows.tolist() == [0, 0]
    assert trace.header.phase == "decode"
    assert "left out 8 prompt tokens" in trace.header.note


def test_torn_end_and_broken_passes_are_left_out(tmp_path, choices):
    passes = [whole(choices(1)), whole(choices(1, seed=1))[1:], whole(choices(1, seed=2))]
    for tail in (b"\x00", struct.pack("<ii", 0, 2), struct.pack("<iiii", 0, 2, 1, 5)):
        trace = import_trace(save(tmp_path / "a.mblt", passes, tail=tail))
        assert trace.n_tokens == 2
        assert "left out 1 passes without all layers" in trace.header.note
    assert "left out the torn last record" in trace.header.note


@pytest.mark.parametrize(
    ("version", "n_experts", "tail", "problem"),
    [
        (2, 8, b"", "version 2, 8 experts; expected version 1"),
        (1, 0, b"", "version 1, 0 experts"),
        (1, 8, struct.pack("<iii", -1, 2, 1) + bytes(8), "layer -1, top 2, 1 tokens"),
        (1, 8, struct.pack("<iii", 0, 0, 1), "layer 0, top 0, 1 tokens"),
        (1, 8, struct.pack("<iii", 10**6, 1, 1) + bytes(4), "layer 1000000"),
        (1, 8, b"", "0 numbers of experts per token"),
        (1, 8, struct.pack("<iii", 0, 2**31 - 1, 2**31 - 1), "0 numbers of experts per token"),
    ],
)
def test_damaged_logs_are_refused(tmp_path, version, n_experts, tail, problem):
    path = save(tmp_path / "a.mblt", [], version=version, n_experts=n_experts, tail=tail)
    with pytest.raises(TraceError, match=problem):
        import_trace(path)


def test_other_files_are_refused(tmp_path):
    for data in (b"", b"MBLT", b"GGUF12345678"):
        (tmp_path / "a.mblt").write_bytes(data)
        with pytest.raises(TraceError, match="expected b'MBLT' and two numbers"):
            import_trace(tmp_path / "a.mblt", format="mblt")
    with pytest.raises(TraceError, match="cannot be read"):
        import_trace(tmp_path / "none.mblt", format="mblt")


@given(st.integers(0, 200), st.binary(min_size=1, max_size=8))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_raises_nothing_but_trace_errors(tmp_path, choices, at, noise):
    path = save(tmp_path / "a.mblt", [whole(choices(4)), whole(choices(1))])
    data = bytearray(path.read_bytes())
    data[at : at + len(noise)] = noise
    path.write_bytes(data)
    try:
        import_trace(path, format="mblt")
    except TraceError:
        return
