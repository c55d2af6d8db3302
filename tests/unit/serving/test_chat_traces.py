import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.serving.chat_traces import is_chat_row, read_chat_rows


def chat(number: int, parent: int = -1, **changes):
    row = {
        "chat_id": number,
        "parent_chat_id": parent,
        "timestamp": 10.0 * number,
        "input_length": 40,
        "output_length": 5,
        "type": "text",
        "turn": 1,
        "hash_ids": [1, 2, 3],
    }
    return row | changes


def read(*rows):
    return read_chat_rows("t.jsonl", rows=list(rows))


def test_chats_arrive_at_their_seconds_and_know_their_parents() -> None:
    requests = read(chat(5), chat(6), chat(7, parent=5, type="image"))
    assert requests.arrival_s.tolist() == [0, 10, 20]
    assert requests.previous.tolist() == [-1, -1, 0]
    assert requests.delay_s.tolist() == [0, 0, 20]
    assert not requests.has_sessions  # they have times of their own
    assert requests.domain_names == ("text", "image")
    assert requests.prefixes.block_tokens == 16
    assert requests.prefixes.of(2).tolist() == [0, 1, 2]


def test_a_parent_from_before_the_trace_is_none() -> None:
    assert read(chat(5, parent=4)).previous.tolist() == [-1]


def test_a_parent_that_comes_later_is_none() -> None:
    assert read(chat(5, parent=6), chat(6)).previous.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"input_length": 0}, r"t.jsonl:1: input_length: 0"),
        ({"timestamp": "noon"}, r"t.jsonl:1: timestamp: 'noon'"),
        ({"hash_ids": [1, 2, 3, 4]}, r"t.jsonl:1: hash_ids: 4 blocks; expected at most 3 of 16"),
        ({"hash_ids": ["a"]}, r"expected a list of whole numbers"),
    ],
)
def test_bad_cells_are_named(changes, problem: str) -> None:
    with pytest.raises(TraceError, match=problem):
        read(chat(5, **changes))


def test_missing_keys_are_named() -> None:
    row = chat(5)
    del row["parent_chat_id"], row["timestamp"]
    with pytest.raises(TraceError, match=r"parent_chat_id: missing.*\n.*timestamp: missing"):
        read(row)


def test_rows_tell_their_form() -> None:
    assert is_chat_row(chat(1))
    assert not is_chat_row({"timestamp": 1})
    assert np.isfinite(read(chat(1)).arrival_s).all()
