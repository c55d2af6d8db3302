import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from rackmoe.errors import TraceError
from rackmoe.routing.importers.arrays import map_npy, npy_names, parse_npy, read_npz_array
from rackmoe.routing.importers.zips import open_zip

DTYPES = st.sampled_from(["u1", "u2", "<i4", ">i4", "<i8", "<f4", "<f8", "?", "<U5"])


def save(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def with_header(text, data=b""):
    header = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@given(DTYPES.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0))))
@settings(max_examples=100)
def test_arrays_come_back_as_they_were(array):
    for order in (array, np.asfortranarray(array)):
        read = parse_npy(save(order), place="a")
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_file_is_mapped_not_read(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    np.save(tmp_path / "a.npy", array)
    mapped = map_npy(tmp_path / "a.npy")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, array)
    np.save(tmp_path / "b.npy", array[:0])
    assert map_npy(tmp_path / "b.npy").shape == (0, 3, 2)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", r"begins with b''"),
        (b"\x93NUMPY\x09\x00", "version 1 or 2"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}", b"abc"), "bytes"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", b"abc"), "bytes"),
        (with_header("{'descr': '<i8', 'fortran_order': False, 'shape': (10**9,)}"), "unreadable"),
        (
            with_header("{'descr': '<i8', 'fortran_order': False, 'shape': (999999999999,)}"),
            "expected 8000000000",
        ),
        (with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"a"), "plain"),
        (
            with_header("{'descr': [('a', 'u1')], 'fortran_order': 0, 'shape': (1,)}", b"a"),
            "plain",
        ),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}"), "plain"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (True,)}", b"a"), "plain"),
        (with_header("__import__('os')"), "unreadable header"),
        (with_header("(" * 5000), "unreadable header"),
        (with_header("[1, 2]"), "unreadable header"),
    ],
)
def test_anything_else_is_refused(data, problem):
    with pytest.raises(TraceError, match=problem):
        parse_npy(data, place="a")


@given(st.integers(0, 127), st.binary(min_size=1, max_size=4))
@settings(max_examples=200)
def test_damage_raises_nothing_but_trace_errors(at, noise):
    data = bytearray(save(np.arange(10)))
    data[at : at + len(noise)] = noise
    try:
        parse_npy(bytes(data), place="a")
    except TraceError:
        return


def test_members_of_npz_files_are_read(tmp_path):
    arrays = {"one": np.arange(3), "two": np.ones((2, 2), np.float32)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with open_zip(tmp_path / "a.npz") as archive:
        assert npy_names(archive) == ["one", "two"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(read_npz_array(archive, name=name), array)


def test_npz_with_objects_is_refused_and_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.array([{"a": 1}], dtype=object))
    with (
        open_zip(tmp_path / "a.npz") as archive,
        pytest.raises(TraceError, match=r"a\.npz: one: array of '\|O'"),
    ):
        read_npz_array(archive, name="one")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(TraceError, match=r"none\.npy: cannot be read"):
        map_npy(tmp_path / "none.npy")
