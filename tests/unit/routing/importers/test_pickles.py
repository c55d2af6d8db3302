import collections
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import TraceError
from rackmoe.routing.importers.pickles import StorageRef, TensorRef, read_pickle

TENSOR_HEAD = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nIntStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
)
HOOKS = b"\x89ccollections\nOrderedDict\n)R"


def read(data):
    return read_pickle(data, place="file.pt: data.pkl")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_data_is_read_as_pickle_wrote_it(value):
    # integers beyond 255 bytes need an opcode that recorders never write
    assert read(pickle.dumps(value, protocol=2)) == value


@given(PLAIN)
@settings(max_examples=50)
def test_ordered_dicts_become_dicts(value):
    ordered = collections.OrderedDict(a=value)
    assert read(pickle.dumps(ordered, protocol=2)) == {"a": value}


def test_tensor_becomes_a_reference():
    data = TENSOR_HEAD + b"(" + STORAGE + b"K\x01K\x02K\x02\x86K\x02K\x01\x86" + HOOKS + b"tR."
    assert read(data) == TensorRef(
        storage=StorageRef(dtype="i4", key="0", n_elements=6),
        offset=1,
        shape=(2, 2),
        strides=(2, 1),
    )


class Evil:
    """What a hostile file would hold."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_a_call_of_the_system_is_refused_and_never_made(protocol, tmp_path):
    target = tmp_path / "pwned"
    data = pickle.dumps(Evil(os.system, f"touch {target}"), protocol=protocol)
    with pytest.raises(TraceError, match=r"file\.pt: data\.pkl: .*; expected plain data"):
        read(data)
    assert not target.exists()


@pytest.mark.parametrize(
    ("call", "arguments"),
    [(eval, ("1",)), (exec, ("1",)), (getattr, ([], "x")), (Path, ("x",)), (np.zeros, (3,))],
)
def test_other_names_are_refused(call, arguments):
    with pytest.raises(TraceError, match="the name '"):
        read(pickle.dumps(Evil(call, *arguments), protocol=2))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x80\x02)\x81.", r"opcode that data does not need \(NEWOBJ"),
        (b"\x80\x02}}b.", r"\(BUILD"),
        (b"cos\nsystem\n.", "the name 'os.system'"),
        (b"\x80\x02ctorch\nload\n.", "the name 'torch.load'"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.", "a call of something else"),
        (b"\x80\x02K\x01K\x02R.", "a call of something else"),
        (TENSOR_HEAD + b"(K\x01K\x01K\x02K\x02K\x02K\x02tR.", "a tensor without a storage"),
        (TENSOR_HEAD + b"(" + STORAGE + b"K\x01NK\x02" + HOOKS + b"tR.", "not made of integers"),
        (
            b"\x80\x02" + STORAGE.replace(b"X\x01\x00\x00\x000", b"K\x01") + b".",
            "an unknown storage",
        ),
        (b"\x80\x02" + STORAGE.replace(b"Int", b"BFloat16") + b".", "torch.BFloat16Storage"),
        (b"\x80\x02K\x01Q.", "a reference to something else than a storage"),
        (b"\x80\x02K\x01K\x02a.", "appended to something that is no list"),
        (b"\x80\x02]K\x01K\x02s.", "items of something that is no dict"),
        (b"\x80\x02}]K\x02s.", "a key of type list"),
    ],
)
def test_what_data_does_not_need_is_refused(data, problem):
    with pytest.raises(TraceError, match=problem):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02K\x01K\x02.",
        b"\x80\x02t.",
        b"\x80\x02h\x07.",
        b"\x80\x02X\xff\xff\xff\xffa.",
        b"\x80\x02\x87.",
    ],
)
def test_torn_pickles_are_refused(data):
    with pytest.raises(TraceError, match="damaged at byte"):
        read(data)


def test_a_huge_memo_number_takes_no_memory():
    assert read(b"\x80\x02K\x05r" + struct.pack("<I", 2**32 - 1) + b".") == 5


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_random_bytes_raise_nothing_but_trace_errors(data):
    for head in (b"\x80\x02", TENSOR_HEAD + b"(" + STORAGE):
        try:
            read(head + data)
        except TraceError:
            continue


@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
@settings(max_examples=300)
def test_damage_raises_nothing_but_trace_errors(at, noise):
    good = pickle.dumps({"records": [{"rank": 0, "ids": [1, 2, 300, 70000]}], "x": None}, 2)
    data = bytearray(good)
    data[at % len(data) : at % len(data) + len(noise)] = noise
    try:
        read(bytes(data))
    except TraceError:
        return
