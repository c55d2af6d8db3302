import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import TraceError
from rackmoe.serving.arrivals import closed_loop_arrivals_s
from rackmoe.serving.jsonl_traces import read_jsonl_trace
from rackmoe.serving.lengths import FixedLengths
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.request_traces import load_request_trace
from rackmoe.serving.trace_writer import write_request_trace
from rackmoe.serving.workload import RequestTable, build_requests


def requests() -> RequestTable:
    return RequestTable(
        arrival_s=np.array([0.0, 0.25, np.nan]),
        input_tokens=np.array([20, 30, 40]),
        output_tokens=np.array([1, 2, 3]),
        domain=np.array([0, -1, 1]),
        domain_names=("chat", "code"),
        application=np.array([0, 1, 0]),
        application_names=("a", "b"),
        prefixes=PrefixBlocks(
            offsets=np.array([0, 2, 2, 5]), ids=np.array([0, 1, 0, 1, 2]), block_tokens=16
        ),
        previous=np.array([-1, -1, 0]),
        delay_s=np.array([0.0, 0.0, 1.5]),
    )


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    write_request_trace(requests(), path=tmp_path / name)
    again = load_request_trace(tmp_path / name)
    for column in ("arrival_s", "input_tokens", "output_tokens", "domain", "previous", "delay_s"):
        expected = getattr(requests(), column)
        assert getattr(again, column) == pytest.approx(expected, nan_ok=True), column
    assert again.domain_names == ("chat", "code")
    assert again.prefixes.block_tokens == 16
    assert again.prefixes.of(2).tolist() == [0, 1, 2]


def test_a_line_says_only_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    write_request_trace(requests(), path=path)
    header, first, second, third = (json.loads(line) for line in path.read_text().splitlines())
    assert header == {"schema": "rackmoe/requests/1", "block_size": 16}
    assert first == {
        "timestamp": 0.0,
        "input_length": 20,
        "output_length": 1,
        "hash_ids": [0, 1],
        "domain": "chat",
        "application": "a",
    }
    assert "domain" not in second
    assert "timestamp" not in third
    assert (third["parent"], third["delay_ms"]) == (0, 1500.0)


def test_equal_requests_give_equal_files(tmp_path: Path) -> None:
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        write_request_trace(requests(), path=tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.jsonl.gz", "two.jsonl.gz"))
    assert gzip.decompress(one) == gzip.decompress(two)
    assert one == two


@given(
    st.lists(
        st.tuples(st.floats(0, 1e5), st.integers(1, 10**6), st.integers(1, 10**6)),
        min_size=1,
        max_size=8,
    )
)
def test_times_and_lengths_survive(tmp_path_factory, rows) -> None:
    path = tmp_path_factory.mktemp("trace") / "mine.jsonl"
    times_s, inputs, outputs = (np.array(column) for column in zip(*sorted(rows), strict=True))
    table = RequestTable(
        arrival_s=times_s - times_s[0], input_tokens=inputs, output_tokens=outputs
    )
    write_request_trace(table, path=path)
    again = load_request_trace(path)
    assert again.arrival_s == pytest.approx(table.arrival_s, abs=1e-8)
    assert again.input_tokens.tolist() == inputs.tolist()
    assert again.output_tokens.tolist() == outputs.tolist()


def test_a_closed_loop_has_nothing_to_write(tmp_path: Path) -> None:
    loop = build_requests(
        closed_loop_arrivals_s(2),
        lengths=FixedLengths(input_tokens=1, output_tokens=1),
        rng=np.random.default_rng(0),
    )
    with pytest.raises(TraceError, match=r"closed loop have no arrival times"):
        write_request_trace(loop, path=tmp_path / "mine.jsonl")


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"expected a writable path"):
        write_request_trace(requests(), path=tmp_path / "none" / "mine.jsonl")


HEADER = '{"schema": "rackmoe/requests/1"}'


def row(**cells: object) -> str:
    return json.dumps({"timestamp": 0, "input_length": 9, "output_length": 1} | cells)


def test_a_session_id_chains_its_rows() -> None:
    table = read_jsonl_trace(
        "t", lines=[HEADER, row(session_id="a"), row(session_id="b"), row(session_id="a")]
    )
    assert table.previous.tolist() == [-1, -1, 0]


def test_a_later_turn_needs_no_time_of_its_own() -> None:
    later = '{"input_length": 9, "output_length": 1, "parent": 0, "delay_ms": 20}'
    table = read_jsonl_trace("t", lines=[row(timestamp=500), later, row(timestamp=900)])
    assert table.arrival_s == pytest.approx([0, np.nan, 0.4], nan_ok=True)
    assert table.delay_s.tolist() == [0, 0.02, 0]
    assert table.has_sessions


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"parent": 1}, r"t:2: parent: 1; expected the number of an earlier request"),
        ({"parent": "0"}, r"t:2: parent: '0'"),
        ({"delay_ms": -1}, r"t:2: delay_ms: -1"),
        ({"delay_ms": True}, r"t:2: delay_ms: True"),
        ({"timestamp": None}, r"t:2: timestamp: None"),
    ],
)
def test_bad_session_cells_are_named(cells, problem: str) -> None:
    with pytest.raises(TraceError, match=problem):
        read_jsonl_trace("t", lines=[row(), row(**cells)])


def test_order_is_checked_at_the_line_of_the_file() -> None:
    later = '{"input_length": 9, "output_length": 1, "parent": 0}'
    with pytest.raises(TraceError, match=r"t:4: timestamp: 1"):
        read_jsonl_trace("t", lines=[HEADER, row(timestamp=5), later, row(timestamp=1)])
