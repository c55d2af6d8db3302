"""Read and write routing traces, and refuse the damaged and the foreign ones."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.paging import PageRelease
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.traces import CountTrace, TokenTrace, TraceHeader, TracePhase

__all__ = ["load_count_trace", "load_token_trace", "save_count_trace", "save_token_trace"]

_TOKENS = "rackmoe-token-trace-v0"
_COUNTS = "rackmoe-count-trace-v0"
_ROWS_AT_ONCE = 8192  # checked at a time, so that a memory-mapped trace stays on disk


def load_token_trace(path: Path | str, *, shape: MoeShape | None = None) -> TokenTrace:
    """Read a token trace and refuse a damaged or foreign one.

    Parameters
    ----------
    path : path
        An ``.npz`` file, or a folder with ``header.json`` and one ``.npy`` for
        each array, which is memory-mapped.
    shape : MoeShape, optional
        The model that will use the trace; it must fit.

    Returns
    -------
    TokenTrace
        The trace.

    Raises
    ------
    TraceError
        If the file is truncated, holds pickled objects or other arrays, names an
        expert that the model does not have, or belongs to another model.
    """
    place = Path(path).name
    arrays = _read_arrays(Path(path))
    routed = _integers(arrays, "routed_experts", place=place, n_axes=3)
    header = _read_header(arrays, place=place, expected=_TOKENS, n_layers=routed.shape[1])
    offsets = _integers(arrays, "req_offsets", place=place, n_axes=1).astype(np.int64)
    n_requests = offsets.size - 1
    prompt = np.zeros(max(n_requests, 0), np.int32)
    if header.phase == "prefill":
        prompt = np.diff(offsets).astype(np.int32)
    elif "num_recorded_prompt_tokens" in arrays:
        name = "num_recorded_prompt_tokens"
        prompt = _integers(arrays, name, place=place, n_axes=1).astype(np.int32)
    _check_offsets(offsets, prompt, n_rows=routed.shape[0], place=place)
    _check_model(header, shape, place=place)
    if routed.shape[2] != header.top_k:
        raise TraceError(
            f"{place}: routed_experts: {routed.shape[2]} experts per token; expected top_k "
            f"{header.top_k} of the header; export the trace again"
        )
    domain, names = _read_domains(arrays, n_requests=n_requests, place=place)
    narrow = _check_experts(routed, header.n_experts, place=place)
    return TokenTrace(
        routed_experts=narrow,
        req_offsets=offsets,
        n_prompt_rows=prompt,
        header=header,
        domain=domain,
        domain_names=names,
    )


def save_token_trace(trace: TokenTrace, *, path: Path | str) -> None:
    """Write a token trace.

    Parameters
    ----------
    trace : TokenTrace
        What to write.
    path : path
        A name that ends in ``.npz`` gives a compressed file, another a folder
        that can be memory-mapped.
    """
    arrays = {
        "routed_experts": trace.routed_experts,
        "req_offsets": trace.req_offsets,
        "num_recorded_prompt_tokens": trace.n_prompt_rows,
    }
    if trace.domain_names:
        arrays |= {"req_domains": trace.domain, "domain_names": np.array(trace.domain_names)}
    _write_arrays(Path(path), arrays, _header_text(trace.header, _TOKENS))


def load_count_trace(path: Path | str, *, shape: MoeShape | None = None) -> CountTrace:
    """Read a count trace and refuse a damaged or foreign one.

    Parameters
    ----------
    path : path
        An ``.npz`` file or a folder of ``.npy`` files with ``header.json``.
    shape : MoeShape, optional
        The model that will use the trace; it must fit.

    Returns
    -------
    CountTrace
        The trace.

    Raises
    ------
    TraceError
        If the file is damaged, belongs to another model, or a row of counts
        does not add up to tokens x top_k.
    """
    place = Path(path).name
    arrays = _read_arrays(Path(path))
    counts = _integers(arrays, "counts", place=place, n_axes=3)
    header = _read_header(arrays, place=place, expected=_COUNTS, n_layers=counts.shape[1])
    tokens = _integers(arrays, "step_tokens", place=place, n_axes=1).astype(np.int64)
    _check_model(header, shape, place=place)
    if counts.shape[2] != header.n_experts or counts.shape[0] != tokens.size:
        raise TraceError(
            f"{place}: counts: shape {counts.shape}; expected "
            f"({tokens.size}, {counts.shape[1]}, {header.n_experts}); export the trace again"
        )
    wrong = np.argwhere(counts.sum(axis=2, dtype=np.int64) != tokens[:, None] * header.top_k)
    if wrong.size or (counts.size and int(counts.min()) < 0):
        step, layer = wrong[0].tolist() if wrong.size else (0, 0)
        raise TraceError(
            f"{place}: counts: step {step}, layer {layer}: counts do not add up; expected "
            "tokens x top_k; leave out padding tokens"
        )
    return CountTrace(counts=counts, step_tokens=tokens, header=header)


def save_count_trace(trace: CountTrace, *, path: Path | str) -> None:
    """Write a count trace.

    Parameters
    ----------
    trace : CountTrace
        What to write.
    path : path
        A name that ends in ``.npz`` gives a compressed file, another a folder.
    """
    arrays = {"counts": trace.counts, "step_tokens": trace.step_tokens}
    _write_arrays(Path(path), arrays, _header_text(trace.header, _COUNTS))


def _read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a file or folder; objects are never unpickled."""
    remedy = "expected an .npz file or a folder of .npy files; export the trace again"
    if not path.exists():
        raise TraceError(f"{path.name}: no such file; {remedy}")
    try:
        if path.is_dir():
            arrays: dict[str, Any] = {
                file.stem: np.load(file, mmap_mode="r", allow_pickle=False)
                for file in sorted(path.glob("*.npy"))
            }
            arrays["header"] = (path / "header.json").read_text(encoding="utf-8")
            return arrays
        # opened here, so that it is closed when NumPy gives up on it
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        kind = "holds pickled objects" if "pickle" in str(error) else "damaged or not a trace"
        raise TraceError(f"{path.name}: {kind}; {remedy}") from error


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], header: str) -> None:
    if path.suffix == ".npz":
        named: dict[str, Any] = {**arrays, "header": np.array(header)}
        np.savez_compressed(path, **named)
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    (path / "header.json").write_text(header, encoding="utf-8")


def _header_text(header: TraceHeader, name: str) -> str:
    return json.dumps(
        {
            "format": name,
            "model": header.model,
            "num_experts": header.n_experts,
            "top_k": header.top_k,
            "moe_layer_ids": list(header.moe_layer_ids),
            "id_space": "logical",
            "phase": header.phase,
            "source": header.source,
            "licence": header.licence,
            "note": header.note,
        },
        indent=1,
    )


def _read_header(
    arrays: Mapping[str, Any], *, place: str, expected: str, n_layers: int
) -> TraceHeader:
    problem = f"{place}: header: not a JSON header of format {expected!r}"
    try:
        raw = json.loads(str(arrays["header"]))
        header = TraceHeader(
            model=str(raw["model"]),
            n_experts=int(raw["num_experts"]),
            top_k=int(raw["top_k"]),
            moe_layer_ids=tuple(int(layer) for layer in raw["moe_layer_ids"]),
            phase=raw.get("phase", "both"),
            source=str(raw.get("source", "unknown")),
            licence=str(raw.get("licence", "unknown")),
            note=str(raw.get("note", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TraceError(f"{problem}; {error}; write the header that rackmoe writes") from error
    if raw.get("format") != expected:
        raise TraceError(f"{problem}, but {raw.get('format')!r}; use the other kind of trace")
    if raw.get("id_space", "logical") != "logical":
        raise TraceError(
            f"{place}: header: ids are {raw['id_space']!r}; expected 'logical'; "
            "map physical experts to logical ones first"
        )
    if header.phase not in get_args(TracePhase) or len(header.moe_layer_ids) != n_layers:
        raise TraceError(
            f"{place}: header: phase {header.phase!r} and {len(header.moe_layer_ids)} layer ids; "
            f"expected one of {', '.join(get_args(TracePhase))} and {n_layers} layers; "
            "leave out dense layers"
        )
    return header


def _integers(
    arrays: Mapping[str, Any], name: str, *, place: str, n_axes: int
) -> NDArray[np.integer]:
    if name not in arrays:
        raise TraceError(
            f"{place}: {name}: missing; expected an array of integers; export the trace again"
        )
    array: NDArray[Any] = arrays[name]
    if array.dtype.kind not in "iu" or array.ndim != n_axes:
        nan = " with NaN" if array.dtype.kind == "f" and np.isnan(array).any() else ""
        raise TraceError(
            f"{place}: {name}: {array.dtype} of {array.ndim} axes{nan}; expected integers "
            f"of {n_axes} axes; export the trace again"
        )
    return array


def _read_domains(
    arrays: Mapping[str, Any], *, n_requests: int, place: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the domain of each request and their names; nothing where none is recorded."""
    if "domain_names" not in arrays:
        return np.empty(0, np.int64), ()
    names = tuple(str(name) for name in np.atleast_1d(arrays["domain_names"]))
    domain = _integers(arrays, "req_domains", place=place, n_axes=1).astype(np.int64)
    if domain.size != n_requests or ((domain < -1) | (domain >= len(names))).any():
        raise TraceError(
            f"{place}: req_domains: {domain.size} numbers for {n_requests} requests and "
            f"{len(names)} domain_names; expected -1 to {len(names) - 1} for each request; "
            "export the trace again"
        )
    return domain, names


def _check_offsets(
    offsets: NDArray[np.int64], prompt: NDArray[np.int32], *, n_rows: int, place: str
) -> None:
    lengths = np.diff(offsets)
    whole = offsets.size > 1 and offsets[0] == 0 and offsets[-1] == n_rows
    if not whole or (lengths < 0).any() or prompt.size != lengths.size:
        raise TraceError(
            f"{place}: req_offsets: do not divide {n_rows} rows into requests; "
            "expected rising numbers from 0 to the rows; export the trace again"
        )
    if ((prompt < 0) | (prompt > lengths)).any():
        raise TraceError(
            f"{place}: num_recorded_prompt_tokens: beyond the rows of a request; "
            "expected at most its rows; count recorded prompt tokens only"
        )


def _check_model(header: TraceHeader, shape: MoeShape | None, *, place: str) -> None:
    if shape is None:
        return
    has = (len(header.moe_layer_ids), header.n_experts, header.top_k)
    needs = (shape.n_layers, shape.n_experts, shape.top_k)
    if has != needs:
        raise TraceError(
            f"{place}: {has[0]} layers, top {has[2]} of {has[1]} experts; the "
            f"model has {needs[0]} layers, top {needs[2]} of {needs[1]}; use a trace of this model"
        )


def _check_experts(
    routed: NDArray[np.integer], n_experts: int, *, place: str
) -> NDArray[np.unsignedinteger]:
    """Refuse ids out of range and repeated ids; return the narrowest array."""
    pages = PageRelease(routed)
    for first in range(0, routed.shape[0], _ROWS_AT_ONCE):
        part = np.sort(routed[first : first + _ROWS_AT_ONCE], axis=2)
        pages.read(len(part), in_order=True)
        low, high = int(part.min()), int(part.max())
        if low < 0 or high >= n_experts:
            row, layer, _ = np.argwhere((part < 0) | (part >= n_experts))[0].tolist()
            raise TraceError(
                f"{place}: routed_experts: row {first + row}, layer {layer}: expert "
                f"{low if low < 0 else high}; expected 0 to {n_experts - 1}; "
                "use a trace of this model, without padding"
            )
        twice = np.argwhere(part[:, :, 1:] == part[:, :, :-1])
        if twice.size:
            row, layer, _ = twice[0].tolist()
            raise TraceError(
                f"{place}: routed_experts: row {first + row}, layer {layer}: an expert twice; "
                "expected distinct experts; remove padding and fused shared experts"
            )
    if routed.dtype.kind == "u" and routed.dtype.itemsize <= np.dtype(np.uint16).itemsize:
        return routed  # type: ignore[return-value]  # the dtype was just checked
    narrow = np.uint8 if n_experts <= np.iinfo(np.uint8).max + 1 else np.uint16
    return routed.astype(narrow)
