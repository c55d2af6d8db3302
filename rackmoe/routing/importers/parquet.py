"""Read plain parquet tables: choices of tokens, or activation counts of experts."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.drafts import CountDraft, TokenDraft, join_requests
from rackmoe.routing.importers.facts import ImportHints, ModelFacts

__all__ = ["read"]

_REQUEST = ("request_id", "request", "req_id")
_TOKEN = ("token_index", "token_idx", "token", "position")
_LAYER = ("layer_id", "layer")
_IDS = ("experts", "topk_ids", "indices", "selected_experts")
_EXPERT = ("expert_id", "expert")
_COUNT = ("activation_count", "count")
_STEP = ("step", "iteration")
_MAX_CELLS = 1 << 30  # of a table of counts, which absurd ids would blow up
_MAX_ROWS = 1 << 31
_MAX_BYTES = 1 << 34
# what pyarrow raises, or its own errors derive from
_ERRORS = (OSError, ValueError, TypeError, KeyError, MemoryError, NotImplementedError)

_Columns = dict[str, NDArray[np.int64]]


def read(
    path: Path,
    *,
    facts: ModelFacts,
    hints: ImportHints,  # noqa: ARG001 - readers share one signature
) -> CountDraft | TokenDraft:
    """Return the choices or the counts in a table.

    Parameters
    ----------
    path : pathlib.Path
        A table with ``layer_id``, ``token_index``, ``experts`` (a list) and perhaps
        ``request_id``; or with ``layer_id``, ``expert_id``, ``activation_count`` and
        perhaps ``step``.
    facts : ModelFacts
        The model, as far as it is known.
    hints : ImportHints
        Not needed here.

    Returns
    -------
    CountDraft or TokenDraft
        The recording.

    Raises
    ------
    TraceError
        If pyarrow is not installed, the table is damaged, or has other columns.
    """
    try:
        reader = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise TraceError(
            f"{path.name}: pyarrow is not installed; expected it for parquet; "
            "install rackmoe[parquet]"
        ) from error
    try:
        columns = _load(reader.ParquetFile(path), place=path.name)
    except _ERRORS as error:
        raise TraceError(
            f"{path.name}: not a readable table ({str(error)[:60]}); expected parquet; "
            "export it again"
        ) from error
    if _COUNT[0] in columns:
        return _counts(columns, facts=facts, place=path.name)
    return _tokens(columns, place=path.name)


def _load(file: Any, *, place: str) -> _Columns:  # noqa: ANN401 - pyarrow is optional
    """Return the columns that are known, under the first of their names."""
    metadata = file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if metadata.num_rows > _MAX_ROWS or sum(one.total_byte_size for one in groups) > _MAX_BYTES:
        raise ValueError(f"{metadata.num_rows} rows")
    if not metadata.num_rows:
        raise TraceError(f"{place}: 0 rows; expected a table with rows; export it again")
    names = set(file.schema_arrow.names)
    is_count = bool(names & set(_COUNT))
    known = (_STEP, _LAYER, _EXPERT, _COUNT) if is_count else (_REQUEST, _TOKEN, _LAYER, _IDS)
    found = {group[0]: [name for name in group if name in names][:1] for group in known}
    wanted = [name for listed in found.values() for name in listed]
    table = file.read(columns=wanted)
    columns = {
        key: _column(table[name], key=key, place=f"{place}: {name}")
        for key, listed in found.items()
        for name in listed
    }
    optional = {_STEP[0], _REQUEST[0]}
    missing = [key for key in found if key not in columns and key not in optional]
    if missing:
        raise TraceError(
            f"{place}: columns {', '.join(sorted(names))[:60]}; "
            f"expected {', '.join(sorted(found.keys() - optional))}; rename them"
        )
    return columns


def _column(column: Any, *, key: str, place: str) -> NDArray[np.int64]:  # noqa: ANN401 - likewise
    """Return a column as integers; names of requests are numbered as they appear."""
    array = column.combine_chunks()
    is_list = key == _IDS[0]
    if column.null_count or (is_list and not hasattr(array, "flatten")):
        raise TraceError(
            f"{place}: {column.null_count} nulls in {str(column.type)[:20]}; expected "
            f"{'lists' if is_list else 'values'} in each row; fill the table"
        )
    values = np.asarray(array.flatten() if is_list else array)
    if key == _REQUEST[0] and values.dtype.kind not in "iu":
        _, first, order = np.unique(values.astype(str), return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[order].astype(np.int64)
    lengths = np.unique(np.diff(np.asarray(getattr(array, "offsets", [0, 1]))))
    if values.dtype.kind not in "iu" or lengths.size != 1:
        raise TraceError(
            f"{place}: {str(column.type)[:20]}, lists of {lengths.size} lengths; expected "
            "integers, lists of one length; export it again"
        )
    whole = values.astype(np.int64)
    return whole.reshape(len(array), -1) if is_list else whole


def _tokens(columns: _Columns, *, place: str) -> TokenDraft:
    token, layer, ids = (columns[name] for name in (_TOKEN[0], _LAYER[0], _IDS[0]))
    request = columns.get(_REQUEST[0], np.zeros_like(token))
    order = np.lexsort((layer, token, request))
    layers = np.unique(layer)
    n_tokens, rest = divmod(layer.size, layers.size)
    key = np.stack([request, token], axis=1)[order]
    is_whole = not rest and bool(
        (layer[order].reshape(n_tokens, -1) == layers).all()
        and (key.reshape(n_tokens, -1, 2) == key[:: layers.size, None]).all()
        and len(np.unique(key[:: layers.size], axis=0)) == n_tokens
    )
    if not is_whole:
        raise TraceError(
            f"{place}: {layer.size} rows for {layers.size} layers; expected each token once in "
            "each layer; leave out incomplete tokens"
        )
    rows = ids[order].reshape(n_tokens, layers.size, -1)
    starts = np.flatnonzero(np.diff(key[:: layers.size, 0])) + 1
    return join_requests(
        np.split(rows, starts),
        n_prompt_rows=None,
        phase="any",
        place=place,
        layer_ids=tuple(layers.tolist()),
        notes=("parquet table of token choices",),
    )


def _counts(columns: _Columns, *, facts: ModelFacts, place: str) -> CountDraft:
    layer, expert, count = (columns[name] for name in (_LAYER[0], _EXPERT[0], _COUNT[0]))
    step = columns.get(_STEP[0], np.zeros_like(layer))
    layers, at = np.unique(layer, return_inverse=True)
    steps, when = np.unique(step, return_inverse=True)
    n_experts = max(int(expert.max()) + 1, facts.n_experts or 0)
    shape = (steps.size, layers.size, n_experts)
    cell = (when * layers.size + at) * n_experts + expert
    is_absurd = int(expert.min()) < 0 or np.prod(shape, dtype=np.float64) > _MAX_CELLS
    if is_absurd or np.unique(cell).size < cell.size:
        raise TraceError(
            f"{place}: {shape} steps, layers and experts, or one of them twice; expected each "
            "once and sane ids; export it again"
        )
    counts = np.zeros(shape, np.int64)
    counts[when, at, expert] = count
    return CountDraft(
        counts=counts,
        phase="any",
        layer_ids=tuple(layers.tolist()),
        notes=("parquet table of activation counts",),
    )
