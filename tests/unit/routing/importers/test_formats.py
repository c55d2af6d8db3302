import json
import pickle

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.formats import FORMATS, sniff_format


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"record_type": "eplb_load_meta"}', "vllm_eplb"),
        ('[{"router_data": []}]', "fingerprint"),
        ('{"logical_count": []}', "sglang_counts"),
        ('{"meta_info": {"routed_experts": "AAAA"}}', "sglang_responses"),
        ('{"choices": [{"routed_experts": "k05VTVBZAQ=="}]}', "vllm_responses"),
        ('\n {"req_id": 1, "topk_ids": []}', "route_log"),
        ('{"layer": 1, "topk_experts": []}', "route_log"),
    ],
)
def test_texts_are_known_by_their_keys(tmp_path, text, expected):
    (tmp_path / "a.json").write_text(text)
    assert sniff_format(tmp_path / "a.json") == expected
    assert sniff_format(tmp_path) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x93NUMPY\x01\x00", "vllm_responses"),
        (b"MBLT\x01\x00\x00\x00", "mblt"),
        (b"PAR1\x00", "parquet"),
    ],
)
def test_binary_files_are_known_by_their_first_bytes(tmp_path, data, expected):
    (tmp_path / "a").write_bytes(data)
    assert sniff_format(tmp_path / "a") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meta_info.json", "tensorrt_llm"),
        ("header.json", "rackmoe"),
        ("r_0.pt", "sglang_recorder"),
        ("a.npy", "vllm_responses"),
        ("a.npz", "npz"),
        ("a_examples.json", "fingerprint"),
    ],
)
def test_folders_are_known_by_their_files(tmp_path, name, expected):
    (tmp_path / name).touch()
    assert sniff_format(tmp_path) == expected


def test_archives_are_known_by_their_members(tmp_path, write_torch):
    assert sniff_format(write_torch(tmp_path / "a.pt", {})) == "sglang_recorder"
    np.savez(tmp_path / "b.npz", routed_experts=np.ones((1, 1, 1)))
    assert sniff_format(tmp_path / "b.npz") == "npz"
    np.savez(tmp_path / "c.npz", np.ones((1, 1)), np.ones((1, 1)))
    assert sniff_format(tmp_path / "c.npz") == "router_logits"
    header = json.dumps({"format": "rackmoe-token-trace-v0"})
    np.savez(tmp_path / "d.npz", routed_experts=np.ones((1, 1, 1)), header=np.array(header))
    assert sniff_format(tmp_path / "d.npz") == "rackmoe"


def test_unknown_files_are_refused_with_the_list_of_formats(tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    with pytest.raises(TraceError, match=r"begins with b'hello'; .*give the format: rackmoe, sg"):
        sniff_format(tmp_path / "a")
    (tmp_path / "b").write_text("{}")
    with pytest.raises(TraceError, match="JSON without a known key"):
        sniff_format(tmp_path / "b")
    with pytest.raises(TraceError, match="cannot be read"):
        sniff_format(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraceError, match="a folder without known files"):
        sniff_format(tmp_path / "empty")


def test_bare_pickle_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"logical_count": 1}))
    with pytest.raises(TraceError, match="bare pickles are refused"):
        sniff_format(tmp_path / "a.pt")


def test_each_format_is_described():
    assert all(FORMATS.values())


@pytest.mark.parametrize("name", ["a.npz", "a.json", "a.pt", "a.parquet"])
def test_an_empty_file_is_called_one(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(TraceError, match=f"{name}: an empty file; expected a trace"):
        sniff_format(tmp_path / name)
