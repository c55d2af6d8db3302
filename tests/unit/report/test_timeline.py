import gzip
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.report.timeline import free_lanes, timeline_events, write_timeline


@pytest.fixture
def frames(make_result):
    result = make_result()
    return {"steps": result.to_frame("steps"), "requests": result.to_frame("requests")}


@pytest.fixture
def events(frames):
    return list(timeline_events(frames["steps"], requests=frames["requests"]))


def test_steps_have_a_lane_for_each_replica_in_microseconds(events):
    steps = [event for event in events if event.get("cat") in {"prefill", "decode"}]
    assert [(one["tid"], one["name"], one["ts"], one["dur"]) for one in steps] == [
        (0, "prefill step", 100_000.0, 200_000.0),
        (1, "decode step", 500_000.0, 200_000.0),
    ]
    assert steps[1]["args"]["expert_s"] == 0.03
    names = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"prefill 0", "decode 1"} <= names


def test_overlapping_transfers_are_on_separate_lanes(make_result):
    result = make_result()
    result.run.records.requests.append_row(
        (2, 0.0, 0.1, 0.35, 0.45, np.nan, np.nan, 64, 0, 0, 0, 1, 0, 1, 0, 0)
    )
    events = timeline_events(result.to_frame("steps"), requests=result.to_frame("requests"))
    lanes = {event["name"]: event["tid"] for event in events if event.get("cat") == "transfer"}
    assert lanes["request 0"] != lanes["request 2"]
    assert lanes["request 0"] == lanes["request 1"]


def test_requests_in_the_system_are_counted_as_they_change(events):
    counts = [
        (event["ts"], event["args"]["waiting"], event["args"]["served"])
        for event in events
        if event["ph"] == "C"
    ]
    assert counts == [
        (0.0, 1, 0),
        (100_000.0, 0, 1),
        (200_000.0, 1, 1),
        (300_000.0, 0, 2),
        (1_500_000.0, 0, 1),
    ]


def test_steps_that_follow_each_other_do_not_overlap_after_rounding(frames):
    steps = frames["steps"].iloc[[0, 0]].copy()
    steps["start_s"] = [0.1, 0.1 + 1.4e-9]
    steps["duration_s"] = [1.4e-9, 1.4e-9]
    events = [
        event
        for event in timeline_events(steps, requests=frames["requests"])
        if event.get("cat") == "prefill"
    ]
    ends_ns = [round((event["ts"] + event["dur"]) * 1000) for event in events]
    assert ends_ns[0] == round(events[1]["ts"] * 1000)


def test_file_is_a_trace_and_the_same_on_every_run(tmp_path, frames):
    paths = [tmp_path / "a.json.gz", tmp_path / "b.json.gz"]
    for path in paths:
        write_timeline(path, **frames)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    trace = json.loads(gzip.decompress(paths[0].read_bytes()))
    assert {event["ph"] for event in trace["traceEvents"]} == {"M", "X", "C"}


def test_run_without_requests_has_a_trace(tmp_path, frames):
    empty = {name: frame.iloc[:0] for name, frame in frames.items()}
    write_timeline(tmp_path / "a.json.gz", **empty)
    trace = json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes()))
    assert all(event["ph"] == "M" for event in trace["traceEvents"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), min_size=1, max_size=30))
def test_lanes_never_overlap_and_are_as_few_as_possible(intervals):
    start = np.array([begin for begin, _ in intervals], dtype=np.int64)
    end = start + np.array([length for _, length in intervals], dtype=np.int64)
    lanes = free_lanes(start, end_ns=end)
    for lane in set(lanes.tolist()):
        mine = sorted(zip(start[lanes == lane], end[lanes == lane], strict=True))
        assert all(one[1] <= other[0] for one, other in pairwise(mine))
    # an interval of no length still needs a place when others are under way
    most = max(int(((start <= at) & ((end > at) | (start == at))).sum()) for at in start)
    assert lanes.max() + 1 <= most


def test_replicas_that_come_and_go_have_a_lane_each(frames):
    columns = ["replica", "pool", "state", "start_s", "duration_s"]
    rows = [(0, "aggregated", "serving", 0.0, 1.0), (0, "aggregated", "failed", 1.0, 0.5)]
    for n_rows, names in ((1, []), (2, ["serving", "failed"])):
        replicas = pd.DataFrame(rows[:n_rows], columns=columns)
        events = timeline_events(frames["steps"], requests=frames["requests"], replicas=replicas)
        found = [one for one in events if one["pid"] == 4 and one["ph"] == "X"]
        assert [one["name"] for one in found] == names
    assert (found[1]["ts"], found[1]["dur"], found[1]["tid"]) == (1e6, 5e5, 0)
