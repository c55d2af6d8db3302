"""Which operator constants the files of fitted constants hold for an engine on a GPU."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import Field

from rackmoe.backend.operators import (
    KV_FORMATS,
    WEIGHT_FORMATS,
    AttentionDecodeConstants,
    AttentionPrefillConstants,
    ElementwiseConstants,
    GemmConstants,
    GroupedGemmConstants,
    ModuleConstants,
    OperatorConstants,
)
from rackmoe.errors import ConfigError
from rackmoe.schema.documents import Document, load_document
from rackmoe.schema.quantities import Kind
from rackmoe.schema.shipped import shipped_path

__all__ = [
    "OPERATORS",
    "FitReport",
    "FittedRow",
    "OperatorFile",
    "OperatorRow",
    "OperatorTable",
    "best_row",
    "load_operator_file",
    "operator_constants",
    "operator_rows",
]

_FOLDER: Final = "scenarios/backends/operators"

# Kernels that serve one mode of DeepEP only are taken by name, never by default.
_ONE_MODE_ONLY: Final = "wide_ep"

C = TypeVar("C")


class FitReport(Document):
    """How good a fit is on the half of the rows that it has not seen.

    Attributes
    ----------
    file : str
        The tables that the rows come from, in scenarios/calibration/kernels.
    date : str
        Day of the fit, as YYYY-MM-DD.
    n_rows, n_held_out : int
        Rows in the fit and in the other half, excluded rows apart, counts.
    error_median, error_p90 : float
        Of the absolute relative error of the other half.
    """

    file: str
    date: str
    n_rows: int
    n_held_out: int
    error_median: float
    error_p90: float


class FittedRow(Document, Generic[C]):
    """The constants of one kernel family.

    Attributes
    ----------
    source : str
        Engine and version whose kernels were measured, for example ``trtllm-1.3.0rc20``.
    kernel : str
        Name of the kernel in the tables.
    dtype : str
        Format of the weights (products, modules) or of the KV cache (attention).
    kind : Kind
        ``fitted`` to rows of this GPU, or ``assumed`` (see `note`).
    constants : C
        The constants.
    report : FitReport or None
        The fit; None where there is none.
    note : str
        Where assumed constants come from, or what is special about the rows.
    """

    source: str
    kernel: str
    dtype: str
    kind: Kind
    constants: C
    report: FitReport | None = None
    note: str = ""


class OperatorTable(Document):
    """Fitted rows by operator class.

    Attributes
    ----------
    gemm, grouped_gemm, mla_decode, mla_prefill, gqa_decode, gqa_prefill : list of FittedRow
        Products and attention kernels.
    decode_module, prefill_module : list of FittedRow
        What attention modules cost besides their kernel and their products.
    elementwise : list of FittedRow
        Passes over activations.
    """

    gemm: list[FittedRow[GemmConstants]] = Field(default_factory=list)
    grouped_gemm: list[FittedRow[GroupedGemmConstants]] = Field(default_factory=list)
    mla_decode: list[FittedRow[AttentionDecodeConstants]] = Field(default_factory=list)
    mla_prefill: list[FittedRow[AttentionPrefillConstants]] = Field(default_factory=list)
    gqa_decode: list[FittedRow[AttentionDecodeConstants]] = Field(default_factory=list)
    gqa_prefill: list[FittedRow[AttentionPrefillConstants]] = Field(default_factory=list)
    decode_module: list[FittedRow[ModuleConstants]] = Field(default_factory=list)
    prefill_module: list[FittedRow[ModuleConstants]] = Field(default_factory=list)
    elementwise: list[FittedRow[ElementwiseConstants]] = Field(default_factory=list)


class OperatorFile(Document):
    """The fitted constants of the operators of one GPU, of every engine.

    Attributes
    ----------
    schema_id : str
        Kind and version of the file.
    name : str
        The GPU, equal to the stem of the file.
    origin : str
        Attribution of the tables.
    inherits : list of str
        GPUs whose own rows serve where this file has none for an engine: the same
        efficiencies and latencies on other peaks (kind: assumed).
    operators : OperatorTable
        The file's own rows.
    """

    schema_id: Literal["rackmoe/operators/1"] = Field(alias="schema")
    name: str
    origin: str
    inherits: list[str] = Field(default_factory=list)
    operators: OperatorTable = Field(default_factory=OperatorTable)


# Operator class and the formats that it is keyed by.
OPERATORS: Final[Mapping[str, tuple[str, ...]]] = {
    "gemm": WEIGHT_FORMATS,
    "grouped_gemm": WEIGHT_FORMATS,
    "mla_decode": KV_FORMATS,
    "mla_prefill": KV_FORMATS,
    "gqa_decode": KV_FORMATS,
    "gqa_prefill": KV_FORMATS,
    "decode_module": WEIGHT_FORMATS,
    "prefill_module": WEIGHT_FORMATS,
}

# Where a format was never measured: the one whose kernels are built most alike.
_NEAREST_FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "bf16": (),
    "fp8": ("fp8_block", "bf16"),
    "fp8_block": ("fp8", "bf16"),
    "nvfp4": ("fp8_block", "bf16"),
    "w4a16_mxfp4": ("w4a16_int4", "bf16"),
    "w4a8_mxfp4": ("fp8_block", "fp8", "bf16"),
    "w4a16_int4": ("w4a16_mxfp4", "bf16"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """One row that may serve an operator, own or inherited.

    Attributes
    ----------
    operator : str
        One of `OPERATORS`.
    gpu : str
        The GPU that the row was fitted on.
    is_own : bool
        Whether that is the GPU asked for.
    fit : FittedRow
        The row.
    """

    operator: str
    gpu: str
    is_own: bool
    fit: FittedRow[Any]


def load_operator_file(name: str) -> OperatorFile:
    """Return the fitted constants of a GPU.

    Parameters
    ----------
    name : str
        The GPU's name, or the path of a file.

    Returns
    -------
    OperatorFile
        The file's own rows; `operator_rows` adds the inherited ones.
    """
    return load_document(shipped_path(_FOLDER, name=name), model=OperatorFile)


def operator_rows(name: str) -> tuple[OperatorRow, ...]:
    """Return every row that may serve a GPU: its own, then those that it inherits.

    Parameters
    ----------
    name : str
        The GPU's name, or the path of a file.

    Returns
    -------
    tuple of OperatorRow
        Inheritance is one level deep: inherited files give their own rows only.
    """
    own = load_operator_file(name)
    rows = list(_rows_of(own, is_own=True))
    for parent in own.inherits:
        rows += _rows_of(load_operator_file(parent), is_own=False)
    return tuple(rows)


def _rows_of(file: OperatorFile, *, is_own: bool) -> Iterator[OperatorRow]:
    for operator in (*OPERATORS, "elementwise"):
        for fit in getattr(file.operators, operator):
            yield OperatorRow(operator=operator, gpu=file.name, is_own=is_own, fit=fit)


def operator_constants(
    gpu_name: str,
    *,
    source: str = "trtllm",
    kernels: Mapping[str, str] | None = None,
    other_sources: Mapping[str, str] | None = None,
) -> OperatorConstants:
    """Return the constants of one engine on one GPU, one row per operator and format.

    Parameters
    ----------
    gpu_name : str
        The GPU's name, or the path of a file.
    source : str
        The engine, with or without its version: ``trtllm`` or ``trtllm-1.3.0rc20``.
    kernels : mapping of str to str, optional
        Kernel of the routed experts to prefer, by format, where several were measured.
    other_sources : mapping of str to str, optional
        Engine to take an operator from instead, by operator.

    Returns
    -------
    OperatorConstants
        The engine's rows on this GPU first, then its rows on the GPUs inherited from,
        then other engines' rows; among equals the one fitted to most rows. A format
        without any row takes the nearest format's. `kinds` says which were fitted.

    Raises
    ------
    ConfigError
        If the GPU has no file, or no row serves an operator.
    """
    rows = operator_rows(gpu_name)
    preferred = kernels or {}
    chosen: dict[str, Any] = {}
    kinds: dict[str, Kind] = {}
    for operator, formats in OPERATORS.items():
        candidates = [row for row in rows if row.operator == operator]
        chosen[operator] = {}
        for dtype in formats:
            wanted = preferred.get(dtype) if operator == "grouped_gemm" else None
            engine = (other_sources or {}).get(operator, source)
            row = best_row(candidates, dtype=dtype, source=engine, kernel=wanted)
            if row is None:
                continue
            chosen[operator][dtype] = row.fit.constants
            kinds[f"{operator}.{dtype}"] = _kind(row, dtype=dtype, source=engine)
    elementwise = [row for row in rows if row.operator == "elementwise"]
    if not elementwise:
        raise ConfigError(
            f"{gpu_name}: no elementwise row; expected one in the file or its parents; "
            "run rackmoe calibrate kernels"
        )
    return OperatorConstants(
        name=f"{source} on {gpu_name}",
        elementwise=elementwise[0].fit.constants,
        kinds=kinds,
        **chosen,
    )


def best_row(
    rows: Sequence[OperatorRow], *, dtype: str, source: str, kernel: str | None = None
) -> OperatorRow | None:
    """Return the row that serves a format best.

    Parameters
    ----------
    rows : sequence of OperatorRow
        Rows of one operator.
    dtype : str
        The format.
    source : str
        The engine, with or without its version.
    kernel : str, optional
        The kernel to prefer.

    Returns
    -------
    OperatorRow or None
        A row of the format or, where there is none, of the nearest format that has one;
        among them first the kernel's, then the engine's, then this GPU's, then the
        version's, then the one fitted to most rows. None where no format is near.
    """
    if dtype not in _NEAREST_FORMATS:
        return None
    for candidate in (dtype, *_NEAREST_FORMATS[dtype]):
        same = [row for row in rows if row.fit.dtype == candidate]
        if same:
            return max(same, key=lambda row: _rank(row, source=source, kernel=kernel))
    return None


def _rank(row: OperatorRow, *, source: str, kernel: str | None) -> tuple[int, ...]:
    fit = row.fit
    engine = source.split("-", maxsplit=1)[0]
    return (
        int(fit.kernel == kernel),
        int(fit.source.split("-", maxsplit=1)[0] == engine),
        int(not fit.kernel.startswith(_ONE_MODE_ONLY)),
        int(row.is_own),
        int(fit.source == source),
        fit.report.n_rows if fit.report else 0,
    )


def _kind(row: OperatorRow, *, dtype: str, source: str) -> Kind:
    """Return ``fitted`` only for rows of this GPU, engine and format."""
    engine = source.split("-", maxsplit=1)[0]
    is_same = row.is_own and row.fit.dtype == dtype and row.fit.source.startswith(engine)
    return row.fit.kind if is_same else Kind.ASSUMED
