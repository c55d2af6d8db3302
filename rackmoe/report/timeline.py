"""What ran when: a trace that Perfetto and chrome://tracing open."""

import gzip
import heapq
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rackmoe.records import BREAKDOWN_COLUMNS

__all__ = ["free_lanes", "timeline_events", "write_timeline"]

_NS_PER_S = 1e9
_NS_PER_US = 1000
_COMPRESSION = 6
# One process of the trace for each kind of lane.
_STEPS, _TRANSFERS, _REQUESTS, _STATES = 1, 2, 3, 4
_STEP_ARGUMENTS = (
    "n_decode_tokens",
    "n_prefill_tokens",
    "n_sequences",
    "imbalance",
    *BREAKDOWN_COLUMNS,
)


def write_timeline(
    path: Path,
    *,
    steps: pd.DataFrame,
    requests: pd.DataFrame,
    replicas: pd.DataFrame | None = None,
) -> None:
    """Write the trace of a run, compressed, one event after the other.

    Parameters
    ----------
    path : pathlib.Path
        File that ends in ``.json.gz``. Equal runs give equal bytes.
    steps : DataFrame
        Steps of the run (`STEP_COLUMNS`).
    requests : DataFrame
        Requests of the run (`REQUEST_COLUMNS`).
    replicas : DataFrame, optional
        What each replica was from when to when (`REPLICA_COLUMNS`).
    """
    with (
        path.open("wb") as file,
        gzip.GzipFile(
            filename="", mode="wb", fileobj=file, compresslevel=_COMPRESSION, mtime=0
        ) as packed,
    ):
        packed.write(b'{"displayTimeUnit":"ms","traceEvents":[')
        separator = b"\n"
        for event in timeline_events(steps, requests=requests, replicas=replicas):
            packed.write(separator + json.dumps(event, separators=(",", ":")).encode())
            separator = b",\n"
        packed.write(b"\n]}\n")


def timeline_events(
    steps: pd.DataFrame, *, requests: pd.DataFrame, replicas: pd.DataFrame | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the events of a trace.

    Parameters
    ----------
    steps : DataFrame
        Steps of the run (`STEP_COLUMNS`).
    requests : DataFrame
        Requests of the run (`REQUEST_COLUMNS`).
    replicas : DataFrame, optional
        What each replica was from when to when (`REPLICA_COLUMNS`); shown where one changed.

    Yields
    ------
    dict
        Events of the Trace Event Format: a lane for each replica with its steps, lanes
        for each replica's KV transfers, as many as overlap, and the number of requests
        in the system. Times are in microseconds, in whole nanoseconds.
    """
    yield from _name_events("process_name", [(_STEPS, 0, "steps")])
    yield from _name_events("process_name", [(_TRANSFERS, 0, "KV transfers")])
    yield from _name_events("process_name", [(_REQUESTS, 0, "requests")])
    yield from _step_events(steps)
    yield from _transfer_events(requests)
    yield from _population_events(requests)
    if replicas is not None and replicas["replica"].duplicated().any():
        yield from _state_events(replicas)


def free_lanes(start_ns: NDArray[np.int64], *, end_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a lane for each interval so that those of one lane do not overlap.

    Parameters
    ----------
    start_ns, end_ns : ndarray of shape (n,)
        Ends of the intervals.

    Returns
    -------
    ndarray of shape (n,)
        Lanes from 0 on, as few as there are intervals at one time.
    """
    lanes = np.zeros(start_ns.size, dtype=np.int64)
    busy: list[tuple[int, int]] = []
    idle: list[int] = []
    for i in np.lexsort((end_ns, start_ns)).tolist():
        while busy and busy[0][0] <= start_ns[i]:
            heapq.heappush(idle, heapq.heappop(busy)[1])
        lane = heapq.heappop(idle) if idle else len(busy)
        lanes[i] = lane
        heapq.heappush(busy, (int(end_ns[i]), lane))
    return lanes


def _name_events(what: str, names: Iterable[tuple[int, int, str]]) -> Iterator[dict[str, Any]]:
    for process, lane, name in names:
        yield {"ph": "M", "name": what, "pid": process, "tid": lane, "args": {"name": name}}


def _step_events(steps: pd.DataFrame) -> Iterator[dict[str, Any]]:
    pools = steps["pool"].astype(str)
    lanes = sorted(set(zip(steps["replica"].tolist(), pools, strict=True)))
    yield from _name_events(
        "thread_name", [(_STEPS, replica, f"{pool} {replica}") for replica, pool in lanes]
    )
    start_ns, end_ns = _interval_ns(steps["start_s"], steps["start_s"] + steps["duration_s"])
    columns = {name: steps[name].tolist() for name in _STEP_ARGUMENTS}
    replicas = steps["replica"].tolist()
    for i, pool in enumerate(pools):
        yield {
            "ph": "X",
            "name": _step_name(columns["n_prefill_tokens"][i], columns["n_decode_tokens"][i]),
            "cat": pool,
            "pid": _STEPS,
            "tid": replicas[i],
            "ts": _us(start_ns[i]),
            "dur": _us(end_ns[i] - start_ns[i]),
            "args": {name: _finite(values[i]) for name, values in columns.items()},
        }


def _step_name(n_prefill: int, n_decode: int) -> str:
    if n_prefill and n_decode:
        return "mixed step"
    return "prefill step" if n_prefill else "decode step"


def _transfer_events(requests: pd.DataFrame) -> Iterator[dict[str, Any]]:
    moved = requests[np.isfinite(requests["transfer_end_s"].to_numpy(np.float64))]
    used = 0
    for replica, group in moved.groupby("prefill_replica", sort=True):
        start_ns, end_ns = _interval_ns(group["prefill_end_s"], group["transfer_end_s"])
        lanes = used + free_lanes(start_ns, end_ns=end_ns)
        names = [
            (_TRANSFERS, lane, f"from replica {replica}, lane {lane - used}")
            for lane in range(used, int(lanes.max()) + 1)
        ]
        yield from _name_events("thread_name", names)
        used = int(lanes.max()) + 1
        ids, targets = group["request_id"].tolist(), group["decode_replica"].tolist()
        tokens = group["n_input_tokens"].tolist()
        for i, request in enumerate(ids):
            yield {
                "ph": "X",
                "name": f"request {request}",
                "cat": "transfer",
                "pid": _TRANSFERS,
                "tid": int(lanes[i]),
                "ts": _us(start_ns[i]),
                "dur": _us(end_ns[i] - start_ns[i]),
                "args": {"decode_replica": targets[i], "n_input_tokens": tokens[i]},
            }


def _population_events(requests: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield how many requests wait for their prefill and how many are served, as they change."""
    arrival = requests["arrival_s"].to_numpy(np.float64)
    scheduled = requests["scheduled_s"].to_numpy(np.float64)
    is_done = (requests["state"].astype(str) == "done").to_numpy()
    last = np.where(is_done, requests["last_token_s"].to_numpy(np.float64), np.nan)
    is_rejected = (requests["state"].astype(str) == "rejected").to_numpy()
    changes = [
        (arrival[~is_rejected], 1, 0),
        (scheduled[np.isfinite(scheduled)], -1, 1),
        (last[np.isfinite(last)], 0, -1),
    ]
    time_ns = _whole_ns(np.concatenate([at for at, _, _ in changes]))
    waiting = np.concatenate([np.full(at.size, step) for at, step, _ in changes])
    served = np.concatenate([np.full(at.size, step) for at, _, step in changes])
    order = np.argsort(time_ns, kind="stable")
    moments, first = np.unique(time_ns[order], return_index=True)
    ends = np.append(first[1:], order.size) - 1 if order.size else first
    n_waiting, n_served = np.cumsum(waiting[order])[ends], np.cumsum(served[order])[ends]
    for at, n_wait, n_serve in zip(moments, n_waiting, n_served, strict=True):
        yield {
            "ph": "C",
            "name": "requests",
            "pid": _REQUESTS,
            "tid": 0,
            "ts": _us(at),
            "args": {"waiting": int(n_wait), "served": int(n_serve)},
        }


def _state_events(replicas: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield from when to when each replica served, loaded its weights, or stood still."""
    yield from _name_events("process_name", [(_STATES, 0, "replicas")])
    start_ns, end_ns = _interval_ns(
        replicas["start_s"], replicas["start_s"] + replicas["duration_s"]
    )
    numbers, pools = replicas["replica"].tolist(), replicas["pool"].astype(str).tolist()
    for i, state in enumerate(replicas["state"].astype(str)):
        yield {
            "ph": "X",
            "name": state,
            "cat": pools[i],
            "pid": _STATES,
            "tid": numbers[i],
            "ts": _us(start_ns[i]),
            "dur": _us(end_ns[i] - start_ns[i]),
            "args": {"pool": pools[i]},
        }


def _interval_ns(
    start_s: "pd.Series[float]", end_s: "pd.Series[float]"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both ends in whole nanoseconds: rounding keeps the order, so lanes stay clean."""
    return _whole_ns(start_s.to_numpy()), _whole_ns(end_s.to_numpy())


def _whole_ns(time_s: ArrayLike) -> NDArray[np.int64]:
    return np.rint(np.asarray(time_s, np.float64) * _NS_PER_S).astype(np.int64)


def _us(time_ns: np.int64) -> float:
    return int(time_ns) / _NS_PER_US


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
