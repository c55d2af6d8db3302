"""How fitted communication constants are written to YAML."""

from collections.abc import Iterable, Mapping

from rackmoe.backend.collectives import (
    AlgorithmConstants,
    CollectiveBook,
    CollectiveConstants,
    CollectiveKey,
    ExchangeConstants,
    FitReport,
)
from rackmoe.units import Dimension, format_quantity

__all__ = ["collectives_text"]

_DIGITS = 4


def collectives_text(
    book: CollectiveBook,
    *,
    title: str,
    date: str,
    lends_to: Iterable[str],
    sources: Mapping[str, str],
) -> str:
    """Return the text of a file of ``scenarios/backends/collectives``.

    Parameters
    ----------
    book : CollectiveBook
        Constants of one GPU.
    title : str
        First comment of the file.
    date : str
        Day of the fit.
    lends_to : iterable of str
        GPUs that borrow the constants.
    sources : mapping of str to str
        Text of each source by the name of the table, as in `FitReport.file`.

    Returns
    -------
    str
        YAML that `rackmoe.backend.collective_files` reads.
    """
    reports = [one.report for one in book.exchanges]
    reports += [one.report for one in book.collectives]
    used = dict.fromkeys(report.file for report in reports)
    keys = {file: f"source-{i}" for i, file in enumerate(used, start=1)}
    lines = [
        f"# {title}",
        "# Written by `rackmoe calibrate network`; change the fit, not this file.",
        "schema: rackmoe/collectives/1",
        f"name: {book.gpu}",
        f'date: "{date}"',
        f"lends_to: [{', '.join(lends_to)}]",
        "exchanges:" if book.exchanges else "exchanges: []",
    ]
    for exchange in book.exchanges:
        lines += _exchange_lines(exchange, keys=keys)
    lines.append("collectives:" if book.collectives else "collectives: []")
    for collective in book.collectives:
        lines += _collective_lines(collective, keys=keys)
    lines.append("sources:")
    lines += [f'  {key}: "{sources[file]}"' for file, key in keys.items()]
    return "\n".join(lines) + "\n"


def _exchange_lines(one: ExchangeConstants, *, keys: Mapping[str, str]) -> list[str]:
    sm = one.sm_bandwidth_bytes_per_s
    lines = [
        *_key_lines(one.key),
        f"family: {one.family.value}",
        f"spread: {one.spread.value}",
        f"payload_dtype: {one.payload_dtype}",
        f"nodes: {_listed(map(str, one.latency_s.sizes))}",
        f"latency: {_listed(map(_seconds, one.latency_s.values))}",
        f"port_efficiency: {_listed(map(_number, one.port_efficiency.values))}",
        f"nic_efficiency: {_number(one.nic_efficiency)}",
        f"token_time: {_seconds(one.token_time_s)}",
    ]
    if sm is not None:
        lines.append(f"sm_bandwidth: {_listed(map(_bandwidth, sm.values))}")
    lines += [f"sms: {one.n_sms}", f"ramp: {_number(one.ramp)}"]
    return _item([*lines, *_report_lines(one.report, keys=keys)], indent=2)


def _collective_lines(one: CollectiveConstants, *, keys: Mapping[str, str]) -> list[str]:
    lines = [*_key_lines(one.key), "algorithms:"]
    for way in one.algorithms:
        lines += _item(_way_lines(way), indent=2)
    return _item([*lines, *_report_lines(one.report, keys=keys)], indent=2)


def _way_lines(way: AlgorithmConstants) -> list[str]:
    return [
        f"algorithm: {way.algorithm.value}",
        f"ranks: {_listed(map(str, way.latency_s.sizes))}",
        f"latency: {_listed(map(_seconds, way.latency_s.values))}",
        f"port_efficiency: {_listed(map(_number, way.port_efficiency.values))}",
        f"nic_efficiency: {_number(way.nic_efficiency)}",
        f"ramp: {_number(way.ramp)}",
    ]


def _key_lines(key: CollectiveKey) -> list[str]:
    return [
        f'library: "{key.library}"',
        f'kernel: "{key.kernel}"',
        f"operation: {key.operation}",
        f'dtype: "{key.dtype}"',
    ]


def _report_lines(report: FitReport, *, keys: Mapping[str, str]) -> list[str]:
    counts = f"rows: {report.n_rows}, held_out: {report.n_held_out}"
    errors = f"median: {report.median_error_frac:.3f}, p90: {report.p90_error_frac:.3f}"
    small = f"small: {_seconds(report.median_error_s)}"
    origin = f'value: "{report.file}", kind: {report.kind}, source: {keys[report.file]}'
    lines = [f"error: {{{counts}, {errors}, {small}}}", f"file: {{{origin}}}"]
    return [*lines, f'caveat: "{report.caveat}"'] if report.caveat else lines


def _item(lines: list[str], *, indent: int) -> list[str]:
    """Return lines as one item of a list."""
    pad = " " * indent
    return [f"{pad}{'- ' if i == 0 else '  '}{line}" for i, line in enumerate(lines)]


def _listed(texts: Iterable[str]) -> str:
    return f"[{', '.join(texts)}]"


def _number(value: float) -> str:
    return f"{value:.{_DIGITS}g}"


def _seconds(value_s: float) -> str:
    return format_quantity(value_s, dimension=Dimension.TIME, digits=_DIGITS)


def _bandwidth(bytes_per_s: float) -> str:
    return format_quantity(bytes_per_s, dimension=Dimension.BANDWIDTH, digits=_DIGITS)
