"""What a token costs and earns."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["TokenPrices", "cost_figures", "gpu_cost_usd_per_h", "revenue_figures"]

HOURS_PER_YEAR = 8760.0
S_PER_HOUR = 3600.0
W_PER_KW = 1e3
W_PER_MW = 1e6
TOKENS_PER_MILLION = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
    """What a provider charges.

    Parameters
    ----------
    input_usd_per_million_tokens, output_usd_per_million_tokens : float
        Price of prompt and of generated tokens. [USD per 1e6 tokens]
    """

    input_usd_per_million_tokens: float
    output_usd_per_million_tokens: float


def gpu_cost_usd_per_h(
    capex_usd: float,
    *,
    amortization_years: float,
    facility_power_w: float,
    electricity_usd_per_kwh: float,
) -> float:
    """Return the cost of owning a GPU for an hour.

    Parameters
    ----------
    capex_usd : float
        Purchase price of the machine, its share of one GPU. [USD]
    amortization_years : float
        Years over which it is written off, every hour alike.
    facility_power_w : float
        Mean facility power, its share of one GPU. [W]
    electricity_usd_per_kwh : float
        Price of energy. [USD/kWh]

    Returns
    -------
    float
        Depreciation and energy. [USD/h]

    Examples
    --------
    >>> round(gpu_cost_usd_per_h(43800.0, amortization_years=5.0, facility_power_w=2000.0,
    ...                    electricity_usd_per_kwh=0.10), 6)
    1.2
    """
    depreciation = capex_usd / (amortization_years * HOURS_PER_YEAR)
    return depreciation + facility_power_w / W_PER_KW * electricity_usd_per_kwh


def cost_figures(
    figures: Mapping[str, float], *, n_gpus: float, usd_per_gpu_hour: float
) -> dict[str, float]:
    """Return the cost of a million tokens.

    Parameters
    ----------
    figures : mapping of str to float
        ``output_tokens_per_s`` and ``total_tokens_per_s``. [1/s]
    n_gpus : float
        GPUs that are paid for, on average.
    usd_per_gpu_hour : float
        Rent, or the result of `gpu_cost_usd_per_h`. [USD/h]

    Returns
    -------
    dict of str to float
        The whole cost over the output tokens, and over all tokens.
    """
    usd_per_s = n_gpus * usd_per_gpu_hour / S_PER_HOUR
    return {
        "cost_usd_per_h": n_gpus * usd_per_gpu_hour,
        "usd_per_million_output_tokens": _per_million(usd_per_s, figures["output_tokens_per_s"]),
        "usd_per_million_total_tokens": _per_million(usd_per_s, figures["total_tokens_per_s"]),
    }


def revenue_figures(
    figures: Mapping[str, float],
    *,
    prices: TokenPrices,
    n_racks: float,
    cost_usd_per_h: float,
    it_power_w: float,
) -> dict[str, float]:
    """Return what the tokens earn.

    Parameters
    ----------
    figures : mapping of str to float
        ``input_tokens_per_s`` and ``output_tokens_per_s``. [1/s]
    prices : TokenPrices
        What a provider charges.
    n_racks : float
        Racks of the deployment, a fraction for less than one.
    cost_usd_per_h : float
        From `cost_figures`. [USD/h]
    it_power_w : float
        Mean IT power. [W]

    Returns
    -------
    dict of str to float
        Revenue per hour, per rack-hour and per MW-hour, and the margin.
    """
    usd_per_s = (
        figures["input_tokens_per_s"] * prices.input_usd_per_million_tokens
        + figures["output_tokens_per_s"] * prices.output_usd_per_million_tokens
    ) / TOKENS_PER_MILLION
    revenue = usd_per_s * S_PER_HOUR
    return {
        "revenue_usd_per_h": revenue,
        "revenue_usd_per_h_per_rack": revenue / n_racks,
        "revenue_usd_per_h_per_mw": revenue / it_power_w * W_PER_MW
        if it_power_w
        else float("nan"),
        "margin_frac": 1 - cost_usd_per_h / revenue if revenue else float("nan"),
    }


def _per_million(usd_per_s: float, tokens_per_s: float) -> float:
    return usd_per_s / tokens_per_s * TOKENS_PER_MILLION if tokens_per_s else float("nan")
