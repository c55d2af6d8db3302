"""Which ways of dividing a model go together."""

from rackmoe.model.architecture import ModelArchitecture
from rackmoe.scenario.deployment import Pool
from rackmoe.scenario.document import ScenarioDocument

__all__ = ["parallelism_problems"]


def parallelism_problems(
    document: ScenarioDocument, *, role: str, arch: ModelArchitecture, place: str
) -> list[str]:
    """Return what is wrong with the pipeline and context parallelism of a pool.

    Parameters
    ----------
    document : ScenarioDocument
        What the file says.
    role : str
        Name of the pool.
    arch : ModelArchitecture
        The model.
    place : str
        Where the pool is, for messages.

    Returns
    -------
    list of str
        One for each combination that is not modeled, or not possible.
    """
    pool = document.deployment.pools[role]
    problems = []
    most = len(arch.moe_layers)
    if pool.pp > most:
        problems.append(
            f"{place}.pp: {pool.pp}; expected at most {most}, a MoE layer each; lower it"
        )
    if pool.cp > 1 and role != "prefill":
        problems.append(
            f"{place}.cp: {pool.cp}; context parallelism computes prompts only; expected it in a "
            "prefill pool; split the deployment, or remove it"
        )
    names = [name for name in ("pp", "cp") if getattr(pool, name) > 1]
    if not names:
        return problems
    problems.extend(
        f"{place}.{name}: {getattr(pool, name)} together with {other} is not modeled; "
        "remove one of them"
        for name in names
        for other in _others(document, pool, is_pipeline=name == "pp")
    )
    return problems


def _others(document: ScenarioDocument, pool: Pool, *, is_pipeline: bool) -> list[str]:
    """Return the features in use that do not go with stages or divided contexts."""
    deployment = document.deployment
    used = {
        "two_batch_overlap": pool.two_batch_overlap,
        "draft_tokens": pool.draft_tokens > 0,
        "offloads_weights": pool.offloads_weights,
        "experts.rebalance": document.experts.rebalance is not None,
        "deployment.start_up": deployment.start_up is not None,
        "deployment.autoscaling": bool(deployment.autoscaling),
        "simulation.faults": is_pipeline and bool(document.simulation.faults),
        "deployment.preemption: swap": is_pipeline and deployment.preemption.policy == "swap",
        "workload.is_prefilled": document.workload.is_prefilled,
    }
    return [name for name, is_used in used.items() if is_used]
