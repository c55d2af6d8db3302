import json

import pytest

from rackmoe.errors import TraceError
from rackmoe.serving.jsonl_traces import read_jsonl_trace
from rackmoe.serving.workload import RequestTable


def row(time: object = 0, inputs: object = 1024, outputs: object = 5, **more: object) -> str:
    fields = {"timestamp": time, "input_length": inputs, "output_length": outputs}
    return json.dumps(fields | more)


def read(*lines: str) -> RequestTable:
    return read_jsonl_trace("m.jsonl", lines=list(lines))


def test_times_are_milliseconds_and_prefix_blocks_stay_with_their_request() -> None:
    requests = read(
        row(1000, 1025, 5, hash_ids=[7, 2**63, 3]),
        row(1500, 10, 6),
        row(3000, 600, 7, hash_ids=[7, 9]),
    )
    assert requests.arrival_s.tolist() == [0, 0.5, 2]
    assert requests.output_tokens.tolist() == [5, 6, 7]
    # numbered in the order of their first appearance
    assert requests.prefixes.of(0).tolist() == [0, 1, 2]
    assert requests.prefixes.of(1).tolist() == []
    assert requests.prefixes.of(2).tolist() == [0, 3]
    assert requests.prefixes.block_tokens == 512


def test_without_hash_ids_there_are_no_prefixes() -> None:
    requests = read(row(), row(4))
    assert requests.prefixes is None
    assert requests.domain.tolist() == [-1, -1]


def test_a_header_sets_the_block_size() -> None:
    requests = read('{"block_size": 16}', row(0, 33, 1, hash_ids=[1, 2, 3]))
    assert requests.prefixes.block_tokens == 16
    assert len(requests) == 1


def test_domains_are_numbered_as_they_appear() -> None:
    requests = read(row(domain="code"), row(), row(domain="chat"), row(domain="code"))
    assert requests.domain.tolist() == [0, -1, 1, 0]
    assert requests.domain_names == ("code", "chat")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "m.jsonl:2: Expecting property name"),
        ("[1, 2]", r"m.jsonl:2: '\[1, 2\]'; expected a JSON object; remove this line"),
        ("", "m.jsonl:2: Expecting value"),
        ('{"timestamp": 1, "input_length": 3}', "m.jsonl:2: output_length: missing; expected tim"),
        (row(float("nan")), "m.jsonl:2: timestamp: nan; expected a finite time"),
        (row("soon"), "m.jsonl:2: timestamp: 'soon'; expected a number"),
        (row(-5), "m.jsonl:2: timestamp: -5; expected a finite time of 0 or more"),
        (row(9, 0), "m.jsonl:2: input_length: 0; expected a whole number of tokens, at least 1"),
        (row(9, 1, None), "m.jsonl:2: output_length: None; expected a number"),
        (row(2), "m.jsonl:2: timestamp: 2; expected at least 3, the time of the row before"),
        (row(9, hash_ids=[1, "a"]), "m.jsonl:2: hash_ids: .*; expected a list of whole numbers"),
        (row(9, hash_ids=[True]), "m.jsonl:2: hash_ids: .*; expected a list of whole numbers"),
        (row(9, hash_ids=None), "m.jsonl:2: hash_ids: None; expected a list of whole numbers"),
        (row(9, 1024, hash_ids=[1, 2, 3]), "m.jsonl:2: hash_ids: 3 blocks; expected at most 2 of"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        read(row(3), line)


def test_a_header_alone_is_no_trace() -> None:
    with pytest.raises(TraceError, match=r"m.jsonl:1: no request; expected one a line"):
        read('{"block_size": 16}')


@pytest.mark.parametrize("size", ["16", 0, None])
def test_a_bad_block_size_is_refused(size: object) -> None:
    with pytest.raises(TraceError, match=r"m.jsonl:1: block_size: .*; expected the prompt tokens"):
        read(json.dumps({"block_size": size}), row())


def test_all_damaged_lines_come_at_once() -> None:
    with pytest.raises(TraceError) as error:
        read("{", row(), "}")
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == ["1", "3"]
