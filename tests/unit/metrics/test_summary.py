import numpy as np
import pandas as pd
import pytest

from rackmoe.metrics.catalog import METRICS
from rackmoe.metrics.cost import TokenPrices, cost_figures, revenue_figures
from rackmoe.metrics.energy import energy_figures
from rackmoe.metrics.fleet import fleet_figures
from rackmoe.metrics.goodput import Slo
from rackmoe.metrics.summary import summarize
from rackmoe.metrics.throughput import Fleet
from rackmoe.metrics.window import Window
from rackmoe.records import State

WINDOW = Window(start_s=1.0, end_s=6.0)


def figures_of_a_run(make_requests, make_steps, *, slo: Slo | None = None) -> dict[str, float]:
    requests = make_requests(
        arrival_s=[0.0, 1.0, 2.0, 6.0],
        n_preemptions=[5, 1, 0, 3],
        state=[State.DONE, State.DONE, State.REJECTED, State.DONE],
        n_output_tokens=[11, 11, 0, 11],
        first_token_s=[1.0, 2.0, float("nan"), 7.0],
    )
    steps = make_steps(start_s=[0.0, 2.0, 5.5], duration_s=[2.0, 3.0, 1.0], n_sequences=[1, 2, 4])
    return summarize(
        requests,
        steps=steps,
        window=WINDOW,
        fleet=Fleet(n_gpus=6, n_prefill_gpus=2, n_decode_gpus=4),
        slo=slo,
    )


def test_counts_and_figures_by_hand(make_requests, make_steps) -> None:
    figures = figures_of_a_run(make_requests, make_steps)
    assert figures["n_requests"] == 2
    assert figures["n_done"] == 1
    assert figures["n_rejected"] == 1
    assert figures["n_preemptions"] == 1
    assert figures["ttft_p50_s"] == pytest.approx(1)
    # 11 tokens of request 0 from 1 to 2 s, 11 of request 1 from 2 to 3 s
    assert figures["output_tokens_per_s"] == pytest.approx(22 / 5)
    # steps that end within the window: 1 sequence at 2 s, 2 at 3 s
    assert figures["itl_mean_s"] == pytest.approx((1 * 2 + 2 * 3) / 3)


def test_goodput_needs_an_slo(make_requests, make_steps) -> None:
    assert "slo_met_frac" not in figures_of_a_run(make_requests, make_steps)
    figures = figures_of_a_run(make_requests, make_steps, slo=Slo(ttft_s=2.0))
    assert figures["slo_met_frac"] == pytest.approx(0.5)


def test_every_figure_is_in_the_catalog(make_requests, make_steps) -> None:
    figures = figures_of_a_run(make_requests, make_steps, slo=Slo())
    figures |= energy_figures(
        figures, it_power_w=9.0, pue=1.1, window=WINDOW, provisioned_power_w=10.0
    )
    figures |= cost_figures(figures, n_gpus=6, usd_per_gpu_hour=2.0)
    figures |= revenue_figures(
        figures,
        prices=TokenPrices(input_usd_per_million_tokens=1.0, output_usd_per_million_tokens=2.0),
        n_racks=1,
        cost_usd_per_h=figures["cost_usd_per_h"],
        it_power_w=9.0,
    )
    columns = ("replica", "pool", "state", "start_s", "duration_s")
    replicas = pd.DataFrame([(0, "decode", "serving", 0.0, 9.0)], columns=columns)
    figures |= fleet_figures(replicas, gpus_of_replica=np.array([6]), window=WINDOW)
    # what the engine counts where a deployment swaps
    figures |= dict.fromkeys(("n_swaps", "n_swaps_refused", "swap_out_bytes", "swap_in_bytes"), 0)
    assert set(figures) <= set(METRICS)
    # what is left are the quantities that the statistics are taken of
    assert set(METRICS) - set(figures) == {
        "ttft_s",
        "tpot_s",
        "itl_s",
        "e2e_s",
        "queue_s",
        "prefill_s",
        "transfer_s",
        "decode_s",
        "interactivity_tokens_per_s",
    }
