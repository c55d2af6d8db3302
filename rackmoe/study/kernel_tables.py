"""Which measured operator times a CSV file of kernel tables holds."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from rackmoe.errors import ConfigError

__all__ = ["LAYOUTS", "Layout", "is_kernel_table", "read_kernel_table"]

_LATENCY: Final = "latency_us"
_US: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One kind of table.

    Attributes
    ----------
    name : str
        What it holds.
    shape : tuple of str
        Columns of whole numbers that say what was computed.
    words : tuple of str
        Columns of text that say the same.
    source, kernel : str
        What rows are given whose file has no such column.
    """

    name: str
    shape: tuple[str, ...]
    words: tuple[str, ...]
    source: str
    kernel: str


# The first layout whose columns a file has; narrower ones follow wider ones.
LAYOUTS: Final = (
    Layout(
        name="gemm",
        shape=("m", "n", "k"),
        words=("dtype",),
        source="trtllm-1.3.0rc20",
        kernel="gemm",
    ),
    Layout(
        name="grouped_gemm",
        shape=("hidden", "inter", "topk", "experts", "ep", "tokens_global"),
        words=("dtype", "dist"),
        source="vllm",
        kernel="fused_moe",
    ),
    Layout(
        name="wide_ep",
        shape=("ep", "tokens"),
        words=("phase", "dist"),
        source="sglang",
        kernel="wide_ep",
    ),
    Layout(
        name="mla_module",
        shape=("heads", "batch", "seq"),
        words=("phase", "kv_dtype", "gemm_dtype"),
        source="trtllm-1.3.0rc20",
        kernel="module",
    ),
    Layout(
        name="gqa",
        shape=("heads", "kv_heads", "head_dim", "batch", "seq"),
        words=("phase", "kv_dtype"),
        source="vllm",
        kernel="gqa",
    ),
    Layout(
        name="mla",
        shape=("heads", "batch", "seq"),
        words=("phase", "kv_dtype"),
        source="trtllm-1.3.0rc20",
        kernel="mla",
    ),
)

_DTYPES: Final[Mapping[str, str]] = {
    "bfloat16": "bf16",
    "float16": "bf16",
    "int4_wo": "w4a16_int4",
    "w4a8_mxfp4_mxfp8": "w4a8_mxfp4",
}

# The model of the wide-EP tables, whose files do not say (source: their names, dsv3_fp8).
_WIDE_EP_MODEL: Final = {"hidden": 7168, "inter": 2048, "topk": 8, "experts": 256}

# Rows of this many tokens and fewer count as decode (products have no phase of their own).
_DECODE_ROWS: Final = 256
_DECODE_TOKENS: Final = 1024

# TensorRT-LLM kernels whose balanced rows with several ranks skip the tokens of other
# ranks, as all skewed rows do.
_TRUSTED_KERNELS: Final = ("tf_cutlass", "deepgemm", "tf")


def is_kernel_table(path: Path) -> bool:
    """Return whether a CSV file has the columns of an operator table.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    bool
        False for tables of communication.
    """
    columns = set(pd.read_csv(path, nrows=0).columns)
    return _layout(columns) is not None


def read_kernel_table(path: str | Path) -> pd.DataFrame:
    """Return the rows of a kernel table, with what every table needs added.

    Parameters
    ----------
    path : str or pathlib.Path
        A CSV file in one of `LAYOUTS`; more columns do no harm.

    Returns
    -------
    pandas.DataFrame
        The file's columns and ``row`` (1 is the first below the header), ``operator``,
        ``source``, ``kernel``, ``dtype`` (of weights; of the KV cache for attention),
        ``phase``, ``measured_s`` [s], ``is_held_out`` (a fair coin by the hash of the row's
        shape), ``excluded`` (why a row says nothing about the law; else empty) and
        ``problem`` (why a row cannot be answered; else empty).

    Raises
    ------
    ConfigError
        If the file cannot be read or has another layout.
    """
    rows, layout = _read_rows(Path(path))
    rows.insert(0, "row", np.arange(1, len(rows) + 1))
    for column in ("source", "kernel"):
        if column not in rows:
            rows[column] = getattr(layout, column)
    rows["measured_s"] = pd.to_numeric(rows[_LATENCY], errors="coerce") * _US
    rows["problem"] = _problems(rows, layout)
    for column in layout.shape:
        numbers = pd.to_numeric(rows[column], errors="coerce")
        rows[column] = numbers.where(rows["problem"] == "", 1).astype(np.int64)
    for column in {*layout.words, "source", "kernel"}:
        rows[column] = rows[column].fillna("").astype(str)
    for column in ("dtype", "kv_dtype", "gemm_dtype"):
        if column in rows:
            rows[column] = rows[column].replace(dict(_DTYPES))
    rows = _COMPLETE[layout.name](rows)
    rows["is_held_out"] = _held_out(rows, layout)
    rows["excluded"] = _exclusions(rows)
    return rows


def _read_rows(path: Path) -> tuple[pd.DataFrame, Layout]:
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read as CSV; expected a kernel table; {error}"
        ) from error
    layout = _layout(set(rows.columns))
    if layout is None:
        wanted = "; ".join(",".join((*one.words, *one.shape)) for one in LAYOUTS)
        raise ConfigError(
            f"{path}: columns {','.join(map(str, rows.columns))}; expected {_LATENCY} and one of: "
            f"{wanted}; see the tables in scenarios/calibration/kernels"
        )
    return rows, layout


def _layout(columns: set[str]) -> Layout | None:
    for layout in LAYOUTS:
        if {_LATENCY, *layout.shape, *layout.words} <= columns:
            return layout
    return None


def _problems(rows: pd.DataFrame, layout: Layout) -> pd.Series:
    problem = pd.Series("", index=rows.index)
    for column in layout.words:
        problem = problem.mask(rows[column].isna(), f"{column}: empty; expected a word")
    for column in (*layout.shape, _LATENCY):
        numbers = pd.to_numeric(rows[column], errors="coerce")
        is_bad = ~np.isfinite(numbers) | (numbers <= 0)
        problem = problem.mask(is_bad, f"{column}: not a number above 0")
    if "phase" in layout.words:
        known = {"context", "generation"} if layout.name == "wide_ep" else {"decode", "prefill"}
        is_bad = ~rows["phase"].isin(known)
        problem = problem.mask(is_bad, f"phase: unknown; expected one of {sorted(known)}")
    return problem


def _complete_gemm(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(operator="gemm", phase=_phase(rows["m"] <= _DECODE_ROWS))


def _complete_grouped(rows: pd.DataFrame) -> pd.DataFrame:
    is_decode = rows["tokens_global"] <= _DECODE_TOKENS
    return rows.assign(operator="grouped_gemm", phase=_phase(is_decode), is_packed=False)


def _complete_wide_ep(rows: pd.DataFrame) -> pd.DataFrame:
    is_context = rows["phase"] == "context"
    return rows.assign(
        operator="grouped_gemm",
        dtype="fp8_block",
        kernel=np.where(is_context, "wide_ep_context", "wide_ep_generation"),
        phase=_phase(~is_context),
        tokens_global=rows["tokens"],
        is_packed=is_context & (rows["dist"] == "uniform"),
        **_WIDE_EP_MODEL,
    )


def _complete_attention(kind: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def complete(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(operator=kind + "_" + rows["phase"].astype(str), dtype=rows["kv_dtype"])

    return complete


def _complete_module(rows: pd.DataFrame) -> pd.DataFrame:
    operator = rows["phase"].astype(str) + "_module"
    return rows.assign(operator=operator, dtype=rows["gemm_dtype"])


_COMPLETE: Final[Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "gemm": _complete_gemm,
    "grouped_gemm": _complete_grouped,
    "wide_ep": _complete_wide_ep,
    "mla_module": _complete_module,
    "gqa": _complete_attention("gqa"),
    "mla": _complete_attention("mla"),
}


def _phase(is_decode: pd.Series) -> pd.Series:
    return is_decode.map({True: "decode", False: "prefill"})


def _held_out(rows: pd.DataFrame, layout: Layout) -> pd.Series:
    """Return a coin per row that depends on nothing but what was computed."""
    columns = ["operator", "source", "kernel", *layout.words, *layout.shape]
    columns += [name for name in ("dtype",) if name not in columns]
    texts = rows[columns].astype(str).agg("|".join, axis=1)
    return texts.map(lambda text: bool(hashlib.blake2s(text.encode()).digest()[0] & 1))


def _exclusions(rows: pd.DataFrame) -> pd.Series:
    """Return why rows say nothing about the law they belong to; empty for the others."""
    excluded = pd.Series("", index=rows.index)
    engine = rows["source"].astype(str).str.split("-").str[0]
    if (rows["operator"] == "grouped_gemm").all() and "wide_ep" not in str(rows["kernel"].iloc[0]):
        balanced = (rows["dist"] == "balanced") & (rows["ep"] > 1)
        trusted = (engine == "trtllm") & rows["kernel"].isin(_TRUSTED_KERNELS)
        excluded = excluded.mask(
            balanced & ~trusted,
            "balanced row with several ranks: this kernel also computes tokens of other ranks",
        )
        mistuned = balanced & trusted & (rows["dtype"] == "nvfp4") & (rows["ep"] == 8)  # noqa: PLR2004  the table's own number
        excluded = excluded.mask(
            mistuned, "balanced nvfp4 CUTLASS row at EP8: the autotuner chose a tactic 2x too slow"
        )
    if (rows["operator"] == "gemm").all():
        unlaunched = (engine == "vllm") & (rows["dtype"] == "fp8_block")
        excluded = excluded.mask(
            unlaunched, "vLLM fp8_block product: measured without CUDA graph, bound by its launch"
        )
    return excluded
