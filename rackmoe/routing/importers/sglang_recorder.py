"""Read the dumps of SGLang's expert-distribution recorder, in all of its modes."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import files_in
from rackmoe.routing.importers.drafts import CountDraft, TokenDraft
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.importers.physical import check_map, is_trivial, logical_counts
from rackmoe.routing.importers.sglang_passes import Dump, Record, records_of
from rackmoe.routing.importers.sglang_requests import tokens_of
from rackmoe.routing.importers.torch_zip import open_torch
from rackmoe.routing.importers.values import field_of

__all__ = ["read"]


def read(
    path: Path,
    *,
    facts: ModelFacts,
    hints: ImportHints,  # noqa: ARG001 - readers share one signature
) -> CountDraft | TokenDraft:
    """Return what a recorder dumped: mode `stat`, `per_pass` or `per_token`.

    Parameters
    ----------
    path : pathlib.Path
        A ``.pt`` file, or the folder with the files of all ranks.
    facts : ModelFacts
        The model, as far as it is known.
    hints : ImportHints
        Not needed here.

    Returns
    -------
    CountDraft or TokenDraft
        Counts; token ids for mode `per_token`.

    Raises
    ------
    TraceError
        If the files are damaged, ask for more than data, or are no such dumps.
    """
    with ExitStack() as stack:
        dumps = []
        for file in files_in(path, suffix=".pt"):
            torch_file = stack.enter_context(open_torch(file))
            dumps.append(Dump(file=torch_file, place=file.name))
        if all("logical_count" in _keys(dump) for dump in dumps):
            return _read_stat(dumps)
        records = records_of(dumps, place=path.name)
        p2l, n_experts, notes = _map_of(dumps, facts=facts)
        if "topk_ids_of_layer" in records[0].fields:
            draft = tokens_of(
                records, physical_to_logical=p2l, n_experts=n_experts, place=path.name
            )
            return replace(
                draft, facts=ModelFacts(n_experts=n_experts), notes=(*notes, *draft.notes)
            )
        return _read_passes(records, p2l=p2l, n_experts=n_experts, notes=notes, place=path.name)


def _keys(dump: Dump) -> dict[Any, Any]:
    contents = dump.file.contents
    return contents if isinstance(contents, dict) else {}


def _read_stat(dumps: list[Dump]) -> CountDraft:
    """Read counts that rank 0 summed over ranks and mapped to logical experts."""
    parts = [
        dump.file.array(
            field_of(dump.file.contents, name="logical_count", place=dump.place),
            place=f"{dump.place}: logical_count",
            n_axes=3,
        )
        for dump in dumps
    ]
    if len({part.shape[1:] for part in parts}) != 1:
        raise TraceError(
            f"{dumps[0].place}: dumps of different models in one folder; expected one; "
            "import them one by one"
        )
    return CountDraft(
        counts=np.concatenate(parts),
        phase="any",
        notes=("SGLang recorder, mode stat: counts are logical and summed over ranks",),
    )


def _map_of(
    dumps: list[Dump], *, facts: ModelFacts
) -> tuple[NDArray[np.int64], int, tuple[str, ...]]:
    """Return the map of the run, which all ranks must agree on."""
    name = "last_physical_to_logical_map"
    maps = []
    for dump in dumps:
        place = f"{dump.place}: {name}"
        reference = field_of(dump.file.contents, name=name, place=dump.place)
        maps.append(dump.file.array(reference, place=place, n_axes=2))
        if not np.array_equal(maps[-1], maps[0]):
            raise TraceError(
                f"{place}: not the map of {dumps[0].place}; expected one map in a recording; "
                "record between two rebalances"
            )
    p2l, place = maps[0], f"{dumps[0].place}: {name}"
    n_experts = check_map(p2l, n_experts=facts.n_experts, place=place)
    if is_trivial(p2l, n_experts=n_experts):
        return p2l, n_experts, ()
    return p2l, n_experts, ("mapped physical experts by the last map; earlier maps are unknown",)


@dataclass(frozen=True, slots=True)
class _Pass:
    """Counts of one forward pass, rank by rank."""

    by_rank: dict[int, NDArray[np.int64]]


def _read_passes(
    records: list[Record],
    *,
    p2l: NDArray[np.int64],
    n_experts: int,
    notes: tuple[str, ...],
    place: str,
) -> CountDraft:
    """Sum the counts of a pass over ranks and map them to logical experts."""
    passes: dict[int, _Pass] = {}
    for record in records:
        by_rank = passes.setdefault(record.forward_pass_id, _Pass({})).by_rank
        counts = _counts_of(record, shape=p2l.shape)
        # the halves of a two-batch overlap are records of one pass
        by_rank[record.rank] = by_rank[record.rank] + counts if record.rank in by_rank else counts
    ranks = {record.rank for record in records}
    whole = {key: one for key, one in sorted(passes.items()) if set(one.by_rank) == ranks}
    if not whole or ranks != set(range(len(ranks))):
        raise TraceError(
            f"{place}: ranks {str(sorted(ranks))[:40]} in {len(passes)} passes, {len(whole)} of "
            "them on all ranks; expected ranks from 0 without gaps; put the files of all ranks "
            "into one folder"
        )
    is_copied = len(ranks) > 1 and all(_are_equal(one) for one in whole.values())
    told = [f"SGLang recorder, mode per_pass: summed {len(ranks)} ranks"]
    if is_copied:
        told = ["SGLang recorder, mode per_pass: all ranks counted the same tokens; kept one"]
    if len(whole) < len(passes):
        told.append(f"left out {len(passes) - len(whole)} passes that not all ranks recorded")
    summed = [
        one.by_rank[0] if is_copied else sum(one.by_rank.values(), np.zeros_like(p2l))
        for one in whole.values()
    ]
    counts = np.stack(
        [
            logical_counts(one, physical_to_logical=p2l, n_experts=n_experts, place=place)
            for one in summed
        ]
    )
    return CountDraft(
        counts=counts,
        phase="any",
        facts=ModelFacts(n_experts=n_experts),
        notes=(*told, *notes),
    )


def _counts_of(record: Record, *, shape: tuple[int, ...]) -> NDArray[np.int64]:
    counts = record.array("global_physical_count", n_axes=2)
    if counts.shape != shape:
        raise TraceError(
            f"{record.place}: counts of shape {counts.shape} for a map of {shape}; expected one "
            "for each slot; keep one recording in the folder"
        )
    return counts


def _are_equal(one: _Pass) -> bool:
    first, *others = one.by_rank.values()
    return all(np.array_equal(first, other) for other in others)
