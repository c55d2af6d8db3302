"""LAW-16: M/D/1 and latency-bandwidth cases match their formulas."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import Case, Shape, build

from rackmoe.engine.run import run_engine
from rackmoe.model.cache import kv_bytes_per_token
from rackmoe.scenario.traffic import build_traffic
from rackmoe.streams import Streams

SERVICE_S = 1e-3
# one request at a time on a machine that computes in no time; the host takes 1 ms for each
QUEUE = Case(
    backend="ideal-network",
    max_batch=1,
    max_tokens=64,
    lengths=(1, 1),
    spread=(1.0, 1.0),
    routing="balanced",
    host=("1 ms", "0 s"),
)


def lindley_wait_s(arrival_s, service_s):
    """Return the waits of a queue with one server and fixed service, seeds along axis 0.

    W[n] = max over k <= n of (the work that came since k) - (the time since k)
    (D. V. Lindley, "The theory of queues with a single server", 1952).
    """
    slack_s = arrival_s - service_s * np.arange(arrival_s.shape[-1])
    return np.maximum.accumulate(slack_s, axis=-1) - slack_s


@pytest.mark.parametrize("load", [0.3, 0.7, 0.95])
def test_engine_waits_as_a_queue_with_fixed_service(small_files, load):
    rate = load / SERVICE_S
    case = replace(QUEUE, arrivals=("poisson", f"{rate!r} /s"), requests=1500)
    scenario = build(case, small_files)
    traffic = build_traffic(scenario.document, streams=Streams(5))
    run = run_engine(scenario, requests=traffic.requests, is_measured=traffic.is_measured, seed=5)
    requests = run.records.to_frame("requests")
    wait_s = (requests["scheduled_s"] - requests["arrival_s"]).to_numpy()
    expected_s = lindley_wait_s(traffic.requests.arrival_s, SERVICE_S)
    # arrivals are rounded up to whole picoseconds
    assert wait_s == pytest.approx(expected_s, abs=len(requests) * 1e-12)
    service_s = (requests["last_token_s"] - requests["scheduled_s"]).to_numpy()
    assert service_s == pytest.approx(SERVICE_S, rel=1e-9)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8])
def test_the_queue_waits_as_pollaczek_and_khinchine_say(load):
    """Mean wait rho D / (2 (1 - rho)) of M/D/1, over 4 million requests in 40 seeds."""
    rate = load / SERVICE_S
    arrival_s = np.empty((40, 100_000))
    for seed, row in enumerate(arrival_s):
        gaps_s = Streams(seed).rng("arrivals").exponential(1 / rate, size=row.size)
        np.cumsum(gaps_s, out=row)
    wait_s = lindley_wait_s(arrival_s, SERVICE_S)[:, 2000:]
    expected_s = load * SERVICE_S / (2 * (1 - load))
    assert wait_s.mean() == pytest.approx(expected_s, rel=0.01)


def test_a_cache_arrives_after_latency_and_bytes_over_bandwidth(small_files):
    case = Case(pools=(Shape(), Shape()), requests=1, lengths=(50, 2), spread=(1.0, 1.0))
    scenario = build(case, small_files)
    traffic = build_traffic(scenario.document, streams=Streams(0))
    run = run_engine(scenario, requests=traffic.requests, is_measured=traffic.is_measured, seed=0)
    (request,) = run.records.to_frame("requests").itertuples()
    out = scenario.machine.scale_out
    n_bytes = 50 * kv_bytes_per_token(scenario.arch, kv_dtype=scenario.kv_dtype, tp=1)
    # GPUs 0 and 1 are on rails of their own: the path is leaf, spine, leaf
    latency_s = 2 * out.endpoint_latency_s + 3 * out.switch_latency_s
    bandwidth = out.nic_bandwidth_bytes_per_s * out.nics_per_gpu * out.copy_frac
    took_s = request.transfer_end_s - request.prefill_end_s
    assert took_s == pytest.approx(latency_s + n_bytes / bandwidth, abs=3e-12)
    links = run.records.to_frame("links")
    links = links[links["tier"] == "scale_out"]
    assert links["sent_bytes"].sum() == pytest.approx(n_bytes, rel=1e-9)
    assert links["received_bytes"].sum() == pytest.approx(n_bytes, rel=1e-9)
