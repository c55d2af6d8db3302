"""Builders of the files of other programs, byte by byte in their own layouts."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from rackmoe.model.config import load_model

_STORAGES = {
    "int64": "LongStorage",
    "int32": "IntStorage",
    "float32": "FloatStorage",
    "uint8": "ByteStorage",
}


class TorchPickle:
    """Pickle protocol 2 as torch.save writes it, one opcode after the other."""

    def __init__(self):
        self.out = bytearray(b"\x80\x02")
        self.storages = []
        self.n_memo = 0

    def memo(self):
        code = (
            b"q" + bytes([self.n_memo])
            if self.n_memo < 256
            else b"r" + struct.pack("<I", self.n_memo)
        )
        self.out += code
        self.n_memo += 1

    def word(self, text):
        data = text.encode()
        self.out += b"X" + struct.pack("<I", len(data)) + data
        self.memo()

    def integer(self, value):
        if 0 <= value < 256:
            self.out += b"K" + bytes([value])
        elif 0 <= value < 65536:
            self.out += b"M" + struct.pack("<H", value)
        elif -(2**31) <= value < 2**31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            data = value.to_bytes(9, "little", signed=True)
            self.out += b"\x8a" + bytes([len(data)]) + data

    def put(self, value):
        if isinstance(value, dict):
            self.out += b"}"
            self.memo()
            self.out += b"("
            for key, item in value.items():
                self.put(key)
                self.put(item)
            self.out += b"u"
        elif isinstance(value, list):
            self.out += b"]"
            self.memo()
            self.out += b"("
            for item in value:
                self.put(item)
            self.out += b"e"
        elif isinstance(value, np.ndarray):
            self.tensor(value)
        elif isinstance(value, str):
            self.word(value)
        elif value is None or isinstance(value, bool):
            self.out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, float):
            self.out += b"G" + struct.pack(">d", value)
        else:
            self.integer(int(value))

    def tensor(self, array, *, shape=None, strides=None, offset=0, n_elements=None):
        self.out += b"ctorch._utils\n_rebuild_tensor_v2\n"
        self.memo()
        self.out += b"(("
        self.word("storage")
        self.out += b"ctorch\n" + _STORAGES[array.dtype.name].encode() + b"\n"
        self.memo()
        self.word(str(len(self.storages)))
        self.word("cuda:0")
        self.integer(array.size if n_elements is None else n_elements)
        self.out += b"t"
        self.memo()
        self.out += b"Q"
        self.integer(offset)
        steps = [step // array.itemsize for step in np.ascontiguousarray(array).strides]
        for axes in (
            array.shape if shape is None else shape,
            steps if strides is None else strides,
        ):
            self.out += b"("
            for n in axes:
                self.integer(n)
            self.out += b"t"
            self.memo()
        self.out += b"\x89ccollections\nOrderedDict\n)R"
        self.memo()
        self.out += b"tR"
        self.memo()
        self.storages.append(np.ascontiguousarray(array).tobytes())


def write_torch_parts(
    path, *, pickle, storages, byteorder=b"little", compression=zipfile.ZIP_STORED
):
    """Write a zip with the members that torch.save gives it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", bytes(pickle))
        archive.writestr("archive/byteorder", byteorder)
        for number, data in enumerate(storages):
            archive.writestr(f"archive/data/{number}", data)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/.data/serialization_id", b"0" * 40)
    return path


def write_torch_file(path, value):
    pickle = TorchPickle()
    pickle.put(value)
    return write_torch_parts(path, pickle=pickle.out + b".", storages=pickle.storages)


def write_safetensors_file(path, tensors, *, metadata=None):
    """Write an eight-byte length, a JSON header and raw numbers."""
    names = {"int64": "I64", "int32": "I32", "uint8": "U8", "float32": "F32"}
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": names[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture
def torch_pickle():
    return TorchPickle


@pytest.fixture
def write_parts():
    return write_torch_parts


@pytest.fixture
def write_torch():
    return write_torch_file


@pytest.fixture
def write_safetensors():
    return write_safetensors_file


@pytest.fixture
def npy_bytes():
    def build(array):
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue()

    return build


@pytest.fixture
def choices():
    """Ids [tokens, layers, experts], distinct within a token and layer."""

    def build(n_tokens, *, n_layers=3, top_k=2, n_experts=8, seed=0):
        rng = np.random.default_rng(seed)
        order = np.argsort(rng.random((n_tokens, n_layers, n_experts)), axis=2)
        return order[:, :, :top_k].astype(np.int32)

    return build


@pytest.fixture
def count_of():
    """Counts [layers, experts] of some ids."""

    def build(ids, *, n_experts=8):
        return np.stack(
            [
                np.bincount(ids[:, layer].ravel(), minlength=n_experts)
                for layer in range(ids.shape[1])
            ]
        ).astype(np.int32)

    return build


@pytest.fixture(scope="session")
def deepseek():
    """A model with three dense layers, 58 MoE layers, one shared expert, top 8 of 256."""
    return load_model("deepseek-r1")


@pytest.fixture(scope="session")
def gpt_oss():
    """A model without dense layers or shared experts, top 4 of 32 in 24 layers."""
    return load_model("gpt-oss-20b")
