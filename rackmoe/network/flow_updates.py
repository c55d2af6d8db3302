"""Compiled updates of flows that come and go on shared links, and the rows of their state."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["MAX_HOPS", "NEVER_PS", "PS_PER_S", "admit_flow", "pop_due_flows", "remove_flow"]

MAX_HOPS = 8
"""Links on the path of one flow, at most."""

NEVER_PS = np.iinfo(np.int64).max
"""Finish of a flow that has no rate. [ps]"""

PS_PER_S = 1e12
"""Picoseconds in a second."""

# rows of link_values: capacity, capacity kept from flows, total rate, busy time closed so far
CAPACITY, RESERVED, LINK_RATE, BUSY_S = range(4)
# rows of link_counts: first crossing, flows, start of the busy time, component mark, watched
FIRST, N_ON, BUSY_SINCE_PS, LINK_MARK, IS_WATCHED = range(5)
# rows of class_counts: flows of a class, start of its busy time
CLASS_ON, CLASS_SINCE_PS = range(2)
# rows of flow_values: bytes left when the rate was last set, rate, weight, size
LEFT, RATE, WEIGHT, SIZE = range(4)
# rows of flow_counts: when the rate was last set, finish, class, hops, place in active, mark
SINCE_PS, FINISH_PS, CLASS, N_HOPS, PLACE, FLOW_MARK = range(6)
# rows of chain: the crossing after and before each crossing of the same link
AFTER, BEFORE = range(2)


@njit(cache=True)
def admit_flow(
    f: int,
    path: NDArray[np.int64],
    n_bytes: float,
    weight: float,
    traffic_class: int,
    now_ps: int,
    link_counts: NDArray[np.int64],
    class_counts: NDArray[np.int64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    active: NDArray[np.int64],
) -> None:
    """Put a flow into a free slot; it has no rate before the next solve.

    Parameters
    ----------
    f : int
        The slot.
    path : ndarray of shape (n_hops,)
        Links of the flow.
    n_bytes : float
        Its size. [B]
    weight : float
        Its weight.
    traffic_class : int
        Its class of traffic.
    now_ps : int
        Time. [ps]
    link_counts, class_counts, flow_values, flow_counts, hops, chain, active : ndarray
        The state, as in `rackmoe.network.flow_table.FlowTable`; updated.
    """
    flow_values[LEFT, f] = n_bytes
    flow_values[RATE, f] = 0.0
    flow_values[WEIGHT, f] = weight
    flow_values[SIZE, f] = n_bytes
    flow_counts[SINCE_PS, f] = now_ps
    flow_counts[FINISH_PS, f] = NEVER_PS
    flow_counts[CLASS, f] = traffic_class
    flow_counts[N_HOPS, f] = path.size
    flow_counts[PLACE, f] = active[-1]
    active[active[-1]] = f
    active[-1] += 1
    for j in range(path.size):
        m = path[j]
        crossing = f * MAX_HOPS + j
        first = link_counts[FIRST, m]
        hops[f, j] = m
        chain[AFTER, crossing] = first
        chain[BEFORE, crossing] = -1
        if first >= 0:
            chain[BEFORE, first] = crossing
        link_counts[FIRST, m] = crossing
        if link_counts[N_ON, m] == 0:
            link_counts[BUSY_SINCE_PS, m] = now_ps
        link_counts[N_ON, m] += 1
        if class_counts[CLASS_ON, traffic_class, m] == 0:
            class_counts[CLASS_SINCE_PS, traffic_class, m] = now_ps
        class_counts[CLASS_ON, traffic_class, m] += 1


@njit(cache=True)
def remove_flow(
    f: int,
    now_ps: int,
    link_values: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    class_counts: NDArray[np.int64],
    class_busy_s: NDArray[np.float64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    active: NDArray[np.int64],
    moved_bytes: NDArray[np.float64],
) -> None:
    """Take a flow off its links and count what it carried.

    Parameters
    ----------
    f : int
        Its slot.
    now_ps : int
        Time. [ps]
    link_values, link_counts, class_counts : ndarray
        The state of the links, as in `rackmoe.network.flow_table.FlowTable`; updated.
    class_busy_s : ndarray of shape (n_classes, n_links)
        Time with flows of each class, added to. [s]
    flow_values, flow_counts, hops, chain, active : ndarray
        The state of the flows, likewise.
    moved_bytes : ndarray of shape (n_classes, n_links)
        Bytes of the flows that have left, added to. [B]
    """
    sent_bytes = flow_values[SIZE, f]
    if flow_counts[FINISH_PS, f] > now_ps:
        went_s = (now_ps - flow_counts[SINCE_PS, f]) / PS_PER_S
        sent_bytes -= flow_values[LEFT, f] - flow_values[RATE, f] * went_s
    for j in range(flow_counts[N_HOPS, f]):
        m = hops[f, j]
        crossing = f * MAX_HOPS + j
        after, before = chain[AFTER, crossing], chain[BEFORE, crossing]
        if after >= 0:
            chain[BEFORE, after] = before
        if before >= 0:
            chain[AFTER, before] = after
        else:
            link_counts[FIRST, m] = after
        moved_bytes[flow_counts[CLASS, f], m] += sent_bytes
        link_counts[N_ON, m] -= 1
        if link_counts[N_ON, m] == 0:
            busy_s = (now_ps - link_counts[BUSY_SINCE_PS, m]) / PS_PER_S
            link_values[BUSY_S, m] += busy_s
        klass = flow_counts[CLASS, f]
        class_counts[CLASS_ON, klass, m] -= 1
        if class_counts[CLASS_ON, klass, m] == 0:
            went_ps = now_ps - class_counts[CLASS_SINCE_PS, klass, m]
            class_busy_s[klass, m] += went_ps / PS_PER_S
    active[-1] -= 1
    last = active[active[-1]]
    active[flow_counts[PLACE, f]] = last
    flow_counts[PLACE, last] = flow_counts[PLACE, f]


@njit(cache=True)
def pop_due_flows(
    now_ps: int,
    link_values: NDArray[np.float64],
    link_counts: NDArray[np.int64],
    class_counts: NDArray[np.int64],
    class_busy_s: NDArray[np.float64],
    flow_values: NDArray[np.float64],
    flow_counts: NDArray[np.int64],
    hops: NDArray[np.int64],
    chain: NDArray[np.int64],
    active: NDArray[np.int64],
    moved_bytes: NDArray[np.float64],
    due: NDArray[np.int64],
) -> tuple[int, int]:
    """Remove the flows that have finished; return their number and the next finish.

    A flow is done when the clock has reached its finish, rounded up to a whole
    picosecond: no tolerance in bytes, which could hang or end flows early.

    Parameters
    ----------
    now_ps : int
        Time. [ps]
    link_values, link_counts, class_counts : ndarray
        The state of the links, as in `rackmoe.network.flow_table.FlowTable`; updated.
    class_busy_s : ndarray of shape (n_classes, n_links)
        Time with flows of each class, added to. [s]
    flow_values, flow_counts, hops, chain, active : ndarray
        The state of the flows, likewise.
    moved_bytes : ndarray of shape (n_classes, n_links)
        Bytes of the flows that have left, added to. [B]
    due : ndarray of shape (n_active or more,)
        Result: the slots of the finished flows.

    Returns
    -------
    tuple of two int
        Number of finished flows; earliest finish of the others. [ps]
    """
    n_due = 0
    next_ps = NEVER_PS
    for i in range(active[-1]):
        f = active[i]
        if flow_counts[FINISH_PS, f] <= now_ps:
            due[n_due] = f
            n_due += 1
        else:
            next_ps = min(next_ps, flow_counts[FINISH_PS, f])
    for i in range(n_due):
        remove_flow(
            due[i],
            now_ps,
            link_values,
            link_counts,
            class_counts,
            class_busy_s,
            flow_values,
            flow_counts,
            hops,
            chain,
            active,
            moved_bytes,
        )
    return n_due, next_ps
