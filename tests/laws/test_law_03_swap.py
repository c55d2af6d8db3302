"""LAW-03 with caches in host memory: no block is lost on the way out and back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Case, Shape, build, cases

import rackmoe.engine.run
from rackmoe.metrics.checks import check_requests
from rackmoe.scenario.policies import PreemptionChoice
from rackmoe.scenario.simulation import Fault, Simulation
from rackmoe.serving.host_cache import HostCache
from rackmoe.simulation import simulate

TIGHT = Case(
    model="grouped",
    pools=(Shape(attention_dp=2, ep=2, replicas=2),),
    kv_tokens=100,
    lengths=(40, 40),
    requests=20,
)


def swapped(case, folder, *, host_memory_bytes=None, faults=()):
    scenario = build(case, folder)
    choice = PreemptionChoice(policy="swap", host_memory_bytes=host_memory_bytes)
    deployment = scenario.document.deployment.model_copy(update={"preemption": choice})
    document = scenario.document.model_copy(
        update={"deployment": deployment, "simulation": Simulation(faults=tuple(faults))}
    )
    found = []

    def build_swap(*args, **kwargs):
        found.append(rackmoe.engine.swap.build_swap(*args, **kwargs))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rackmoe.engine.run, "build_swap", build_swap)
        result = simulate(replace(scenario, document=document), seed=0)
    return result, found[0]


def audit(result, swap):
    """Check that nothing is left in host memory, and that as much came back as went out."""
    figures = result.summary
    for host in swap.hosts.values():
        host.check()
        assert isinstance(host, HostCache)
        assert len(np.unique(host.free_blocks)) == 1
    assert swap.n_out == figures["n_swaps"]
    assert swap.n_in <= swap.n_out


@settings(max_examples=12)
@given(case=cases(kv_tokens=80))
def test_every_sequence_comes_back_from_host_memory(small_files, case):
    result, swap = swapped(case, small_files)
    check_requests(result.to_frame("requests"), n_arrived=case.requests)
    assert set(result.to_frame("requests")["state"]) <= {"done", "rejected"}
    audit(result, swap)
    assert swap.in_bytes == swap.out_bytes
    assert (swap.n_in, swap.n_refused) == (swap.n_out, 0)


def test_the_tight_case_swaps_instead_of_computing_again(small_files):
    result, swap = swapped(TIGHT, small_files)
    base = simulate(build(TIGHT, small_files), seed=0)
    assert base.to_frame("requests")["n_preemptions"].sum() > 0
    assert "n_swaps" not in base.summary
    assert swap.n_out > 0
    computed = {
        name: one.to_frame("steps")["n_prefill_tokens"].sum()
        for name, one in (("swap", result), ("recompute", base))
    }
    prompts = result.to_frame("requests")["n_input_tokens"].sum()
    assert computed["swap"] == prompts < computed["recompute"]
    links = result.to_frame("links")
    host = links[links["tier"] == "host"]
    assert host["sent_bytes"].sum() == pytest.approx(swap.out_bytes)
    assert host["received_bytes"].sum() == pytest.approx(swap.in_bytes)


def test_where_host_memory_is_full_caches_are_computed_again(small_files):
    result, swap = swapped(TIGHT, small_files, host_memory_bytes=1.0)
    assert (swap.n_out, swap.out_bytes) == (0, 0.0)
    # those that are alone in their group end early, whatever the host has
    assert 0 < swap.n_refused <= result.to_frame("requests")["n_preemptions"].sum()
    assert (result.to_frame("requests")["state"] == "done").all()


@settings(max_examples=8)
@given(at_s=st.floats(0.0, 4e-4), for_s=st.floats(1e-6, 1e-3))
def test_nothing_is_lost_when_a_replica_with_swapped_sequences_fails(small_files, at_s, for_s):
    fault = Fault(kind="gpu", at_s=at_s, for_s=for_s, where=1)
    result, swap = swapped(TIGHT, small_files, faults=[fault])
    requests = result.to_frame("requests")
    check_requests(requests, n_arrived=TIGHT.requests)
    assert (requests["state"] == "done").all()
    audit(result, swap)
