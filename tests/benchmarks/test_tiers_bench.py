"""The tiers of an exchange on 144 and 320 GPUs: their cost, and that they agree."""

import time

import pytest
from exchange_cases import make_exchange

from rackmoe.network.exchange_tiers import ExchangeTier, exchange_ends_s

WORST = 0.05

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
