"""Cost of whole runs: gpt-oss-120b on one GPU, lengths of the Azure trace, Poisson arrivals.

`pytest tests/benchmarks/test_event_loop_bench.py --benchmark-enable -q` prints processor time.
"""

import resource
import sys
import time

import pytest

from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.simulation import simulate

pytestmark = pytest.mark.benchmark(timer=time.process_time)

TRIED = 30
# steps whose load differs by less take the time of the last planned one
TOLERANCES = (0.0, 0.05)


def scenario(n_requests, tolerance_frac):
    """One GPU at 8 requests per second, expert loads drawn for every planned step."""
    return resolve_scenario(
        ScenarioDocument.model_validate(
            {
                "schema": "rackmoe/scenario/1",
                "title": "an event loop to be measured",
                "hardware": {"profile": "hgx_h200", "nodes": 1},
                "model": {"name": "gpt-oss-120b", "weights": "mxfp4"},
                "backend": "trtllm-2026h1",
                "deployment": {"aggregated": {}},
                "workload": {
                    "arrivals": {"poisson": "8 /s"},
                    "lengths": {"trace": "azure_conv_2023"},
                    "routing": {"generator": "deepseek_chat", "source": "sampled"},
                    "requests": n_requests,
                    "measurement": {"step_tolerance": tolerance_frac},
                },
            }
        ),
        name="event-loop",
    )


@pytest.mark.parametrize("tolerance_frac", TOLERANCES)
@pytest.mark.parametrize("n_requests", [1000, 10_000])
def test_run_of_many_requests(benchmark, capsys, n_requests, tolerance_frac):
    simulate(scenario(TRIED, tolerance_frac))
    case = scenario(TRIED if benchmark.disabled else n_requests, tolerance_frac)
    result = benchmark.pedantic(simulate, args=(case,), rounds=1)
    assert len(result.to_frame("requests")) == (TRIED if benchmark.disabled else n_requests)
    if benchmark.disabled:
        return
    n_steps = len(result.to_frame("steps"))
    processor_s = benchmark.stats.stats.min
    # of the whole process: an upper bound
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    benchmark.extra_info |= {"n_steps": n_steps, "peak_mb": peak_mb}
    with capsys.disabled():
        sys.stdout.write(
            f"\n{n_requests} requests, step tolerance {tolerance_frac:g}: {processor_s:.1f} s of "
            f"processor time, {n_steps} steps, {processor_s / n_steps * 1e6:.0f} us each, "
            f"{peak_mb:.0f} MB at most\n"
        )
