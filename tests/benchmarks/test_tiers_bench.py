"""The tiers of an exchange on 144 and 320 GPUs: their cost, and that they agree."""

import sys
import time

import numpy as np
import pytest
from exchange_cases import make_exchange
from two_level_cases import direct, make_two_level, packet_makespan_s

from rackmoe.hardware.profile import load_machine
from rackmoe.network.exchange_tiers import ExchangeTier, exchange_ends_s
from rackmoe.network.fluid import link_bound_s, one_fill_finish_s

MEDIAN, WORST = 0.01, 0.05

pytestmark = pytest.mark.benchmark(timer=time.process_time, min_rounds=3)


@pytest.mark.parametrize("tier", [ExchangeTier.PLAN, ExchangeTier.FLOW, ExchangeTier.PACKET])
@pytest.mark.parametrize(
    ("n_ranks", "zipf", "spread", "failure"),
    [(144, 0.0, 0.0, "none"), (144, 0.6, 0.3, "tray"), (320, 0.6, 0.0, "link")],
)
def test_exchange_of_several_racks(benchmark, tier, n_ranks, zipf, spread, failure):
    exchange = make_exchange(n_ranks, zipf=zipf, spread=spread, failure=failure, seed=6)
    ends_s = benchmark(exchange_ends_s, exchange, tier=tier)
    closed_s = exchange_ends_s(exchange, tier=ExchangeTier.PLAN)
    assert ends_s.max() == pytest.approx(closed_s.max(), rel=WORST)


@pytest.mark.parametrize("zipf", [0.0, 0.6])
def test_exchange_of_two_units_over_leaves_and_spines(benchmark, zipf):
    machine = load_machine("hgx_h200")
    exchange = make_two_level(machine, n_gpus=320, zipf=zipf, way=direct, tokens_per_rank=128)
    ends_s = benchmark(one_fill_finish_s, **exchange.flows)
    closed_s = link_bound_s(**exchange.flows)
    assert ends_s.max() == pytest.approx(closed_s, rel=1e-9)
    assert packet_makespan_s(exchange) == pytest.approx(closed_s, rel=WORST)


CASES = (
    ("balanced", {}),
    ("Zipf 0.6", {"zipf": 0.6}),
    ("Zipf 1.0", {"zipf": 1.0}),
    ("staggered", {"spread": 0.3}),
    ("Zipf and staggered", {"zipf": 0.6, "spread": 1.0}),
    ("link down", {"zipf": 0.6, "failure": "link"}),
    ("chip down", {"zipf": 0.6, "failure": "chip"}),
    ("tray down", {"zipf": 0.6, "failure": "tray"}),
)


@pytest.mark.parametrize("n_ranks", [8, 16, 72, 144, 320])
def test_table_of_makespans_by_tier(benchmark, capsys, n_ranks):
    """Closed form over flows and over packets; printed where benchmarks are enabled."""
    cases = CASES[:2] if benchmark.disabled and n_ranks > 16 else CASES
    rows = []

    def measure():
        rows.clear()
        for name, options in cases:
            exchange = make_exchange(n_ranks, seed=5, **options)
            plan, flow, packet = (
                float(exchange_ends_s(exchange, tier=tier).max())
                for tier in (ExchangeTier.PLAN, ExchangeTier.FLOW, ExchangeTier.PACKET)
            )
            rows.append((name, plan, plan / flow - 1.0, plan / packet - 1.0))

    benchmark.pedantic(measure, rounds=1)
    found = np.abs([row[2:] for row in rows])
    assert found.max() <= WORST
    assert np.median(found) <= MEDIAN
    if not benchmark.disabled:
        with capsys.disabled():
            sys.stdout.write(f"\n{n_ranks} GPUs: closed form [us], over flows, over packets\n")
            for name, plan_s, flow, packet in rows:
                sys.stdout.write(f"{name:20s}{plan_s * 1e6:9.2f}{flow:9.2%}{packet:9.2%}\n")
