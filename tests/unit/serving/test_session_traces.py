import json

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.schema.shipped import shipped_folder
from rackmoe.serving.prefix_cache import replay_hit_frac
from rackmoe.serving.request_traces import load_request_trace
from rackmoe.serving.session_traces import is_session_row, read_session_rows


def at(second: float) -> str:
    return f"2026-06-01T05:40:{second:06.3f}Z"


def round_row(session: str, number: int, total: int, prefix: int, output: int, **changes):
    row = {
        "provider": "one",
        "session_id": session,
        "round_index": number,
        "input_tokens_total": total,
        "prefix_tokens": prefix,
        "output_tokens": output,
        "timing_events": [
            {"event_type": "user_message", "timestamp": at(10 * number)},
            {"event_type": "text", "timestamp": at(10 * number + 4)},
        ],
    }
    return row | changes


def read(*rows):
    return read_session_rows("t.jsonl", rows=list(rows))


def test_rounds_follow_each_other_after_their_delay() -> None:
    requests = read(round_row("a", 0, 100, 0, 30), round_row("a", 1, 200, 128, 5))
    assert requests.previous.tolist() == [-1, 0]
    assert requests.arrival_s[0] == 0
    assert np.isnan(requests.arrival_s[1])
    assert requests.delay_s == pytest.approx([0, 6])
    assert requests.input_tokens.tolist() == [100, 200]
    assert requests.domain_names == ("one",)


def test_the_last_tool_result_sends_the_round() -> None:
    events = [
        {"event_type": "tool_result", "timestamp": at(12)},
        {"event_type": "tool_result", "timestamp": at(20)},
        {"event_type": "reasoning", "timestamp": at(21)},
    ]
    requests = read(
        round_row("a", 0, 100, 0, 30), round_row("a", 1, 200, 0, 5, timing_events=events)
    )
    assert requests.delay_s == pytest.approx([0, 16])


def test_a_round_repeats_the_context_before_it_answer_included() -> None:
    requests = read(round_row("a", 0, 100, 0, 60), round_row("a", 1, 300, 150, 5))
    first, second = (requests.prefixes.of(row).tolist() for row in range(2))
    # 160 tokens of context in blocks of 64, of which 150 // 64 are repeated
    assert len(first) == 3
    assert second[:2] == first[:2]
    assert not set(second[2:]) & set(first)
    assert replay_hit_frac(requests) == pytest.approx(2 / (2 + 5))


def test_first_rounds_of_a_provider_share_its_system_prompt() -> None:
    requests = read(
        round_row("a", 0, 300, 128, 5),
        round_row("b", 0, 300, 70, 5, provider="two"),
        round_row("c", 0, 300, 256, 5),
    )
    first, second, third = (requests.prefixes.of(row).tolist() for row in range(3))
    assert third[:2] == first[:2]
    assert len(set(first) & set(third)) == 2
    assert not set(second) & set(first + third)
    assert requests.prefixes.n_common == 4 + 1


def test_sessions_start_in_the_order_of_their_time() -> None:
    late = [
        {"event_type": "user_message", "timestamp": at(30)},
        {"event_type": "text", "timestamp": at(31)},
    ]
    requests = read(
        round_row("b", 0, 50, 0, 5, timing_events=late),
        round_row("a", 0, 60, 0, 5),
        round_row("a", 1, 70, 0, 0),
    )
    assert requests.input_tokens.tolist() == [60, 70, 50]
    assert requests.output_tokens.tolist() == [5, 1, 5]
    assert requests.arrival_s[[0, 2]].tolist() == [0, 30]
    assert requests.trace_row.tolist() == [1, 2, 0]


def test_the_shipped_example_has_two_sessions() -> None:
    folder = shipped_folder("scenarios/traces/requests")
    requests = load_request_trace(folder / "tracelab_example.jsonl.gz")
    assert len(requests) == 19
    assert (requests.previous < 0).sum() == 2
    assert set(requests.domain_names) == {"claude", "codex"}
    assert requests.delay_s.max() == pytest.approx(21.467, abs=1e-3)
    assert replay_hit_frac(requests) == pytest.approx(0.853, abs=0.001)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"input_tokens_total": 0}, r"t.jsonl:1: input_tokens_total: 0; expected a whole"),
        ({"output_tokens": -3}, r"t.jsonl:1: output_tokens: -3"),
        ({"output_tokens": "many"}, r"t.jsonl:1: output_tokens: 'many'"),
        ({"prefix_tokens": 200}, r"t.jsonl:1: prefix_tokens: 200; expected 0 to"),
        ({"prefix_tokens": None}, r"prefix_tokens: None"),
        ({"timing_events": []}, r"t.jsonl:1: timing_events: none"),
        ({"timing_events": 5}, r"timing_events: TypeError"),
        ({"timing_events": [{"event_type": "text"}]}, r"timing_events: KeyError"),
        ({"timing_events": [{"event_type": "a", "timestamp": "noon"}]}, r"ValueError"),
    ],
)
def test_bad_cells_are_named(changes, problem: str) -> None:
    with pytest.raises(TraceError, match=problem):
        read(round_row("a", 0, 100, 0, 30, **changes))


def test_a_missing_key_is_named() -> None:
    row = round_row("a", 0, 100, 0, 30)
    del row["provider"]
    with pytest.raises(TraceError, match=r"t.jsonl:1: provider: missing"):
        read(row)


def test_rows_tell_their_form() -> None:
    assert is_session_row(round_row("a", 0, 1, 0, 1))
    assert not is_session_row(json.loads('{"timestamp": 1}'))
