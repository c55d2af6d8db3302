import gzip
from pathlib import Path

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.serving.request_traces import load_request_trace

SHIPPED = Path(__file__).parents[3] / "scenarios" / "traces" / "requests"
GOOD_CSV = "arrival_s,input_tokens,output_tokens\n0,1,2\n"


# requests/s and mean lengths as published with the traces; variation of the gaps measured on them
@pytest.mark.parametrize(
    ("name", "n_requests", "rate", "inputs", "outputs", "variation"),
    [
        ("azure_conv_2023.csv", 19_366, 5.53, 1155, 211, 1.09),
        ("azure_code_2023.csv", 8_819, 2.57, 2048, 28, 13.2),
        ("mooncake_conversation.jsonl.gz", 12_031, 3.40, 12_035, 343, 3.0),
        ("mooncake_synthetic.jsonl.gz", 3_993, 3.91, 15_325, 149, 1.01),
    ],
)
def test_shipped_traces_are_what_was_published(
    name: str, n_requests: int, rate: float, inputs: float, outputs: float, variation: float
) -> None:
    requests = load_request_trace(SHIPPED / name)
    assert len(requests) == n_requests
    assert requests.rate_requests_per_s == pytest.approx(rate, abs=0.006)
    assert requests.input_tokens.mean() == pytest.approx(inputs, abs=0.6)
    assert requests.output_tokens.mean() == pytest.approx(outputs, abs=0.6)
    gaps_s = np.diff(requests.arrival_s)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(variation, abs=0.05)
    assert (requests.prefixes is not None) == name.startswith("mooncake")


def test_line_ends_a_byte_order_mark_and_blank_last_lines_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD_CSV.replace("\n", "\r\n").encode() + b"\r\n  \r\n")
    assert len(load_request_trace(path)) == 1


def test_compressed_files_are_read_by_their_inner_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.v2.csv.gz"
    path.write_bytes(gzip.compress(GOOD_CSV.encode()))
    assert load_request_trace(str(path)).output_tokens.tolist() == [2]


@pytest.mark.parametrize("damage", ["cut", "flipped", "plain"])
def test_damaged_compression_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    data = gzip.compress(GOOD_CSV.encode() * 100)
    middle = len(data) // 2
    damaged = {
        "cut": data[:-5],
        "flipped": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
        "plain": GOOD_CSV.encode(),
    }
    path = tmp_path / "a.csv.gz"
    path.write_bytes(damaged[damage])
    with pytest.raises(TraceError, match=r"a.csv.gz: damaged gzip data .*; copy it again"):
        load_request_trace(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none.csv: No such file or directory; expected a read"):
        load_request_trace(tmp_path / "none.csv")


@pytest.mark.parametrize("name", ["trace.parquet", "trace", "trace.gz"])
def test_another_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TraceError, match=r"is no request trace; expected .csv or .jsonl"):
        load_request_trace(tmp_path / name)


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError, match=r"a.jsonl: empty file; expected a row for each request"):
        load_request_trace(path)


def test_binary_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"arrival_s\xff\xfe")
    with pytest.raises(TraceError, match=r"a.csv: byte 9 is not UTF-8; expected text"):
        load_request_trace(path)
