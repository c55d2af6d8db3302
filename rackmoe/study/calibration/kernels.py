"""Which operator constants fit the measured kernel tables of each GPU."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from rackmoe.backend.operator_files import OPERATORS, FitReport
from rackmoe.backend.operators import ElementwiseConstants, OperatorConstants
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Gpu
from rackmoe.hardware.profile import load_machine, profile_names
from rackmoe.schema.quantities import Kind
from rackmoe.study.kernel_fit import fit_constants
from rackmoe.study.kernel_tables import is_kernel_table, read_kernel_table
from rackmoe.study.kernel_times import RowTimes, module_times, row_times

__all__ = ["KernelFit", "calibrate_kernels", "write_operator_files"]

# GPUs whose rows serve another that was not measured (or not for an operator): the same
# efficiencies and latencies on its own peaks.
_INHERITS: Final[Mapping[str, tuple[str, ...]]] = {
    "b200": ("gb200",),
    "b300": ("gb200", "b200"),
    "gb200": ("b200",),
    "gb300": ("gb200", "b200"),
    "h100": ("h200", "b200"),
    "h200": ("b200",),
    "h800": ("h200", "b200"),
    "rubin": ("gb200", "b200"),
}
_ORIGIN: Final = (
    "Tables in scenarios/calibration/kernels, extracted from aiconfigurator-core 0.12.0 "
    "(NVIDIA, Apache-2.0); constants by rackmoe calibrate kernels."
)

# Kernels that serve one more format than the tables have, with the same loops: on each GPU the
# source, kernel and format that were measured, then the name and format that go by them.
_SAME_LOOPS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "h200": (
        (
            *("vllm-0.24.0", "compressedtensorswna16marlin", "w4a16_int4"),
            *("gptossmxfp4moe_marlin", "w4a16_mxfp4"),
        ),
    ),
}

# Fewer rows than this in the fitted half leave a kernel out.
_MIN_ROWS: Final = 20
_DIGITS: Final = 4
_PERCENTILE: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFit:
    """The constants of one kernel on one GPU, and how good they are.

    Attributes
    ----------
    gpu, operator, source, kernel, dtype : str
        What was fitted.
    constants : Any
        The operator's constants.
    kind : Kind
        ``fitted``, or ``derived`` from another fit.
    report : FitReport or None
        Rows and errors.
    note : str
        What is special.
    """

    gpu: str
    operator: str
    source: str
    kernel: str
    dtype: str
    constants: Any
    kind: Kind = Kind.FITTED
    report: FitReport | None = None
    note: str = ""


def calibrate_kernels(folder: str | Path, *, date: str) -> tuple[KernelFit, ...]:
    """Return the constants that fit half of the rows of every kernel table in a folder.

    Parameters
    ----------
    folder : str or pathlib.Path
        CSV files whose names hold the GPU (``gemm_gb200.csv``).
    date : str
        Day of the fit, for the reports, as YYYY-MM-DD.

    Returns
    -------
    tuple of KernelFit
        By GPU, operator, source, kernel and format.

    Raises
    ------
    ConfigError
        If the folder holds no kernel table, or a file is damaged.
    """
    gpus = _known_gpus()
    found: dict[str, list[Path]] = {}
    for path in sorted(Path(folder).glob("*.csv")):
        named = [part for part in re.split(r"[_.]", path.name) if part in gpus]
        if named and is_kernel_table(path):
            found.setdefault(named[0], []).append(path)
    if not found:
        raise ConfigError(
            f"{folder}: no kernel tables; expected files such as gemm_gb200.csv; check the path"
        )
    fits: list[KernelFit] = []
    for name, paths in sorted(found.items()):
        fits += _fit_gpu(gpus[name], paths=paths, date=date)
    return tuple(fits)


def write_operator_files(fits: tuple[KernelFit, ...], *, folder: str | Path) -> tuple[Path, ...]:
    """Write one file of constants for each GPU that a hardware profile has.

    Parameters
    ----------
    fits : tuple of KernelFit
        From `calibrate_kernels`.
    folder : str or pathlib.Path
        Where ``GPU.yaml`` files go.

    Returns
    -------
    tuple of pathlib.Path
        The files, sorted; those of GPUs without rows only say whose rows serve them.
    """
    paths = []
    for gpu, parents in sorted(_INHERITS.items()):
        path = Path(folder) / f"{gpu}.yaml"
        own = [fit for fit in fits if fit.gpu == gpu]
        path.write_text(_file_text(gpu, parents=parents, fits=own), encoding="utf-8")
        paths.append(path)
    return tuple(paths)


def _known_gpus() -> dict[str, Gpu]:
    """Return the GPUs of the shipped machines by name."""
    return {gpu.name: gpu for gpu in (load_machine(name).gpu for name in profile_names())}


def _fit_gpu(gpu: Gpu, *, paths: list[Path], date: str) -> list[KernelFit]:
    tables = [read_kernel_table(path).assign(file=path.name) for path in paths]
    fits: list[KernelFit] = []
    for operator, rows in _by_operator(tables, modules=False):
        fits += _fit_operator(gpu, operator=operator, rows=rows, date=date, constants=None)
    fits += _same_loops(gpu, fits=fits)
    fits += _elementwise(gpu, fits=fits)
    for operator, rows in _by_operator(tables, modules=True):
        constants = _constants_so_far(gpu, fits=fits, source=str(rows["source"].iloc[0]))
        fits += _fit_operator(gpu, operator=operator, rows=rows, date=date, constants=constants)
    return fits


def _by_operator(
    tables: list[pd.DataFrame], *, modules: bool
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the usable rows of each operator, from all files that have some."""
    for operator in OPERATORS:
        if operator.endswith("_module") != modules:
            continue
        parts = [table[table["operator"] == operator] for table in tables]
        parts = [part for part in parts if len(part)]
        if parts:
            rows = pd.concat(parts, ignore_index=True)
            yield operator, rows[(rows["problem"] == "") & (rows["excluded"] == "")]


def _fit_operator(
    gpu: Gpu,
    *,
    operator: str,
    rows: pd.DataFrame,
    date: str,
    constants: OperatorConstants | None,
) -> Iterator[KernelFit]:
    def times_of(part: pd.DataFrame) -> RowTimes:
        if constants is None:
            return row_times(part)
        return module_times(part, gpu=gpu, constants=constants)

    for (source, kernel, dtype), part in rows.groupby(["source", "kernel", "dtype"]):
        seen, held_out = part[~part["is_held_out"]], part[part["is_held_out"]]
        if len(seen) < _MIN_ROWS:
            continue
        fitted, _ = fit_constants(
            operator, gpu=gpu, times=times_of(seen), measured_s=_measured_s(seen)
        )
        fitted = _rounded(fitted)
        errors = np.abs(times_of(held_out)(gpu, fitted) / _measured_s(held_out) - 1)
        yield KernelFit(
            gpu=gpu.name,
            operator=operator,
            source=str(source),
            kernel=str(kernel),
            dtype=str(dtype),
            constants=fitted,
            report=FitReport(
                file=", ".join(sorted(part["file"].unique())),
                date=date,
                n_rows=len(seen),
                n_held_out=len(held_out),
                error_median=_significant(float(np.median(errors)), digits=3),
                error_p90=_significant(float(np.percentile(errors, _PERCENTILE)), digits=3),
            ),
        )


def _same_loops(gpu: Gpu, *, fits: list[KernelFit]) -> Iterator[KernelFit]:
    """Yield what is assumed of kernels in a format that no table has."""
    for source, kernel, dtype, name, other_dtype in _SAME_LOOPS.get(gpu.name, ()):
        for fit in fits:
            if (fit.source, fit.kernel, fit.dtype) == (source, kernel, dtype):
                yield replace(
                    fit,
                    kernel=name,
                    dtype=other_dtype,
                    kind=Kind.ASSUMED,
                    report=None,
                    note=f"not measured; the kernel has the loops of {kernel}, which expands "
                    "4-bit weights of both formats to bf16",
                )


def _elementwise(gpu: Gpu, *, fits: list[KernelFit]) -> Iterator[KernelFit]:
    for fit in fits:
        if fit.operator == "gemm" and fit.dtype == "bf16":
            yield KernelFit(
                gpu=gpu.name,
                operator="elementwise",
                source=fit.source,
                kernel="elementwise",
                dtype="bf16",
                kind=Kind.ASSUMED,
                constants=ElementwiseConstants(
                    launch_s=fit.constants.launch_s, hbm_efficiency=fit.constants.hbm_efficiency
                ),
                note="no element-wise rows: launch and streaming rate of the bf16 products",
            )


def _constants_so_far(gpu: Gpu, *, fits: list[KernelFit], source: str) -> OperatorConstants:
    """Return one engine's constants before any file of them exists."""
    chosen: dict[str, Any] = {
        operator: {
            fit.dtype: fit.constants
            for fit in fits
            if fit.operator == operator and fit.source == source
        }
        for operator in OPERATORS
    }
    elementwise = next(fit.constants for fit in fits if fit.operator == "elementwise")
    return OperatorConstants(
        name=f"{source} on {gpu.name}", elementwise=elementwise, kinds={}, **chosen
    )


def _measured_s(rows: pd.DataFrame) -> Any:  # noqa: ANN401  pandas gives no better type
    return rows["measured_s"].to_numpy(dtype=np.float64)


def _rounded(constants: Any) -> Any:  # noqa: ANN401  one class per operator
    values = {name: _significant(value) for name, value in asdict(constants).items()}
    return type(constants)(**values)


def _significant(value: float, *, digits: int = _DIGITS) -> float:
    return float(f"{value:.{digits}g}")


def _file_text(gpu: str, *, parents: tuple[str, ...], fits: list[KernelFit]) -> str:
    lines = [
        "schema: rackmoe/operators/1",
        f"name: {gpu}",
        f"origin: {json.dumps(_ORIGIN)}",
        f"inherits: [{', '.join(parents)}]",
    ]
    if fits:
        lines.append("operators:")
    for operator in (*OPERATORS, "elementwise"):
        rows = [fit for fit in fits if fit.operator == operator]
        if rows:
            lines.append(f"  {operator}:")
        for fit in rows:
            lines += _row_lines(fit)
    return "\n".join(lines) + "\n"


def _row_lines(fit: KernelFit) -> Iterator[str]:
    yield f"    - source: {fit.source}"
    yield f"      kernel: {fit.kernel}"
    yield f"      dtype: {fit.dtype}"
    yield f"      kind: {fit.kind.value}"
    yield "      constants:"
    for one in fields(fit.constants):
        value = getattr(fit.constants, one.name)
        if one.name.endswith("_s"):
            yield f"        {one.name.removesuffix('_s')}: {_duration(value)}"
        else:
            yield f"        {one.name}: {value!r}"
    if fit.report is not None:
        report = fit.report
        yield (
            f"      report: {{n_rows: {report.n_rows}, n_held_out: {report.n_held_out}, "
            f"error_median: {report.error_median}, error_p90: {report.error_p90}, "
            f"date: {json.dumps(report.date)}, file: {json.dumps(report.file)}}}"
        )
    if fit.note:
        yield f"      note: {json.dumps(fit.note)}"


def _duration(value_s: float) -> str:
    """Return a duration in the unit that leaves few zeros."""
    for unit, scale in (("us", 1e-6), ("ns", 1e-9), ("ps", 1e-12)):
        if value_s >= scale or unit == "ps":
            return f"{_significant(value_s / scale)!r} {unit}"
    return f"{value_s!r} s"
