"""How the constants of communication kernels are fitted to the shipped measurements."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from rackmoe.backend.collectives import (
    CollectiveBook,
    CollectiveConstants,
    CollectiveKey,
    ExchangeConstants,
    Family,
    FitReport,
    Spread,
)
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.profile import load_machine
from rackmoe.network.build import find_exchange, group_ports
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.calibration.collective_fit import fit_collective, fit_share
from rackmoe.study.calibration.collective_yaml import collectives_text
from rackmoe.study.calibration.exchange_fit import fit_efficiencies, fit_exchange
from rackmoe.study.calibration.published import PUBLISHED_SOURCES, published_collectives
from rackmoe.study.network_cases import (
    CollectiveCase,
    ExchangeCase,
    Measurement,
    error_of,
    predict_collective,
    predict_exchange,
)
from rackmoe.study.network_groups import (
    CALIBRATION_FILES,
    MIN_SCALED,
    RowGroup,
    row_groups,
    split_group,
)
from rackmoe.study.network_tables import SLOW_CLUSTER_KERNEL

__all__ = ["calibrate_network", "fit_books"]

_AIC = "NVIDIA aiconfigurator-core 0.12.0 (Apache-2.0), times measured by its collectors"
_SOURCES: Mapping[str, str] = MappingProxyType(
    {
        **{file: f"{_AIC}, exported to {file}" for file in CALIBRATION_FILES[:3]},
        CALIBRATION_FILES[
            3
        ]: "Published points, each cited in its row of communication_points.csv",
        **PUBLISHED_SOURCES,
    }
)
_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "gb200": "Communication constants measured on GB200 NVL72.",
        "h200": "Communication constants measured on HGX H200.",
        "h100": "Communication constants measured on HGX H100.",
        "h800": "Communication constants measured on HGX H800.",
        "b200": "Communication constants measured on HGX B200.",
    }
)
_LENDS_TO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gb200": ("gb300", "b200", "b300", "rubin"),
        "h200": ("h100", "h800", "b200", "b300"),
    }
)
# Fewer rows scale the efficiencies of a kernel with more rows.
_MIN_FIT = 12
# Benchmarks of TensorRT-LLM's NVLink kernels deal experts out evenly; its DeepEP rows, those of
# DeepEP V1 and none else follow the node-limited routing of DeepSeek-V3 (kind: derived, from the
# ratio of rows with 256 and 384 experts, and of rows with 8 to 64 ranks).
_EVEN_KERNELS = ("NVLinkOneSided", "NVLinkTwoSided")
_GROUPED = (("trtllm", "deepep_ht"), ("deepep-v1", "normal"))
# Whose constants a family without rows of its own starts from.
_SIMILAR: Mapping[Family, Family] = MappingProxyType(
    {Family.DEEPEP_LOW_LATENCY_RDMA: Family.DEEPEP_LOW_LATENCY}
)
_SLOW_CAVEAT = "half the NIC bandwidth of all other clusters; explains its own rows only"
# Engines whose measured times include host gaps come last when a family is looked up.
_LAST = ("vllm", "trtllm-1.3.0rc11")


def calibrate_network(output: Path | str | None = None, *, date: str) -> dict[str, Path]:
    """Fit all constants and write one file for each GPU.

    Parameters
    ----------
    output : path-like, optional
        Folder of the files; the shipped ``scenarios/backends/collectives`` if left out.
    date : str
        Date to put into the files, for example ``2026-11-21``.

    Returns
    -------
    dict of str to pathlib.Path
        The file of each GPU.
    """
    shipped = shipped_folder("scenarios/backends") / "collectives"
    folder = shipped if output is None else Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for gpu, book in fit_books().items():
        text = collectives_text(
            book,
            title=_TITLES[gpu],
            date=date,
            lends_to=_LENDS_TO.get(gpu, ()),
            sources=_SOURCES,
        )
        written[gpu] = folder / f"{gpu}.yaml"
        written[gpu].write_text(text, encoding="utf-8")
    return written


def fit_books() -> dict[str, CollectiveBook]:
    """Return the constants of every GPU, fitted to the shipped tables.

    Returns
    -------
    dict of str to CollectiveBook
        By name of the GPU. Kernels with many rows are fitted first; those with few rows
        scale the efficiencies of the nearest of these.
    """
    groups = row_groups()
    machines = {group.profile: load_machine(group.profile) for group in groups}
    large = [group for group in groups if len(group.rows) >= _MIN_FIT]
    small = [group for group in groups if MIN_SCALED <= len(group.rows) < _MIN_FIT]
    exchanges: dict[str, list[ExchangeConstants]] = defaultdict(list)
    collectives: dict[str, list[CollectiveConstants]] = defaultdict(list)
    for group in large:
        machine = machines[group.profile]
        if isinstance(group.rows[0].case, ExchangeCase):
            exchanges[machine.gpu.name].append(_fit_exchange(group, machine=machine))
        else:
            collectives[machine.gpu.name].append(_fit_collective(group, machine=machine))
    measured = [one for several in exchanges.values() for one in several]
    for group in small:
        machine = machines[group.profile]
        gpu = machine.gpu.name
        if isinstance(group.rows[0].case, ExchangeCase):
            near = sorted([*exchanges[gpu], *_lent(gpu, exchanges), *measured], key=_rank)
            exchanges[gpu].append(_scale_exchange(group, machine=machine, known=near))
        else:
            collectives[gpu].append(
                _scale_collective(group, machine=machine, known=collectives[gpu])
            )
    for gpu, published in published_collectives().items():
        collectives[gpu] += published
    names = dict.fromkeys([*exchanges, *collectives])
    return {
        gpu: CollectiveBook(
            gpu=gpu,
            exchanges=tuple(sorted(exchanges[gpu], key=_rank)),
            collectives=tuple(collectives[gpu]),
        )
        for gpu in names
        if exchanges[gpu] or collectives[gpu]
    }


def _lent(
    gpu: str, exchanges: Mapping[str, list[ExchangeConstants]]
) -> Iterable[ExchangeConstants]:
    """Return the constants of the GPUs that lend to one."""
    return [one for lender, to in _LENDS_TO.items() if gpu in to for one in exchanges[lender]]


def _rank(one: ExchangeConstants) -> int:
    """Return the order in which kernels of one family are preferred."""
    return int(any(one.key.library.startswith(word) for word in _LAST))


def _spread(key: CollectiveKey) -> Spread:
    """Return how the benchmark of a kernel chose experts."""
    if key.kernel in _EVEN_KERNELS:
        return Spread.EVEN
    is_grouped = any(
        key.library.startswith(library) and word in key.kernel for library, word in _GROUPED
    )
    return Spread.GROUPED if is_grouped else Spread.RANDOM


def _fit_exchange(group: RowGroup, *, machine: Machine) -> ExchangeConstants:
    """Return all constants of a kernel, with the error over the rows held out."""
    fitted, held = split_group(group)
    constants = fit_exchange(
        fitted, key=group.key, spread=_spread(group.key), machine=machine, file=group.file
    )
    report = _report(
        constants.report,
        rows=held or fitted,
        n_held_out=len(held),
        predict=lambda row: _exchange_answer(row, constants=constants, machine=machine),
    )
    caveat = _SLOW_CAVEAT if group.key.kernel == SLOW_CLUSTER_KERNEL else ""
    return replace(constants, report=replace(report, caveat=caveat))


def _scale_exchange(
    group: RowGroup, *, machine: Machine, known: Sequence[ExchangeConstants]
) -> ExchangeConstants:
    """Return constants of a kernel with few rows."""
    case = group.rows[0].case
    if not isinstance(case, ExchangeCase):
        raise ConfigError(
            f"{group.key}: no exchange; expected dispatch or combine rows; drop them"
        )
    operation = case.key.operation
    n_ranks = max(row.case.n_ranks for row in group.rows if row.case is not None)
    is_known = any(one.family is case.family and one.key.operation == operation for one in known)
    family = case.family if is_known else _SIMILAR.get(case.family, case.family)
    parent = find_exchange(
        known,
        family=family,
        operation=operation,
        payload_dtype=case.payload_dtype,
        n_nodes=group_ports(machine, n_ranks=n_ranks).n_nodes,
    )
    parent = replace(parent, spread=_spread(group.key))
    constants = fit_efficiencies(
        group.rows, key=group.key, parent=parent, machine=machine, file=group.file
    )
    report = _report(
        constants.report,
        rows=group.rows,
        n_held_out=0,
        predict=lambda row: _exchange_answer(row, constants=constants, machine=machine),
    )
    return replace(constants, report=report)


def _fit_collective(group: RowGroup, *, machine: Machine) -> CollectiveConstants:
    """Return all constants of a dense collective, with the error over the rows held out."""
    fitted, held = split_group(group)
    constants = fit_collective(fitted, key=group.key, machine=machine, file=group.file)
    report = _report(
        constants.report,
        rows=held or fitted,
        n_held_out=len(held),
        predict=lambda row: _collective_answer(row, constants=constants, machine=machine),
    )
    return replace(constants, report=report)


def _scale_collective(
    group: RowGroup, *, machine: Machine, known: Sequence[CollectiveConstants]
) -> CollectiveConstants:
    """Return constants of a dense collective with few rows."""
    parent = next(one for one in known if one.key.operation == group.key.operation)
    constants = fit_share(
        group.rows, key=group.key, parent=parent, machine=machine, file=group.file
    )
    report = _report(
        constants.report,
        rows=group.rows,
        n_held_out=0,
        predict=lambda row: _collective_answer(row, constants=constants, machine=machine),
    )
    return replace(constants, report=report)


def _exchange_answer(row: Measurement, *, constants: ExchangeConstants, machine: Machine) -> float:
    book = CollectiveBook(gpu=machine.gpu.name, exchanges=(constants,), collectives=())
    if not isinstance(row.case, ExchangeCase):
        raise ConfigError(f"{row.row}: no exchange; expected dispatch or combine; drop the row")
    return predict_exchange(row.case, machine=machine, book=book)[0]


def _collective_answer(
    row: Measurement, *, constants: CollectiveConstants, machine: Machine
) -> float:
    book = CollectiveBook(gpu=machine.gpu.name, exchanges=(), collectives=(constants,))
    if not isinstance(row.case, CollectiveCase):
        raise ConfigError(f"{row.row}: no collective; expected a dense buffer; drop the row")
    return predict_collective(row.case, machine=machine, book=book)[0]


def _report(
    report: FitReport,
    *,
    rows: Sequence[Measurement],
    n_held_out: int,
    predict: Callable[[Measurement], float],
) -> FitReport:
    """Return a report with the error that the constants leave over some rows."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        if row.case is None:
            continue
        large = row.case.is_large
        errors[large].append(error_of(predict(row), measured=row.measured, is_large=large))
    return replace(
        report,
        n_held_out=n_held_out,
        median_error_frac=float(np.median(errors[True])) if errors[True] else 0.0,
        p90_error_frac=float(np.quantile(errors[True], 0.9)) if errors[True] else 0.0,
        median_error_s=float(np.median(errors[False])) if errors[False] else 0.0,
    )
