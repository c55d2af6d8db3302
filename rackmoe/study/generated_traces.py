"""Which experts the tokens of a model might choose: a trace from the routing generator."""

from rackmoe.model.config import load_model
from rackmoe.routing.family_files import find_statistics
from rackmoe.routing.refinements import Refinements
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.tokens import generate_token_trace
from rackmoe.routing.traces import TokenTrace
from rackmoe.streams import Streams

__all__ = ["generate_model_trace"]


def generate_model_trace(
    model: str,
    *,
    statistics: str,
    n_tokens: int,
    n_requests: int,
    seed: int = 0,
    refinements: Refinements | None = None,
) -> TokenTrace:
    """Return a token trace for a model, labeled as generated.

    Parameters
    ----------
    model : str
        Name of a shipped model, or path of a ``config.json``.
    statistics : str
        Name of the generator's parameter set, or its file.
    n_tokens, n_requests : int
        Tokens in all, and the requests that they belong to.
    seed : int, optional
        Seed of the choices.
    refinements : Refinements, optional
        Domains, drift, cold experts and early tokens; none if not given.

    Returns
    -------
    TokenTrace
        Rows fit for either phase.

    Raises
    ------
    ConfigError
        If a name is unknown, or there are more requests than tokens.
    """
    arch = load_model(model)
    shape = MoeShape(
        n_layers=len(arch.moe_layers),
        n_experts=arch.moe.n_routed_experts,
        top_k=arch.moe.top_k,
        n_groups=arch.moe.n_groups,
        top_groups=arch.moe.top_k_groups,
    )
    return generate_token_trace(
        find_statistics(statistics, place="--statistics"),
        shape=shape,
        n_tokens=n_tokens,
        n_requests=n_requests,
        rng=Streams(seed).rng("generated trace"),
        model=arch.name,
        refinements=refinements,
    )
