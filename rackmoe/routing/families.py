"""Parameter sets of the routing generator, one for each family of models, with their sources."""

import difflib
from dataclasses import dataclass, replace

from rackmoe.errors import ConfigError

__all__ = ["STATISTICS", "RoutingStatistics", "routing_statistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingStatistics:
    """Parameters of the routing of one family of models on one kind of text.

    Attributes
    ----------
    name : str
        Name of the set.
    sigma_mean, sigma_sd : float
        Mean and spread over layers of the standard deviation of log popularity.
    sharpening : float
        Factor on log popularity that undoes the flattening by the next two.
    request_sd : float
        Spread of log weights between requests.
    token_sd, memory_tokens : float
        Spread and correlation length of log weights along a request.
    reuse : float
        Chance that a token keeps an expert of the token before.
    affinity : float
        Chance that a choice follows the choice in the layer before. Zero in the sets
        below: popularity alone gives the top fifth of expert pairs 57 % (DeepSeek;
        published 45 %) and 67 % (Qwen3; 68 %) of the assignments (arXiv 2510.05497).
    step_jitter : float
        Spread of log popularity between steps, beyond that of independent tokens.
    power_law : float or None
        Exponent of a power law that replaces the log-normal popularity.
    source : str
        How good the numbers are (measured, fitted, derived or assumed) and where they
        come from.
    """

    name: str
    sigma_mean: float
    sigma_sd: float
    sharpening: float
    request_sd: float
    token_sd: float
    memory_tokens: float
    reuse: float
    affinity: float
    step_jitter: float
    power_law: float | None
    source: str


_DEEPSEEK_CHAT = RoutingStatistics(
    name="deepseek_chat",
    sigma_mean=0.66,
    sigma_sd=0.11,
    sharpening=1.15,
    request_sd=0.5,
    token_sd=0.85,
    memory_tokens=5.0,
    reuse=0.10,
    affinity=0.0,
    step_jitter=0.10,
    power_law=None,
    source=(
        "fitted; sigma: DeepSeek-V3/R1 on GPQA and AIME25, johanna-rock/moe-balance; "
        "jitter: TensorRT-LLM tech blog 4, table 1; memory and re-use: DeepSeek-V2-Lite-Chat "
        "prefill (MoE-Beyond traces)"
    ),
)

_FAMILIES = (
    _DEEPSEEK_CHAT,
    replace(
        _DEEPSEEK_CHAT,
        name="deepseek_narrow",
        sigma_mean=1.02,
        sigma_sd=0.0,
        source="fitted; TensorRT-LLM tech blog 4, table 1: DeepSeek-R1, translation, EP32; "
        "the rest as deepseek_chat",
    ),
    replace(
        _DEEPSEEK_CHAT,
        name="qwen3",
        sigma_mean=0.9,
        sigma_sd=0.03,
        source="derived; sigma: Qwen3-235B on encyclopedic text, counts of ServingStudioSim; "
        "the rest as deepseek_chat",
    ),
    replace(
        _DEEPSEEK_CHAT,
        name="qwen3_narrow",
        sigma_mean=1.25,
        sigma_sd=0.2,
        source="derived; sigma: Qwen3-235B on theorem-prover prompts, counts of sjqsjq/EPLB; "
        "the rest as qwen3",
    ),
    replace(
        _DEEPSEEK_CHAT,
        name="gpt_oss",
        sigma_mean=0.7,
        sigma_sd=0.1,
        sharpening=1.4,
        request_sd=1.2,
        token_sd=0.7,
        memory_tokens=6.0,
        reuse=0.10,
        affinity=0.0,
        source="fitted; gpt-oss-20b decode, 703 requests of GPT-OSS-MoE-ExpertFingerprinting",
    ),
    replace(
        _DEEPSEEK_CHAT,
        name="mixtral",
        sigma_mean=0.15,
        sigma_sd=0.05,
        sharpening=1.0,
        reuse=0.15,
        affinity=0.0,
        source="derived; sigma: Mixtral 8x7B layers 0, 7, 15, counts of allenai/OLMoE; re-use: "
        "arXiv 2401.04088, table 5; the rest as deepseek_chat",
    ),
    replace(
        _DEEPSEEK_CHAT,
        name="balanced_gate",
        sigma_mean=0.2,
        sigma_sd=0.0,
        sharpening=1.0,
        request_sd=0.7,
        token_sd=0.9,
        source="fitted; DeepSeek-V2-Lite-Chat prefill, 1841 prompts (MoE-Beyond traces)",
    ),
    replace(
        _DEEPSEEK_CHAT,
        name="uniform",
        sigma_mean=0.0,
        sigma_sd=0.0,
        sharpening=1.0,
        request_sd=0.0,
        token_sd=0.0,
        reuse=0.0,
        affinity=0.0,
        step_jitter=0.0,
        source="assumed; independent uniform choices",
    ),
    replace(
        _DEEPSEEK_CHAT,
        name="power_law",
        sigma_mean=0.0,
        sigma_sd=0.0,
        sharpening=1.0,
        request_sd=0.0,
        token_sd=0.0,
        reuse=0.0,
        affinity=0.0,
        step_jitter=0.0,
        power_law=1.01,
        source="assumed; loads as drawn by the kernel collector of aiconfigurator, alpha 1.01",
    ),
)

STATISTICS = {family.name: family for family in _FAMILIES}
"""Parameter sets by name."""


def routing_statistics(
    name: str, *, place: str = "workload.routing.generator"
) -> RoutingStatistics:
    """Return a parameter set by its name.

    Parameters
    ----------
    name : str
        Name that the user wrote.
    place : str
        Key that the user wrote, for the message.

    Returns
    -------
    RoutingStatistics
        The set.

    Raises
    ------
    ConfigError
        If there is none of this name.
    """
    if name in STATISTICS:
        return STATISTICS[name]
    close = difflib.get_close_matches(name, STATISTICS, n=1)
    remedy = f"did you mean {close[0]!r}?" if close else "write one of these"
    raise ConfigError(f"{place}: {name!r}; expected one of {', '.join(STATISTICS)}; {remedy}")
