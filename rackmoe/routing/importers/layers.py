"""Which of the recorded layers are MoE layers, and which were not recorded at all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.facts import ModelFacts

__all__ = ["LayerChoice", "choose_layers"]

_MAX_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChoice:
    """The recorded layers that become the trace.

    Attributes
    ----------
    columns : ndarray of shape (L,), int64
        Their positions on the layer axis of the file.
    layer_ids : tuple of int
        Their numbers within the model.
    notes : tuple of str
        What was left out and assumed.
    """

    columns: NDArray[np.int64]
    layer_ids: tuple[int, ...]
    notes: tuple[str, ...]


def choose_layers(
    is_empty: NDArray[np.bool_],
    *,
    layer_ids: tuple[int, ...] | None,
    facts: ModelFacts,
    place: str,
) -> LayerChoice:
    """Return the MoE layers among the recorded ones.

    Parameters
    ----------
    is_empty : ndarray of shape (L,), bool
        Whether nothing was recorded in a layer.
    layer_ids : tuple of int or None
        Number of each recorded layer, where the file says it.
    facts : ModelFacts
        The model, as far as it is known.
    place : str
        The trace, for the message.

    Returns
    -------
    LayerChoice
        Positions and numbers.

    Raises
    ------
    TraceError
        If nothing was recorded in an MoE layer, something was in a dense one, or
        the layers are not those of the model.
    """
    if is_empty.all():
        raise TraceError(
            f"{place}: all zero; expected choices in the MoE layers; the MoE kernel bypassed the "
            "recorder: choose one that does not fuse routing, or another version"
        )
    moe_ids = facts.moe_layer_ids
    if layer_ids is not None:
        choice = _by_number(is_empty, layer_ids=layer_ids, moe_ids=moe_ids, place=place)
    elif moe_ids is None:
        choice = _by_contents(is_empty)
    else:
        choice = _by_model(is_empty, moe_ids=moe_ids, n_layers=facts.n_layers, place=place)
    missing = choice.columns[is_empty[choice.columns]]
    if missing.size:
        raise TraceError(
            f"{place}: nothing recorded in MoE layers {_shown(missing.tolist())}; expected "
            "choices in each; the MoE kernel bypassed the recorder there: choose another kernel"
        )
    return choice


def _by_number(
    is_empty: NDArray[np.bool_],
    *,
    layer_ids: tuple[int, ...],
    moe_ids: tuple[int, ...] | None,
    place: str,
) -> LayerChoice:
    """Take the layers that the file numbers; those that the model lacks are for drafts."""
    ids = np.asarray(layer_ids, np.int64)
    if moe_ids is None:
        kept = np.flatnonzero(~is_empty)
        dropped = ids[is_empty].tolist()
        notes = (f"left out empty layers {_shown(dropped)}",) if dropped else ()
        return LayerChoice(columns=kept, layer_ids=tuple(ids[kept].tolist()), notes=notes)
    absent = sorted(set(moe_ids) - set(layer_ids))
    if absent:
        raise TraceError(
            f"{place}: MoE layers {_shown(absent)} are missing; expected the {len(moe_ids)} "
            "layers of the model; record them all, or give moe_layer_ids without a model"
        )
    is_moe = np.isin(ids, moe_ids)
    foreign = ids[~is_moe & ~is_empty & (ids < max(moe_ids))].tolist()
    if foreign:
        raise TraceError(_foreign(foreign, place=place))
    beyond = ids[~is_moe].tolist()
    notes = (f"left out layers {_shown(beyond)}: dense, or for drafts",) if beyond else ()
    kept = np.flatnonzero(is_moe)
    return LayerChoice(columns=kept, layer_ids=tuple(ids[kept].tolist()), notes=notes)


def _by_contents(is_empty: NDArray[np.bool_]) -> LayerChoice:
    """Take what holds something; without a model, an empty layer passes for dense."""
    kept = np.flatnonzero(~is_empty)
    dropped = np.flatnonzero(is_empty).tolist()
    notes = ["layers numbered from 0 in the order of the file; no model was named"]
    if dropped:
        notes.append(f"left out layers {_shown(dropped)}: empty, taken for dense")
    return LayerChoice(columns=kept, layer_ids=tuple(kept.tolist()), notes=tuple(notes))


def _by_model(
    is_empty: NDArray[np.bool_], *, moe_ids: tuple[int, ...], n_layers: int | None, place: str
) -> LayerChoice:
    """Take the MoE layers of a model from an axis of all layers or of MoE layers only."""
    if is_empty.size == len(moe_ids):
        return LayerChoice(columns=np.arange(is_empty.size), layer_ids=moe_ids, notes=())
    if is_empty.size != n_layers and (n_layers is not None or is_empty.size <= max(moe_ids)):
        raise TraceError(
            f"{place}: {is_empty.size} layers; expected {len(moe_ids)} MoE layers or all "
            f"{n_layers or max(moe_ids) + 1}; name the model that was recorded"
        )
    dense = np.setdiff1d(np.arange(is_empty.size), moe_ids)
    if not is_empty[dense].all():
        raise TraceError(_foreign(dense[~is_empty[dense]].tolist(), place=place))
    notes = (f"left out dense layers {_shown(dense.tolist())}",)
    return LayerChoice(columns=np.asarray(moe_ids, np.int64), layer_ids=moe_ids, notes=notes)


def _foreign(layers: list[int], *, place: str) -> str:
    return (
        f"{place}: choices in layers {_shown(layers)}, which are dense in the model; "
        "expected none there; name the model that was recorded"
    )


def _shown(layers: list[int]) -> str:
    more = ", ..." if len(layers) > _MAX_SHOWN else ""
    return ", ".join(str(layer) for layer in layers[:_MAX_SHOWN]) + more
