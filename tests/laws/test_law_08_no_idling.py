"""LAW-08: no replica idles while an admissible request waits."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import cases, fault_lists, run, with_faults

from rackmoe.simulation import simulate

_ROUNDING_S = 1e-11


def gaps(steps):
    """Return start and end of the time that a replica idles, before, between and after steps."""
    start_s = steps["start_s"].to_numpy()
    end_s = start_s + steps["duration_s"].to_numpy()
    begin_s = np.concatenate([[-np.inf], end_s]) + _ROUNDING_S
    until_s = np.concatenate([start_s, [np.inf]]) - _ROUNDING_S
    is_gap = begin_s < until_s
    return list(zip(begin_s[is_gap], until_s[is_gap], strict=True))


def assert_never_idle(steps, requests, replica, columns):
    """Check that no request of a replica lives while it idles."""
    first, last = columns
    own = requests[requests[replica] >= 0]
    for index, mine in own.groupby(replica):
        born_s, gone_s = mine[first].to_numpy(), mine[last].to_numpy()
        for begin_s, until_s in gaps(steps[steps["replica"] == index]):
            waits = (born_s < until_s) & (gone_s > begin_s)
            assert not waits.any(), (index, begin_s, until_s)


@settings(max_examples=16)
@given(case=cases())
def test_a_replica_steps_while_a_request_is_there_to_decode(small_files, case):
    result = run(case, small_files)
    steps, requests = result.to_frame("steps"), result.to_frame("requests")
    assume((requests["n_preemptions"] == 0).all())
    done = requests[requests["state"] == "done"]
    since = "transfer_end_s" if case.is_split else "prefill_end_s"
    assert_never_idle(steps, done, "decode_replica", (since, "last_token_s"))


@settings(max_examples=16)
@given(case=cases(kv_tokens=None))
def test_a_replica_steps_while_a_prompt_waits_that_it_could_take(small_files, case):
    result = run(case, small_files)
    steps, requests = result.to_frame("steps"), result.to_frame("requests")
    # with room for all, a prompt waits only for the step that is under way
    last = "prefill_end_s"
    host = result.scenario.backend.host_on(result.scenario.machine.gpu.name)
    queued_s = requests["arrival_s"] + host.request_s.value
    requests = requests.assign(queued_s=queued_s)
    if case.is_split:
        # a slot of the prefill pool is held until the cache has moved
        requests = requests.assign(until_s=requests["scheduled_s"])
        busy = requests["request_id"].size <= case.max_batch
        assume(busy)
    assert_never_idle(steps, requests, "prefill_replica", ("queued_s", last))


@pytest.mark.parametrize("is_split", [False, True])
@settings(max_examples=15)
@given(data=st.data())
def test_work_is_always_left_for_someone_until_all_are_served(small_files, is_split, data):
    """Under any pressure on memory and slots, some replica steps or some cache travels."""
    case = data.draw(cases(kv_tokens=70, arrivals=("batch", True)))
    assume(case.is_split == is_split)
    result = run(case, small_files)
    steps, requests = result.to_frame("steps"), result.to_frame("requests")
    end_s = requests["last_token_s"].max()
    moves = requests[np.isfinite(requests["transfer_end_s"])]
    start_s = np.concatenate([steps["start_s"], moves["prefill_end_s"]])
    until_s = np.concatenate([steps["start_s"] + steps["duration_s"], moves["transfer_end_s"]])
    order = np.argsort(start_s)
    covered_s = np.maximum.accumulate(until_s[order])
    holes = start_s[order][1:] > covered_s[:-1] + _ROUNDING_S
    assert not holes.any()
    assert not len(steps) or covered_s[-1] >= end_s - _ROUNDING_S


@settings(max_examples=12)
@given(case=cases(kv_tokens=None), faults=fault_lists(("link", "plane", "slow_link")))
def test_slow_links_leave_no_replica_idle_beside_its_requests(small_files, case, faults):
    """Links slow replicas down but take none out: nothing may wait for the repair."""
    result = simulate(with_faults(case, small_files, faults))
    steps, requests = result.to_frame("steps"), result.to_frame("requests")
    assume((requests["n_preemptions"] == 0).all())
    done = requests[requests["state"] == "done"]
    since = "transfer_end_s" if case.is_split else "prefill_end_s"
    assert_never_idle(steps, done, "decode_replica", (since, "last_token_s"))
