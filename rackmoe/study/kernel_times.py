"""Which times the operator laws give for the rows of a kernel table."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.backend.operators import ModuleConstants, OperatorConstants
from rackmoe.compute.attention import attention_decode_law, attention_prefill_law
from rackmoe.compute.attention_shapes import DEEPSEEK_ATTENTION
from rackmoe.compute.gemm import gemm_law
from rackmoe.compute.grouped_gemm import ExpertShape, grouped_gemm_law
from rackmoe.compute.operators import OperatorLaws
from rackmoe.hardware.machine import Gpu
from rackmoe.model.architecture import GroupedQueryAttention
from rackmoe.model.attention import score_pairs
from rackmoe.model.config import load_model
from rackmoe.model.costs import Gemm, attention_gemms
from rackmoe.study.collector_loads import hot_rank_load, packed_load

__all__ = ["RowTimes", "module_times", "row_times"]

Array: TypeAlias = NDArray[np.float64]
RowTimes: TypeAlias = Callable[[Gpu, Any], Array]

# The model whose attention the module tables measured.
_MODULE_MODEL = "deepseek-r1"


def row_times(rows: pd.DataFrame) -> RowTimes:
    """Return a function that gives the time of every row under given constants.

    Parameters
    ----------
    rows : pandas.DataFrame
        Answerable rows of one operator, from `read_kernel_table`, modules apart.

    Returns
    -------
    callable
        From a GPU and the operator's constants to one time per row, an array of shape
        (n_rows,). [s]
    """
    operator = str(rows["operator"].iloc[0])
    if operator == "gemm":
        return _gemm_times(rows)
    if operator == "grouped_gemm":
        return _grouped_times(rows)
    if operator.endswith("decode"):
        return _decode_times(rows)
    return _prefill_times(rows)


def _gemm_times(rows: pd.DataFrame) -> RowTimes:
    shapes = [
        (Gemm(name="row", n=int(n), k=int(k), dtype=str(dtype)), at, _floats(part, "m"))
        for (n, k, dtype), at, part in _parts(rows, ["n", "k", "dtype"])
    ]

    def times(gpu: Gpu, constants: Any) -> Array:  # noqa: ANN401  one class per operator
        out = np.empty(len(rows))
        for gemm, at, m in shapes:
            out[at] = gemm_law(gpu, constants=constants, gemm=gemm)(m)
        return out

    return times


def _grouped_times(rows: pd.DataFrame) -> RowTimes:
    columns = ["tokens_global", "experts", "topk", "ep"]
    loads = [
        hot_rank_load(tokens=tokens, experts=experts, top_k=top_k, ep=ep, dist=dist)
        for (tokens, experts, top_k, ep), dist in zip(
            rows[columns].to_numpy(dtype=np.int64).tolist(), rows["dist"], strict=True
        )
    ]
    loads = [
        packed_load(load) if is_packed else load
        for load, is_packed in zip(loads, rows["is_packed"], strict=True)
    ]
    loaded = rows.assign(
        assignments=[load.assignments for load in loads],
        active=[load.active_experts for load in loads],
        n_local=[load.n_local_experts for load in loads],
    )
    # DeepEP delivers what a rank computes; the other kernels see the tokens of all ranks.
    is_wide = rows["kernel"].astype(str).str.startswith("wide_ep")
    assignments, given = loaded["assignments"], loaded["tokens_global"]
    planned = given * loaded["topk"] / loaded["n_local"]
    loaded = loaded.assign(
        given=given.where(~is_wide, assignments), planned=planned.where(~is_wide, 0)
    )
    shapes = [
        (
            ExpertShape(
                hidden=int(hidden), inter=int(inter), dtype=str(dtype), n_local_experts=int(local)
            ),
            at,
            tuple(_floats(part, name) for name in ("assignments", "active", "given", "planned")),
        )
        for (hidden, inter, dtype, local), at, part in _parts(
            loaded, ["hidden", "inter", "dtype", "n_local"]
        )
    ]

    def times(gpu: Gpu, constants: Any) -> Array:  # noqa: ANN401  one class per operator
        out = np.empty(len(rows))
        for shape, at, load in shapes:
            out[at] = grouped_gemm_law(gpu, constants=constants, shape=shape)(*load)
        return out

    return times


def _decode_times(rows: pd.DataFrame) -> RowTimes:
    shapes = []
    for attention, kv_dtype, at, part in _attention_parts(rows):
        n_sequences = _floats(part, "batch")
        shapes.append((attention, kv_dtype, at, n_sequences, n_sequences * _floats(part, "seq")))

    def times(gpu: Gpu, constants: Any) -> Array:  # noqa: ANN401  one class per operator
        out = np.empty(len(rows))
        for attention, kv_dtype, at, n_sequences, kv_tokens in shapes:
            law = attention_decode_law(
                gpu, constants=constants, attention=attention, kv_dtype=kv_dtype
            )
            out[at] = law(n_sequences, kv_tokens)
        return out

    return times


def _prefill_times(rows: pd.DataFrame) -> RowTimes:
    shapes = []
    for attention, kv_dtype, at, part in _attention_parts(rows):
        n_sequences, length = _floats(part, "batch"), _floats(part, "seq")
        pairs = n_sequences * np.asarray(score_pairs(length, past_tokens=0.0))
        shapes.append((attention, kv_dtype, at, (n_sequences * length, pairs, n_sequences)))

    def times(gpu: Gpu, constants: Any) -> Array:  # noqa: ANN401  one class per operator
        out = np.empty(len(rows))
        for attention, kv_dtype, at, load in shapes:
            law = attention_prefill_law(
                gpu, constants=constants, attention=attention, kv_dtype=kv_dtype
            )
            out[at] = law(*load)
        return out

    return times


def module_times(rows: pd.DataFrame, *, gpu: Gpu, constants: OperatorConstants) -> RowTimes:
    """Return a function that gives the time of attention modules under given floors.

    Parameters
    ----------
    rows : pandas.DataFrame
        Answerable module rows of one phase.
    gpu : Gpu
        The GPU.
    constants : OperatorConstants
        For the attention kernel and the products, which the floor is on top of.

    Returns
    -------
    callable
        From a GPU and `ModuleConstants` to one time per row, an array of shape (n_rows,).
        [s]
    """
    laws = OperatorLaws(gpu, constants)
    inner_s = np.empty(len(rows))
    n_tokens = np.empty(len(rows))
    for (heads, dtype, kv_dtype, phase), at, part in _parts(
        rows, ["heads", "gemm_dtype", "kv_dtype", "phase"]
    ):
        batch, length = _floats(part, "batch"), _floats(part, "seq")
        tokens = batch if phase == "decode" else batch * length
        inner_s[at] = _kernel_s(
            laws, phase=str(phase), heads=int(heads), kv_dtype=str(kv_dtype), load=(batch, length)
        )
        for gemm in _module_gemms(heads=int(heads), dtype=str(dtype), phase=str(phase)):
            inner_s[at] += laws.gemm_time_s(
                tokens, n=gemm.n, k=gemm.k, dtype=gemm.dtype, batch=gemm.batch
            )
        n_tokens[at] = tokens

    def times(_: Gpu, module: ModuleConstants) -> Array:
        return inner_s + module.floor_s + n_tokens * module.token_s

    return times


def _kernel_s(
    laws: OperatorLaws, *, phase: str, heads: int, kv_dtype: str, load: tuple[Array, Array]
) -> Array:
    batch, length = load
    if phase == "decode":
        return np.asarray(
            laws.mla_decode_time_s(batch, kv_tokens=batch * length, heads=heads, kv_dtype=kv_dtype)
        )
    pairs = batch * np.asarray(score_pairs(length, past_tokens=0.0))
    return np.asarray(
        laws.mla_prefill_time_s(
            batch * length, score_pairs=pairs, heads=heads, kv_dtype=kv_dtype, n_sequences=batch
        )
    )


def _module_gemms(*, heads: int, dtype: str, phase: str) -> tuple[Gemm, ...]:
    arch = load_model(_MODULE_MODEL)
    arch = replace(
        arch,
        attention=replace(DEEPSEEK_ATTENTION, n_heads=heads),
        dtypes=replace(arch.dtypes, attention=dtype),
    )
    return attention_gemms(arch, tp=1, phase="decode" if phase == "decode" else "prefill")


def _attention_parts(
    rows: pd.DataFrame,
) -> Iterator[tuple[Any, str, NDArray[np.intp], pd.DataFrame]]:
    if "kv_heads" not in rows:
        for (heads, kv_dtype), at, part in _parts(rows, ["heads", "kv_dtype"]):
            yield replace(DEEPSEEK_ATTENTION, n_heads=int(heads)), str(kv_dtype), at, part
        return
    columns = ["heads", "kv_heads", "head_dim", "kv_dtype"]
    for (heads, kv_heads, head_dim, kv_dtype), at, part in _parts(rows, columns):
        shape = GroupedQueryAttention(
            n_heads=int(heads), n_kv_heads=int(kv_heads), head_dim=int(head_dim)
        )
        yield shape, str(kv_dtype), at, part


def _parts(
    rows: pd.DataFrame, columns: list[str]
) -> Iterator[tuple[tuple[Any, ...], NDArray[np.intp], pd.DataFrame]]:
    """Yield each group of equal shape with the places of its rows."""
    places = np.arange(len(rows))
    for key, at in pd.Series(places).groupby([rows[name].to_numpy() for name in columns]):
        found = at.to_numpy()
        yield tuple(key), found, rows.iloc[found]


def _floats(rows: pd.DataFrame, column: str) -> Array:
    return rows[column].to_numpy(dtype=np.float64)
