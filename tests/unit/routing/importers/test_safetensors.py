import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rackmoe.errors import TraceError
from rackmoe.routing.importers.safetensors import read_safetensors


def write(path, header, data=b"", *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(*, dtype="U8", shape=(2,), offsets=(0, 2)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_tensors_come_back_as_they_were(tmp_path, write_safetensors):
    tensors = {
        "50_3": np.arange(8, dtype=np.int64),
        "50_4": np.arange(6, dtype=np.int32).reshape(3, 2),
        "empty": np.empty((0, 4), np.int32),
        "bytes": np.arange(3, dtype=np.uint8),
    }
    path = write_safetensors(tmp_path / "a.safetensors", tensors, metadata={"format": "pt"})
    read = read_safetensors(path)
    assert set(read) == set(tensors)
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (entry(offsets=(0, 3)), "bytes 0 to 3 of 2 .* expected 2 bytes inside the file"),
        (entry(offsets=(1, 3)), "bytes 1 to 3 of 2"),
        (entry(offsets=(2, 0)), "bytes 2 to 0"),
        (entry(offsets=(0, 1)), "expected 2 bytes"),
        (entry(shape=(10**9, 10**9, 10**9)), "expected 1000000000000000000000000000 bytes"),
        (entry(shape=(-2,)), "whole numbers"),
        (entry(shape=(True,)), "whole numbers"),
        (entry(offsets=(0, 1, 2)), "whole numbers"),
        (entry(dtype="F32"), "dtype 'F32'; expected integers"),
        (entry(dtype=["U8"]), "expected integers"),
        ({"a": 3}, "dtype 'None'"),
        ([1], "header is no mapping"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, header, problem):
    with pytest.raises(TraceError, match=problem):
        read_safetensors(write(tmp_path / "a.safetensors", header, b"ab"))


@pytest.mark.parametrize("length", [30, 2**40, 2**64 - 1])
def test_header_beyond_the_file_is_refused(tmp_path, length):
    with pytest.raises(TraceError, match=f"header of {length} bytes in a file of 10"):
        read_safetensors(write(tmp_path / "a.safetensors", b"{}", length=length))


def test_short_and_missing_files_are_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"abc")
    with pytest.raises(TraceError, match="in a file of 3"):
        read_safetensors(tmp_path / "a.safetensors")
    with pytest.raises(TraceError, match="cannot be read"):
        read_safetensors(tmp_path / "b.safetensors")


def test_file_without_tensors_is_empty(tmp_path):
    assert read_safetensors(write(tmp_path / "a.safetensors", b"{}")) == {}


@given(st.integers(0, 90), st.binary(min_size=1, max_size=4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_raises_nothing_but_trace_errors(tmp_path, at, noise):
    path = write(tmp_path / "a.safetensors", entry(), b"ab")
    data = bytearray(path.read_bytes())
    data[at : at + len(noise)] = noise
    path.write_bytes(data)
    try:
        read_safetensors(path)
    except TraceError:
        return
