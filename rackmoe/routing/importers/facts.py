"""What is known of the model before a foreign trace is read, and from whom."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.config import load_model
from rackmoe.routing.traces import TracePhase

__all__ = ["ImportHints", "ModelFacts", "agree", "facts_of", "needed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportHints:
    """What the user knows and the file does not say.

    Attributes
    ----------
    n_experts, top_k : int or None
        Routed experts of a layer; routed experts per token.
    moe_layer_ids : tuple of int or None
        Number of each MoE layer within the model.
    phase : TracePhase or None
        What the rows are, where the format leaves it open.
    n_prompt_rows : tuple of int or None
        Leading rows of each request that are prompt tokens.
    physical_to_logical : ndarray of shape (L, P) or None, integer
        Logical expert in each slot, where the file holds physical experts without a map.
    step_tokens : ndarray of shape (S,) or None, integer
        Tokens that were really served in each step; counts that hold more are padded.
    source, licence : str
        Origin and licence, repeated with every result.
    """

    n_experts: int | None = None
    top_k: int | None = None
    moe_layer_ids: tuple[int, ...] | None = None
    phase: TracePhase | None = None
    n_prompt_rows: tuple[int, ...] | None = None
    physical_to_logical: NDArray[np.integer] | None = None
    step_tokens: NDArray[np.integer] | None = None
    source: str = ""
    licence: str = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What importing needs to know of a model; None where nobody said it.

    Attributes
    ----------
    name : str or None
        Name of the model.
    n_layers : int or None
        Decoder layers, dense ones included.
    moe_layer_ids : tuple of int or None
        Number of each MoE layer.
    n_experts, top_k : int or None
        Routed experts of a layer; routed experts per token.
    n_shared_experts : int
        Shared experts, which some engines number behind the routed ones.
    scoring : str or None
        ``softmax`` or ``sigmoid``.
    has_router_bias : bool
        Whether a correction bias is added to the scores before the choice.
    n_groups, top_groups : int
        Groups that the gate looks at first; groups that a token may use.
    """

    name: str | None = None
    n_layers: int | None = None
    moe_layer_ids: tuple[int, ...] | None = None
    n_experts: int | None = None
    top_k: int | None = None
    n_shared_experts: int = 0
    scoring: str | None = None
    has_router_bias: bool = False
    n_groups: int = 1
    top_groups: int = 1


def facts_of(
    model: ModelArchitecture | Path | str | None, *, hints: ImportHints, place: str
) -> ModelFacts:
    """Return what the model and the user say.

    Parameters
    ----------
    model : ModelArchitecture, path, str or None
        The model, the name of a shipped one, or a ``config.json``.
    hints : ImportHints
        What the user says.
    place : str
        The trace, for the message.

    Returns
    -------
    ModelFacts
        Both together.

    Raises
    ------
    TraceError
        If they contradict each other.
    ConfigError
        If there is no such model.
    """
    known = ModelFacts()
    if model is not None:
        built = model if isinstance(model, ModelArchitecture) else load_model(model)
        known = ModelFacts(
            name=built.name,
            n_layers=built.n_layers,
            moe_layer_ids=built.moe_layers,
            n_experts=built.moe.n_routed_experts,
            top_k=built.moe.top_k,
            n_shared_experts=built.moe.n_shared_experts,
            scoring=built.moe.scoring,
            has_router_bias=built.moe.has_router_bias,
            n_groups=built.moe.n_groups,
            top_groups=built.moe.top_k_groups,
        )
    hinted = hints.moe_layer_ids
    if hinted and known.moe_layer_ids and hinted != known.moe_layer_ids:
        raise TraceError(
            f"{place}: moe_layer_ids {str(hinted)[:40]} are not those of {known.name}; "
            "expected one answer; give either the model or the layers"
        )
    return replace(
        known,
        n_experts=agree(known.n_experts, hints.n_experts, what="n_experts", place=place),
        top_k=agree(known.top_k, hints.top_k, what="top_k", place=place),
        moe_layer_ids=known.moe_layer_ids or hinted,
    )


def agree(known: int | None, *others: int | None, what: str, place: str) -> int | None:
    """Return the value on which all who know it agree.

    Parameters
    ----------
    known, *others : int or None
        The value as each of them has it.
    what : str
        Name of the value.
    place : str
        The trace, for the message.

    Returns
    -------
    int or None
        The value; None if nobody knows it.

    Raises
    ------
    TraceError
        If two of them differ.
    """
    values = sorted({value for value in (known, *others) if value is not None})
    if len(values) > 1:
        raise TraceError(
            f"{place}: {what} is {values[0]} and {values[1]}; expected one value; "
            "name the model that was recorded"
        )
    return values[0] if values else None


def needed(value: int | None, *, what: str, place: str) -> int:
    """Return a value that somebody must have said.

    Parameters
    ----------
    value : int or None
        The value.
    what : str
        Name of the value.
    place : str
        The trace, for the message.

    Returns
    -------
    int
        The value.

    Raises
    ------
    TraceError
        If nobody said it.
    """
    if value is None or value < 1:
        raise TraceError(
            f"{place}: {what} unknown; expected it from the file or the user; "
            f"name the model or give {what}"
        )
    return value
