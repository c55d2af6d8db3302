import zipfile

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.torch_zip import open_torch

NUMBERS = np.arange(24, dtype=np.int32).reshape(2, 3, 4)


def open_tensor(path, *, n_axes):
    with open_torch(path) as file:
        return file.array(file.contents["x"], place="file: x", n_axes=n_axes)


def write_view(path, *, build, write_parts, array=NUMBERS, **view):
    """Write {"x": a view of array}, as it says, sound or not."""
    pickle = build()
    pickle.out += b"}"
    pickle.memo()
    pickle.word("x")
    pickle.tensor(array, **view)
    pickle.out += b"s."
    return write_parts(path, pickle=pickle.out, storages=pickle.storages)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_tensors_come_back_as_they_were(tmp_path, write_torch, dtype):
    array = NUMBERS.astype(dtype)
    path = write_torch(tmp_path / "a.pt", {"x": array, "other": [1, 2.5, "three", None, True]})
    with open_torch(path) as file:
        read = file.array(file.contents["x"], place="a", n_axes=3)
        assert file.contents["other"] == [1, 2.5, "three", None, True]
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_transposed_view_is_followed(tmp_path, torch_pickle, write_parts):
    view = {"shape": (4, 3), "strides": (1, 4), "offset": 12}
    path = write_view(tmp_path / "a.pt", build=torch_pickle, write_parts=write_parts, **view)
    np.testing.assert_array_equal(open_tensor(path, n_axes=2), NUMBERS[1].T)


def test_empty_tensor_is_empty(tmp_path, torch_pickle, write_parts):
    view = {"shape": (0, 7), "strides": (7, 1)}
    path = write_view(tmp_path / "a.pt", build=torch_pickle, write_parts=write_parts, **view)
    assert open_tensor(path, n_axes=2).shape == (0, 7)


def test_big_endian_numbers_are_turned(tmp_path, torch_pickle, write_parts):
    pickle = torch_pickle()
    pickle.put({"x": NUMBERS})
    swapped = [NUMBERS.astype(">i4").tobytes()]
    path = write_parts(
        tmp_path / "a.pt", pickle=pickle.out + b".", storages=swapped, byteorder=b"big"
    )
    np.testing.assert_array_equal(open_tensor(path, n_axes=3), NUMBERS)


@pytest.mark.parametrize(
    "view",
    [
        {"shape": (2, 13), "strides": (12, 1)},
        {"shape": (25,), "strides": (1,)},
        {"shape": (5,), "strides": (1,), "offset": 20},
        {"shape": (4,), "strides": (-1,), "offset": 3},
        {"shape": (2,), "strides": (1,), "offset": -1},
        {"shape": (10**12,), "strides": (0,)},
        {"shape": (2**62, 2**62), "strides": (0, 0)},
    ],
)
def test_view_outside_its_storage_is_refused(tmp_path, torch_pickle, write_parts, view):
    path = write_view(tmp_path / "a.pt", build=torch_pickle, write_parts=write_parts, **view)
    with pytest.raises(TraceError, match="expected a view inside it; do not trust it"):
        open_tensor(path, n_axes=len(view["shape"]))


@pytest.mark.parametrize("n_elements", [23, 25, 10**15])
def test_storage_of_another_size_is_refused(tmp_path, torch_pickle, write_parts, n_elements):
    path = write_view(
        tmp_path / "a.pt", build=torch_pickle, write_parts=write_parts, n_elements=n_elements
    )
    with pytest.raises(TraceError, match=f"96 bytes in data/0; expected {n_elements} elements"):
        open_tensor(path, n_axes=3)


def test_missing_storage_is_refused(tmp_path, torch_pickle, write_parts):
    pickle = torch_pickle()
    pickle.put({"x": NUMBERS})
    path = write_parts(tmp_path / "a.pt", pickle=pickle.out + b".", storages=[])
    with pytest.raises(TraceError, match="-1 bytes in data/0"):
        open_tensor(path, n_axes=3)


def test_floats_and_other_axes_are_refused(tmp_path, write_torch):
    path = write_torch(tmp_path / "a.pt", {"x": np.ones(3, np.float32)})
    with pytest.raises(TraceError, match="not a tensor of integers"):
        open_tensor(path, n_axes=1)
    path = write_torch(tmp_path / "b.pt", {"x": NUMBERS})
    with pytest.raises(TraceError, match=r"shape \(2, 3, 4\); expected 2 axes"):
        open_tensor(path, n_axes=2)


def test_archive_without_a_pickle_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/version", b"3")
    with pytest.raises(TraceError, match=r"0 files data\.pkl; expected one"), open_torch(path):
        pass


def test_huge_pickle_is_refused_before_it_is_read(tmp_path, write_parts, monkeypatch):
    path = write_parts(tmp_path / "a.pt", pickle=b"\x80\x02N." + b"x" * 100, storages=[])
    monkeypatch.setattr("rackmoe.routing.importers.torch_zip._PICKLE_LIMIT_BYTES", 50)
    with pytest.raises(TraceError, match=r"data\.pkl of 104 bytes; expected at most 50"):
        open_tensor(path, n_axes=1)
