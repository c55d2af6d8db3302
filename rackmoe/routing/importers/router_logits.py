"""Apply a model's own choice of experts to the router logits that transformers returns."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.arrays import npy_names, read_npz_array
from rackmoe.routing.importers.drafts import TokenDraft, join_requests, known_prompts
from rackmoe.routing.importers.facts import ImportHints, ModelFacts, needed
from rackmoe.routing.importers.zips import SafeZip, open_zip

__all__ = ["LOGITS_NAME", "choose_experts", "read"]

LOGITS_NAME = re.compile(r"(?:arr|layer|router_logits)_([0-9]{1,6})|router_logits")

_MASK = "attention_mask"
_BIAS = "correction_bias"
_ROWS_AT_ONCE = 8192


def read(path: Path, *, facts: ModelFacts, hints: ImportHints) -> TokenDraft:
    """Return the experts that a model chooses by its router logits.

    Parameters
    ----------
    path : pathlib.Path
        An ``.npz`` file with one array [batch x tokens, experts] for each MoE layer
        (``arr_0`` as ``numpy.savez(*router_logits)`` names them, or
        ``router_logits_0``), or one array ``router_logits`` [layers, batch x tokens,
        experts]; ``attention_mask`` [batch, tokens] marks padding; sigmoid routers
        with a bias need ``correction_bias`` [layers, experts].
    facts : ModelFacts
        The model; its top_k and scoring decide.
    hints : ImportHints
        What the user says.

    Returns
    -------
    TokenDraft
        One request for each row of the mask.

    Raises
    ------
    TraceError
        If arrays differ in shape or are not finite, or the bias is missing.
    """
    place = path.name
    with open_zip(path) as archive:
        logits = _logits(archive)
        names = npy_names(archive)
        mask = read_npz_array(archive, name=_MASK) if _MASK in names else None
        bias = read_npz_array(archive, name=_BIAS) if _BIAS in names else None
    if facts.has_router_bias and facts.scoring == "sigmoid" and bias is None:
        raise TraceError(
            f"{place}: logits of a sigmoid router without its {_BIAS}; expected an array "
            f"[layers, experts]; store e_score_correction_bias of the layers as {_BIAS}"
        )
    if bias is not None and bias.shape != (len(logits), logits[0].shape[1]):
        raise TraceError(
            f"{place}: {_BIAS}: shape {bias.shape}; expected "
            f"{(len(logits), logits[0].shape[1])}; store it for the MoE layers only"
        )
    top_k = needed(facts.top_k, what="top_k", place=place)
    chosen = [
        choose_experts(one, facts=facts, bias=None if bias is None else bias[at], top_k=top_k)
        for at, one in enumerate(logits)
    ]
    parts, notes = _requests(np.stack(chosen, axis=1), mask=mask, place=place)
    prompts = known_prompts(hints, n_requests=len(parts), place=place)
    return join_requests(
        parts,
        n_prompt_rows=prompts or [part.shape[0] for part in parts],
        phase="both" if prompts else "prefill",
        place=place,
        facts=ModelFacts(n_experts=logits[0].shape[1], top_k=top_k),
        notes=(f"router logits of {len(logits)} layers, top {top_k} applied", *notes),
    )


def _logits(archive: SafeZip) -> list[NDArray[np.floating]]:
    """Return the logits of each layer, with sizes that agree."""
    found = {name: LOGITS_NAME.fullmatch(name) for name in npy_names(archive)}
    names = [name for name, match in found.items() if match]
    names.sort(key=lambda name: int(re.sub(r"\D", "", name) or 0))
    arrays = [read_npz_array(archive, name=name) for name in names]
    if len(arrays) == 1 and arrays[0].ndim == 3:  # noqa: PLR2004 - layers, tokens, experts
        arrays = list(arrays[0])
    flat = [one.reshape(-1, one.shape[-1]) if one.ndim > 1 and one.size else one for one in arrays]
    shapes = {one.shape for one in flat}
    if len(shapes) != 1 or flat[0].ndim != 2 or not flat[0].size:  # noqa: PLR2004 - tokens, experts
        raise TraceError(
            f"{archive.place}: logits of shapes {str(sorted(shapes))[:60]}; expected one "
            "[tokens, experts] for each MoE layer; save what output_router_logits gave"
        )
    for number, one in enumerate(flat):
        if one.dtype.kind != "f" or not np.isfinite(one).all():
            raise TraceError(
                f"{archive.place}: layer {number}: not finite floats; expected logits; "
                "save them in float32"
            )
    return flat


def choose_experts(
    logits: NDArray[np.floating],
    *,
    facts: ModelFacts,
    top_k: int,
    bias: NDArray[np.floating] | None = None,
) -> NDArray[np.int64]:
    """Return the experts that a gate chooses.

    A softmax keeps the order of the logits, so that they decide; a sigmoid is
    taken before the bias is added, as in DeepSeek-V3 (arXiv:2412.19437, 2.1.2).
    Limited to groups, the best groups by the sum of their two best scores stay.

    Parameters
    ----------
    logits : ndarray of shape (N, E)
        Output of the router.
    facts : ModelFacts
        Scoring and groups.
    top_k : int
        Experts per token.
    bias : ndarray of shape (E,), optional
        Correction of the scores for the choice.

    Returns
    -------
    ndarray of shape (N, K), int64
        Experts, the best first; the lower id first among equal ones.
    """
    out = np.empty((logits.shape[0], min(top_k, logits.shape[1])), np.int64)
    for first in range(0, logits.shape[0], _ROWS_AT_ONCE):
        block = slice(first, first + _ROWS_AT_ONCE)
        scores = logits[block].astype(np.float64)
        if facts.scoring == "sigmoid":
            scores = np.exp(-np.logaddexp(0.0, -scores))
        if bias is not None:
            scores = scores + bias
        if facts.top_groups < facts.n_groups and scores.shape[1] % facts.n_groups == 0:
            scores = _best_groups(scores, facts=facts)
        out[block] = np.argsort(-scores, axis=1, kind="stable")[:, : out.shape[1]]
    return out


def _best_groups(scores: NDArray[np.float64], *, facts: ModelFacts) -> NDArray[np.float64]:
    """Set the scores of all but the best groups to minus infinity."""
    grouped = scores.reshape(scores.shape[0], facts.n_groups, -1)
    n_best = min(2, grouped.shape[2])
    value = np.sort(grouped, axis=2)[:, :, -n_best:].sum(axis=2)
    order = np.argsort(-value, axis=1, kind="stable")[:, : facts.top_groups]
    is_open = np.zeros(value.shape, np.bool_)
    np.put_along_axis(is_open, order, values=True, axis=1)
    return np.where(is_open[:, :, None], grouped, -np.inf).reshape(scores.shape)


def _requests(
    chosen: NDArray[np.int64], *, mask: NDArray[Any] | None, place: str
) -> tuple[list[NDArray[np.int64]], list[str]]:
    """Split the rows of a batch into its sequences, without padding."""
    if mask is None:
        return [chosen], ["no attention_mask: all rows are taken for one request without padding"]
    is_token = mask.astype(np.bool_)
    if mask.ndim != 2 or mask.size != chosen.shape[0]:  # noqa: PLR2004 - batch and tokens
        raise TraceError(
            f"{place}: {_MASK}: shape {mask.shape} for {chosen.shape[0]} rows of logits; expected "
            "[batch, tokens] of that size; save both from one call"
        )
    rows = chosen.reshape(*mask.shape, *chosen.shape[1:])
    n_padding = int((~is_token).sum())
    notes = [f"left out {n_padding} padding tokens by the mask"] if n_padding else []
    return [one[own] for one, own in zip(rows, is_token, strict=True)], notes
