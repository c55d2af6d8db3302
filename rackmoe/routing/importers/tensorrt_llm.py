"""Read the folder that TensorRT-LLM writes to EXPERT_STATISTIC_PATH: counts, or every choice."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import read_json
from rackmoe.routing.importers.drafts import CountDraft, TokenDraft, join_requests
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.importers.safetensors import read_safetensors
from rackmoe.routing.importers.values import field_of, is_count

__all__ = ["read", "read_counts"]

_KEY = re.compile(r"([0-9]{1,9})_([0-9]{1,6})")  # iteration and layer
_COUNTS = re.compile(r"rank([0-9]{1,6})\.safetensors")
_RAW = re.compile(r"rank([0-9]{1,6})_raw\.safetensors")
_SELECTED = re.compile(r"token_selected_experts_rank([0-9]{1,6})\.safetensors")

_Tensors = dict[tuple[int, int], NDArray[np.integer]]


def read(path: Path, *, facts: ModelFacts, hints: ImportHints) -> CountDraft | TokenDraft:
    """Return the choices of every token if they were recorded, else the counts.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    facts : ModelFacts
        The model, as far as it is known.
    hints : ImportHints
        What the user says.

    Returns
    -------
    CountDraft or TokenDraft
        The recording.

    Raises
    ------
    TraceError
        If files are missing, damaged or contradict each other.
    """
    raw = _rank_files(path, _RAW) or _rank_files(path, _SELECTED)
    if not raw:
        return read_counts(path, facts=facts, hints=hints)
    by_rank = _load(raw, n_axes=2, place=path.name)
    counted = _rank_files(path, _COUNTS)
    if counted:
        counts = _load(counted, n_axes=1, place=path.name)
        _check_whole(by_rank, counts=counts, place=path.name)
    notes = ["TensorRT-LLM: a batch of one rank and iteration stands for a request"]
    by_rank, told = _without_copies(by_rank)
    iterations, layers = _grid(by_rank, place=path.name)
    parts = []
    for rank, tensors in by_rank.items():
        for iteration in iterations:
            columns = [tensors[iteration, layer] for layer in layers]
            if len({column.shape for column in columns}) != 1:
                raise TraceError(
                    f"{path.name}: rank {rank}, iteration {iteration}: layers of different "
                    "numbers of tokens; expected the same; record without chunking"
                )
            parts.append(np.stack(columns, axis=1))
    return join_requests(
        parts,
        n_prompt_rows=None,
        phase="any",
        place=path.name,
        layer_ids=layers,
        facts=_meta(path),
        notes=(*notes, *told),
    )


def read_counts(
    path: Path,
    *,
    facts: ModelFacts,  # noqa: ARG001 - readers share one signature
    hints: ImportHints,  # noqa: ARG001 - likewise
) -> CountDraft:
    """Return the counts of each iteration, summed over ranks.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    facts : ModelFacts
        Not needed here.
    hints : ImportHints
        Not needed here.

    Returns
    -------
    CountDraft
        Counts by iteration and layer.

    Raises
    ------
    TraceError
        If files are missing, damaged or contradict each other.
    """
    by_rank = _load(_rank_files(path, _COUNTS), n_axes=1, place=path.name)
    by_rank, told = _without_copies(by_rank)
    iterations, layers = _grid(by_rank, place=path.name)
    widths = {counts.shape for tensors in by_rank.values() for counts in tensors.values()}
    if len(widths) != 1:
        raise TraceError(
            f"{path.name}: counts of {len(widths)} lengths; expected one for each expert; "
            "keep one recording in the folder"
        )
    counts = np.zeros((len(iterations), len(layers), *widths.pop()), np.int64)
    for tensors in by_rank.values():
        counts += np.stack(
            [np.stack([tensors[iteration, layer] for layer in layers]) for iteration in iterations]
        )
    return CountDraft(
        counts=counts,
        phase="any",
        layer_ids=layers,
        facts=_meta(path),
        notes=(f"TensorRT-LLM: counts of {len(by_rank)} ranks, logical ids", *told),
    )


def _meta(path: Path) -> ModelFacts:
    place = f"{path.name}/meta_info.json"
    meta = read_json(path / "meta_info.json")
    values: list[Any] = [
        field_of(meta, name=name, place=place) for name in ("num_experts", "num_experts_per_token")
    ]
    if not all(map(is_count, values)):
        raise TraceError(
            f"{place}: num_experts or num_experts_per_token is no whole number; expected both; "
            "record again"
        )
    return ModelFacts(n_experts=values[0], top_k=values[1])


def _rank_files(path: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    found = ((pattern.fullmatch(file.name), file) for file in sorted(path.glob("*.safetensors")))
    return dict(sorted((int(match[1]), file) for match, file in found if match))


def _load(files: dict[int, Path], *, n_axes: int, place: str) -> dict[int, _Tensors]:
    out: dict[int, _Tensors] = {}
    if not files or list(files) != list(range(len(files))):
        raise TraceError(
            f"{place}: safetensors of ranks {str(list(files))[:40]}; expected ranks from 0 "
            "without gaps; copy the files of all ranks into the folder"
        )
    for rank, file in files.items():
        out[rank] = {}
        for name, array in read_safetensors(file).items():
            match = _KEY.fullmatch(name)
            if match is None or array.ndim != n_axes:
                raise TraceError(
                    f"{file.name}: {name[:40]!r} of {array.ndim} axes; expected keys "
                    f"'<iteration>_<layer>' with {n_axes}; check the version of TensorRT-LLM"
                )
            out[rank][int(match[1]), int(match[2])] = array
    return out


def _grid(by_rank: dict[int, _Tensors], *, place: str) -> tuple[list[int], tuple[int, ...]]:
    """Return iterations and layers, all of which each rank must have."""
    keys = {key for tensors in by_rank.values() for key in tensors}
    iterations = sorted({iteration for iteration, _ in keys})
    layers = tuple(sorted({layer for _, layer in keys}))
    for rank, tensors in by_rank.items():
        if len(tensors) != len(iterations) * len(layers) or not tensors:
            raise TraceError(
                f"{place}: rank {rank} has {len(tensors)} tensors; expected {len(iterations)} "
                f"iterations of {len(layers)} layers; record the same range on all ranks"
            )
    return iterations, layers


def _without_copies(
    by_rank: dict[int, _Tensors],
) -> tuple[dict[int, _Tensors], tuple[str, ...]]:
    """Keep one rank where all recorded the same, as without data-parallel attention."""
    first, *others = by_rank.values()
    are_equal = [
        other.keys() == first.keys()
        and all(np.array_equal(other[key], first[key]) for key in first)
        for other in others
    ]
    if not others or not all(are_equal):
        return by_rank, ()
    return {0: first}, ("all ranks recorded the same tokens; kept one",)


def _check_whole(by_rank: dict[int, _Tensors], *, counts: dict[int, _Tensors], place: str) -> None:
    """Refuse choices that are fewer than the counts, as after chunked execution."""
    for rank, tensors in by_rank.items():
        for (iteration, layer), chosen in tensors.items():
            counted = counts.get(rank, {}).get((iteration, layer))
            if counted is not None and int(counted.sum()) != chosen.size:
                raise TraceError(
                    f"{place}: rank {rank}, iteration {iteration}, layer {layer}: {chosen.size} "
                    f"choices, {int(counted.sum())} counted; expected the same; only the last "
                    "chunk was kept: use the counts (format tensorrt_llm_counts)"
                )
