"""What a reader of one format found, before it is cleaned and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.traces import TracePhase

__all__ = ["CountDraft", "TokenDraft", "join_requests", "known_prompts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDraft:
    """Recorded expert ids, request after request.

    Attributes
    ----------
    experts : ndarray of shape (N, L, K), integer
        Logical experts; -1 or rows of zeros where nothing was recorded.
    req_offsets : ndarray of shape (n_requests + 1,), int64
        Rows of request i are ``req_offsets[i]`` to ``req_offsets[i + 1]``.
    n_prompt_rows : ndarray of shape (n_requests,), int64
        Leading rows of each request that are prompt tokens.
    phase : TracePhase
        What the rows are.
    layer_ids : tuple of int or None
        Number of each recorded layer; None where the format does not say.
    facts : ModelFacts
        What the file says of the model, apart from layers.
    notes : tuple of str
        What the reader did and assumed.
    """

    experts: NDArray[np.integer]
    req_offsets: NDArray[np.int64]
    n_prompt_rows: NDArray[np.int64]
    phase: TracePhase
    layer_ids: tuple[int, ...] | None = None
    facts: ModelFacts = field(default_factory=ModelFacts)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CountDraft:
    """Recorded counts, step after step.

    Attributes
    ----------
    counts : ndarray of shape (S, L, E), integer
        Assignments of each logical expert; rows of zeros where nothing was recorded.
    phase : TracePhase
        What the steps are.
    layer_ids : tuple of int or None
        Number of each recorded layer; None where the format does not say.
    facts : ModelFacts
        What the file says of the model, apart from layers.
    notes : tuple of str
        What the reader did and assumed.
    """

    counts: NDArray[np.integer]
    phase: TracePhase
    layer_ids: tuple[int, ...] | None = None
    facts: ModelFacts = field(default_factory=ModelFacts)
    notes: tuple[str, ...] = ()


def join_requests(
    parts: Sequence[NDArray[np.integer]],
    *,
    n_prompt_rows: Sequence[int] | None,
    phase: TracePhase,
    place: str,
    layer_ids: tuple[int, ...] | None = None,
    facts: ModelFacts | None = None,
    notes: Sequence[str] = (),
) -> TokenDraft:
    """Return one draft of the ids of several requests.

    Parameters
    ----------
    parts : sequence of ndarray of shape (n, L, K), integer
        Ids of each request.
    n_prompt_rows : sequence of int or None
        Leading rows of each request that are prompt tokens; None for none.
    phase : TracePhase
        What the rows are.
    place : str
        The file, for the message.
    layer_ids : tuple of int, optional
        Number of each recorded layer.
    facts : ModelFacts, optional
        What the file says of the model.
    notes : sequence of str
        What the reader did.

    Returns
    -------
    TokenDraft
        The draft.

    Raises
    ------
    TraceError
        If there is no request, or they differ in layers or experts per token.
    """
    widths = sorted({part.shape[1:] for part in parts})
    if len(widths) != 1:
        raise TraceError(
            f"{place}: {len(parts)} requests with [layers, experts] of {str(widths)[:60]}; "
            "expected at least one, all of one model; import one model at a time"
        )
    lengths = [part.shape[0] for part in parts]
    prompt = [0] * len(parts) if n_prompt_rows is None else list(n_prompt_rows)
    return TokenDraft(
        experts=parts[0] if len(parts) == 1 else np.concatenate(parts),
        req_offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        n_prompt_rows=np.minimum(prompt, lengths).astype(np.int64),
        phase=phase,
        layer_ids=layer_ids,
        facts=ModelFacts() if facts is None else facts,
        notes=tuple(notes),
    )


def known_prompts(hints: ImportHints, *, n_requests: int, place: str) -> tuple[int, ...] | None:
    """Return the prompt rows that the user gave, one number for each request.

    Parameters
    ----------
    hints : ImportHints
        What the user says.
    n_requests : int
        Requests in the file.
    place : str
        The file, for the message.

    Returns
    -------
    tuple of int or None
        Prompt rows of each request; None if the user did not say.

    Raises
    ------
    TraceError
        If there are more or fewer numbers than requests, or one is below 0.
    """
    prompts = hints.n_prompt_rows
    if prompts is not None and (len(prompts) != n_requests or min(prompts, default=0) < 0):
        raise TraceError(
            f"{place}: n_prompt_rows has {len(prompts)} numbers for {n_requests} requests; "
            "expected one from 0 for each; give them in the order of the requests"
        )
    return prompts
