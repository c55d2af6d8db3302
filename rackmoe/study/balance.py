"""What balancing, redundant experts or wider expert parallelism would give a scenario."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from rackmoe.errors import CapacityError, ConfigError
from rackmoe.model.memory import Sharding, rank_weight_bytes
from rackmoe.scenario.deployment import Deployment, Pool
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import Scenario, resolve_scenario
from rackmoe.scenario.workload import Routing
from rackmoe.simulation import Result, simulate

__all__ = ["BalanceRow", "BalanceSetting", "balance_settings", "study_balance"]

_FIGURES = ("imbalance_mean", "output_tokens_per_s_per_gpu", "tpot_p50_s")
_LENGTH_FRAC = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSetting:
    """One way to place the experts of a scenario.

    Attributes
    ----------
    name : str
        What is changed, for tables.
    document : ScenarioDocument
        The scenario with the change.
    """

    name: str
    document: ScenarioDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceRow:
    """What one setting gives.

    Attributes
    ----------
    setting : str
        What was changed.
    ep, n_redundant : int
        Ranks of the busiest pool's group (decode, or the only one); redundant experts.
    imbalance : float
        Load of the busiest rank over the mean, over layers and step time; NaN where the
        setting does not fit.
    output_tokens_per_s_per_gpu : float
        What a GPU delivers. [1/s]
    tpot_p50_s : float
        Time per output token of the median user. [s]
    expert_weight_bytes_per_rank : float
        Weights of the routed experts on a rank. [B]
    problem : str
        Why it does not fit; empty if it does.
    """

    setting: str
    ep: int
    n_redundant: int
    imbalance: float
    output_tokens_per_s_per_gpu: float
    tpot_p50_s: float
    expert_weight_bytes_per_rank: float
    problem: str = ""


def balance_settings(scenario: Scenario) -> list[BalanceSetting]:
    """Return the settings that the study compares.

    Parameters
    ----------
    scenario : Scenario
        The scenario.

    Returns
    -------
    list of BalanceSetting
        Experts in order; EPLB without more experts than divide the ranks; EPLB with one
        and two more slots on each rank; the same on groups twice as wide, of as
        many GPUs in all; exactly balanced routing, the limit.

    Raises
    ------
    ConfigError
        If no pool spreads its experts over ranks.
    """
    document = scenario.document
    n_experts = scenario.arch.moe.n_routed_experts
    if all(pool.ep == 1 for pool in document.deployment.pools.values()):
        raise ConfigError(
            f"{scenario.name}: deployment: no pool has ep above 1; expected experts spread over "
            "ranks; write ep: the GPUs of a replica"
        )

    def with_slots(more: int, *, widen: int = 1) -> Callable[[Pool], Pool]:
        def change(pool: Pool) -> Pool:
            if pool.ep == 1:
                return pool
            n_ranks = pool.ep * widen
            n_filling = -n_experts % n_ranks
            return pool.model_copy(
                update={
                    "replicas": max(1, pool.replicas // widen),
                    "attention_dp": pool.attention_dp * widen,
                    "ep": n_ranks,
                    "redundant_experts": n_filling + more * n_ranks,
                }
            )

        return change

    settings = [
        BalanceSetting(name="as it is", document=document),
        _setting("contiguous", document, with_slots(0), policy="contiguous"),
        _setting("EPLB", document, with_slots(0), policy="eplb"),
        _setting("EPLB, 1 more slot per rank", document, with_slots(1), policy="eplb"),
        _setting("EPLB, 2 more slots per rank", document, with_slots(2), policy="eplb"),
    ]
    if all(pool.replicas % 2 == 0 for pool in document.deployment.pools.values() if pool.ep > 1):
        wide = with_slots(1, widen=2)
        settings.append(
            _setting("twice as wide, EPLB, 1 more slot", document, wide, policy="eplb")
        )
    ideal = document.workload.model_copy(update={"routing": Routing(balanced=True)})
    settings.append(
        BalanceSetting(
            name="exactly balanced (limit)",
            document=document.model_copy(update={"workload": ideal}),
        )
    )
    return settings


def study_balance(
    scenario: Scenario,
    *,
    seed: int = 0,
    length_frac: float = _LENGTH_FRAC,
    run: Callable[..., Result] = simulate,
    progress: Callable[[BalanceRow], None] | None = None,
) -> list[BalanceRow]:
    """Run a scenario with each setting and return what it gives.

    Parameters
    ----------
    scenario : Scenario
        The scenario; a search for an operating point is left out.
    seed : int
        Seed of all runs.
    length_frac : float
        Part of the scenario's requests or times that is run, above 0.
    run : callable
        `simulate`, or what stands in for it.
    progress : callable, optional
        Told about every row.

    Returns
    -------
    list of BalanceRow
        A row for each of `balance_settings`.

    Raises
    ------
    ConfigError
        If no pool spreads its experts over ranks, or the length is not above 0.
    """
    if not 0 < length_frac <= 1:
        raise ConfigError(
            f"length: {length_frac}; expected above 0 and at most 1; write 0.25 for a quarter"
        )
    rows: list[BalanceRow] = []
    for setting in balance_settings(scenario):
        rows.append(_row(setting, scenario=scenario, seed=seed, length_frac=length_frac, run=run))
        if progress is not None:
            progress(rows[-1])
    return rows


def _row(
    setting: BalanceSetting,
    *,
    scenario: Scenario,
    seed: int,
    length_frac: float,
    run: Callable[..., Result],
) -> BalanceRow:
    document = _shortened(setting.document, length_frac=length_frac)
    pool = list(document.deployment.pools.values())[-1]
    sharding = Sharding(
        tp=pool.tp,
        attention_dp=pool.attention_dp,
        ep=pool.ep,
        n_redundant=pool.redundant_experts,
    )
    row = BalanceRow(
        setting=setting.name,
        ep=pool.ep,
        n_redundant=pool.redundant_experts,
        imbalance=float("nan"),
        output_tokens_per_s_per_gpu=float("nan"),
        tpot_p50_s=float("nan"),
        expert_weight_bytes_per_rank=rank_weight_bytes(scenario.arch, sharding=sharding)[
            "routed_expert"
        ],
    )
    try:
        summary = run(resolve_scenario(document, name=scenario.name), seed=seed).summary
    except CapacityError as error:
        return replace(row, problem=str(error))
    imbalance, rate, tpot_s = (float(summary[name]) for name in _FIGURES)
    return replace(row, imbalance=imbalance, output_tokens_per_s_per_gpu=rate, tpot_p50_s=tpot_s)


def _setting(
    name: str, document: ScenarioDocument, change: Callable[[Pool], Pool], *, policy: str
) -> BalanceSetting:
    given = document.deployment
    pools = {role: change(pool) for role, pool in given.pools.items()}
    changed: Deployment = given.model_copy(update=pools)
    experts = document.experts.model_copy(update={"placement": policy})
    update = {"deployment": changed, "experts": experts}
    return BalanceSetting(name=name, document=document.model_copy(update=update))


def _shortened(document: ScenarioDocument, *, length_frac: float) -> ScenarioDocument:
    """Return the document with less traffic; a closed loop is filled at least twice."""
    workload = document.workload
    measurement = workload.measurement
    update: dict[str, object] = {
        "search": None,
        "measurement": measurement.model_copy(
            update={
                "warm_up_s": _part(measurement.warm_up_s, length_frac),
                "window_s": _part(measurement.window_s, length_frac),
            }
        ),
        "duration_s": _part(workload.duration_s, length_frac),
    }
    if workload.requests is not None:
        loop = workload.arrivals.closed_loop if workload.arrivals is not None else None
        least = min(workload.requests, 2 * (loop or 1))
        update["requests"] = max(least, round(workload.requests * length_frac))
    return document.model_copy(update={"workload": workload.model_copy(update=update)})


def _part(value: float | None, length_frac: float) -> float | None:
    return None if value is None else value * length_frac
