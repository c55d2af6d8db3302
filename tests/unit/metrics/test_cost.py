import numpy as np
import pytest

from rackmoe.metrics.cost import TokenPrices, cost_figures, gpu_cost_usd_per_h, revenue_figures

PRICES = TokenPrices(input_usd_per_million_tokens=0.5, output_usd_per_million_tokens=2.0)


def test_owning_a_gpu_costs_depreciation_and_energy() -> None:
    # 43,800 USD over 5 x 8,760 h is 1 USD/h; 2 kW at 0.10 USD/kWh is 0.20 USD/h
    usd = gpu_cost_usd_per_h(
        43_800.0, amortization_years=5.0, facility_power_w=2000.0, electricity_usd_per_kwh=0.1
    )
    assert usd == pytest.approx(1.2, rel=1e-12)


def test_a_million_tokens_by_hand() -> None:
    # 72 GPUs at 2 USD/h are 0.04 USD/s
    figures = cost_figures(
        {"output_tokens_per_s": 80_000.0, "total_tokens_per_s": 400_000.0},
        n_gpus=72,
        usd_per_gpu_hour=2.0,
    )
    assert figures == pytest.approx(
        {
            "cost_usd_per_h": 144.0,
            "usd_per_million_output_tokens": 0.5,
            "usd_per_million_total_tokens": 0.1,
        },
        rel=1e-12,
    )


def test_revenue_and_margin_by_hand() -> None:
    figures = revenue_figures(
        {"input_tokens_per_s": 320_000.0, "output_tokens_per_s": 80_000.0},
        prices=PRICES,
        n_racks=2,
        cost_usd_per_h=144.0,
        it_power_w=250_000.0,
    )
    # 0.32 million x 0.5 + 0.08 million x 2 = 0.32 USD/s
    assert figures == pytest.approx(
        {
            "revenue_usd_per_h": 1152.0,
            "revenue_usd_per_h_per_rack": 576.0,
            "revenue_usd_per_h_per_mw": 4608.0,
            "margin_frac": 0.875,
        },
        rel=1e-12,
    )


def test_nothing_sold_has_no_margin_and_no_cost_per_token() -> None:
    nothing = {"input_tokens_per_s": 0.0, "output_tokens_per_s": 0.0, "total_tokens_per_s": 0.0}
    cost = cost_figures(nothing, n_gpus=8, usd_per_gpu_hour=2.0)
    assert np.isnan(cost["usd_per_million_output_tokens"])
    revenue = revenue_figures(
        nothing, prices=PRICES, n_racks=1, cost_usd_per_h=16.0, it_power_w=0.0
    )
    assert np.isnan(revenue["margin_frac"])
    assert np.isnan(revenue["revenue_usd_per_h_per_mw"])
