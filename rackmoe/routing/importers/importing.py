"""Import a routing trace that another program wrote."""

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rackmoe.errors import TraceError
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.routing.importers.arrays import npy_names
from rackmoe.routing.importers.count_cleaning import clean_counts
from rackmoe.routing.importers.drafts import CountDraft, TokenDraft
from rackmoe.routing.importers.facts import ImportHints, ModelFacts, agree, facts_of
from rackmoe.routing.importers.formats import FORMATS, sniff_format
from rackmoe.routing.importers.token_cleaning import clean_tokens
from rackmoe.routing.importers.zips import open_zip
from rackmoe.routing.trace_files import load_count_trace, load_token_trace
from rackmoe.routing.traces import CountTrace, TokenTrace

__all__ = ["ImportHints", "ImportedTrace", "import_trace", "import_with_notes"]

_PACKAGE = "rackmoe.routing.importers"
# module and function of each format, imported when it is asked for
_READERS = {
    "sglang_recorder": ("sglang_recorder", "read"),
    "sglang_responses": ("responses", "read"),
    "sglang_counts": ("sglang_counts", "read"),
    "vllm_responses": ("responses", "read"),
    "vllm_eplb": ("vllm_eplb", "read"),
    "tensorrt_llm": ("tensorrt_llm", "read"),
    "tensorrt_llm_counts": ("tensorrt_llm", "read_counts"),
    "mblt": ("mblt", "read"),
    "route_log": ("route_log", "read"),
    "router_logits": ("router_logits", "read"),
    "fingerprint": ("fingerprint", "read"),
    "npz": ("plain_arrays", "read"),
    "parquet": ("parquet", "read"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTrace:
    """A trace and how it came to be.

    Attributes
    ----------
    trace : TokenTrace or CountTrace
        The trace; its header repeats the notes.
    format : str
        Format that was read, one of `formats.FORMATS`.
    notes : tuple of str
        What was mapped, left out and assumed.
    """

    trace: TokenTrace | CountTrace
    format: str
    notes: tuple[str, ...]


def import_trace(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002 - the word that users know
    model: ModelArchitecture | Path | str | None = None,
    hints: ImportHints | None = None,
) -> TokenTrace | CountTrace:
    """Return a foreign routing trace as rackmoe keeps it.

    Parameters
    ----------
    path : path
        A file or folder.
    format : str, optional
        One of `formats.FORMATS`; found out if not given.
    model : ModelArchitecture, path or str, optional
        The model that was recorded: what formats leave out (MoE layers, top_k,
        shared experts) comes from it, and what they say is compared with it.
    hints : ImportHints, optional
        What else the user knows.

    Returns
    -------
    TokenTrace or CountTrace
        The trace; ``header.note`` says what was done.

    Raises
    ------
    TraceError
        If the file is damaged, asks for more than data, lacks what a trace needs or
        belongs to another model.
    ConfigError
        If there is no such model.
    """
    return import_with_notes(path, format=format, model=model, hints=hints).trace


def import_with_notes(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002 - the word that users know
    model: ModelArchitecture | Path | str | None = None,
    hints: ImportHints | None = None,
) -> ImportedTrace:
    """Return a foreign routing trace and what was done to it.

    Parameters
    ----------
    path : path
        A file or folder.
    format : str, optional
        One of `formats.FORMATS`; found out if not given.
    model : ModelArchitecture, path or str, optional
        The model that was recorded.
    hints : ImportHints, optional
        What else the user knows.

    Returns
    -------
    ImportedTrace
        Trace, format and notes.

    Raises
    ------
    TraceError
        As `import_trace`.
    ConfigError
        As `import_trace`.
    """
    source = Path(path)
    known = ImportHints() if hints is None else hints
    facts = facts_of(model, hints=known, place=source.name)
    name = sniff_format(source) if format is None else format
    if name not in FORMATS:
        raise TraceError(
            f"{source.name}: format {name!r}; expected one of {', '.join(FORMATS)}; "
            "leave it out to have it found"
        )
    if name == "rackmoe":
        return _own(source, facts=facts)
    module, function = _READERS[name]
    read = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), function)
    draft: Any = read(source, facts=facts, hints=known)
    trace, notes = _clean(draft, facts=facts, hints=known, place=source.name)
    return ImportedTrace(trace=trace, format=name, notes=notes)


def _clean(
    draft: TokenDraft | CountDraft, *, facts: ModelFacts, hints: ImportHints, place: str
) -> tuple[TokenTrace | CountTrace, tuple[str, ...]]:
    if isinstance(draft, TokenDraft):
        return clean_tokens(draft, facts=facts, hints=hints, place=place)
    return clean_counts(draft, facts=facts, hints=hints, place=place)


def _own(path: Path, *, facts: ModelFacts) -> ImportedTrace:
    """Read a trace of our own and compare it with the model."""
    is_counts = (path / "counts.npy").is_file() if path.is_dir() else _holds_counts(path)
    trace = load_count_trace(path) if is_counts else load_token_trace(path)
    for what in ("n_experts", "top_k"):
        agree(getattr(facts, what), getattr(trace.header, what), what=what, place=path.name)
    if facts.moe_layer_ids not in {None, trace.header.moe_layer_ids}:
        raise TraceError(
            f"{path.name}: {len(trace.header.moe_layer_ids)} MoE layers; expected those of "
            f"{facts.name}; name the model that was recorded"
        )
    header = replace(trace.header, model=trace.header.model or (facts.name or "unknown"))
    return ImportedTrace(trace=replace(trace, header=header), format="rackmoe", notes=())


def _holds_counts(path: Path) -> bool:
    with open_zip(path) as archive:
        return "counts" in npy_names(archive)
