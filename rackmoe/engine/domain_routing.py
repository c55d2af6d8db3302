"""Sources of steps whose requests belong to several domains."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.domains import DomainSource
from rackmoe.routing.placement import Placement
from rackmoe.routing.replicas import ReplicaChoice
from rackmoe.routing.step_source import StepSource
from rackmoe.routing.traces import TokenTrace

__all__ = ["labeled_parts", "traced_source"]


def labeled_parts(trace: TokenTrace, *, names: Sequence[str | None]) -> tuple[TokenTrace, ...]:
    """Return the requests of a trace that are about each domain.

    Parameters
    ----------
    trace : TokenTrace
        With labels.
    names : sequence of str or None
        Domains; all of the trace stands for None.

    Returns
    -------
    tuple of TokenTrace
        In the order of `names`.

    Raises
    ------
    TraceError
        If it has no requests of a domain.
    """
    held = [name for at, name in enumerate(trace.domain_names) if (trace.domain == at).any()]
    missing = [name for name in names if name is not None and name not in held]
    if missing:
        has = ", ".join(held) or "no labels at all"
        raise TraceError(
            f"workload.routing.trace: {trace.header.model}: nothing about "
            f"{', '.join(missing)}; it has {has}; use a trace with these domains, or remove "
            "the domains of the applications"
        )
    return tuple(trace if name is None else trace.of_domain(name) for name in names)


def traced_source(
    build: Callable[..., StepSource],
    *,
    trace: TokenTrace,
    names: Sequence[str | None],
    parts: Sequence[TokenTrace],
    placement: Placement,
    rng: np.random.Generator,
    choice: ReplicaChoice,
) -> DomainSource:
    """Return a source that takes the tokens of each domain from its part of a trace.

    Parameters
    ----------
    build : callable
        Builds the source of one trace.
    trace : TokenTrace
        All of it.
    names : sequence of str or None
        The domains.
    parts : sequence of TokenTrace
        Its part about each.
    placement : Placement
        Where the experts are.
    rng : numpy.random.Generator
        Picks blocks, and noise.
    choice : ReplicaChoice
        How tokens pick replicas.

    Returns
    -------
    DomainSource
        Decode tokens that are followed find their experts in the whole trace.
    """
    common = {"placement": placement, "rng": rng, "replica_choice": choice}
    sources = [build(part, **common) for part in parts]
    if not sources[0].needs_rows:
        return DomainSource(sources)
    followed = build(trace, **common)
    return DomainSource(
        sources, followed=followed, spans=[_spans(trace, name=name) for name in names]
    )


def _spans(trace: TokenTrace, *, name: str | None) -> NDArray[np.int64]:
    """Return the recorded outputs about a domain; all of them for None."""
    spans = trace.spans("decode")
    if name is None:
        return spans
    request = np.searchsorted(trace.req_offsets, spans[:, 0], side="right") - 1
    return np.asarray(spans[trace.domain[request] == trace.domain_names.index(name)])
