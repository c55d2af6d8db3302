"""Which clients a published archive describes: ServeGen pools, read without unpacking them."""

import io
import json
import lzma
import re
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.serving.client_pool import ClientPool
from rackmoe.serving.histograms import Histograms, build_histograms
from rackmoe.serving.trace_cells import raise_problems

__all__ = ["load_client_pool"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# Nobody's pool is larger; a small file must not fill the memory.
_MOST_UNPACKED_BYTES = 256 * 2**20
_MOST_MEMBER_BYTES = 16 * 2**20
_MOST_DECODER_BYTES = 256 * 2**20
_MOST_MEMBERS = 10_000
_MOST_WINDOWS = 10_000
_MOST_TOKENS = 10**7

_MEMBER = re.compile(r"(?:.*/)?chunk-(\d{1,6})-(?:(trace)\.csv|(dataset)\.json)")
_HISTOGRAM = re.compile(r"\{[0-9eE+\-.:, ]*\}")
_PATTERNS = {"Gamma": False, "Weibull": True}
_N_FIELDS = 6

_Rates = dict[float, tuple[float, float, bool]]


def load_client_pool(path: Path | str) -> ClientPool:
    """Read a pool of clients.

    Parameters
    ----------
    path : Path or str
        A ``.tar.xz`` archive with the files of ServeGen: for each client a
        ``chunk-N-trace.csv`` without header (window start [s], rate [1/s],
        coefficient of variation, ``Gamma`` or ``Weibull``, shape, scale [s]) and a
        ``chunk-N-dataset.json`` (window start: histograms ``input_tokens`` and
        ``output_tokens``). Other members are ignored; nothing is written to disk.

    Returns
    -------
    ClientPool
        Clients in the order of their numbers.

    Raises
    ------
    TraceError
        If the archive is missing, damaged or too large, or a file in it is not what
        its name says.
    """
    path = Path(path)
    files = _members(path)
    numbers = sorted({number for number, _ in files})
    if not numbers:
        raise TraceError(
            f"{path}: no chunk-N-trace.csv in it; expected a ServeGen pool; check its source"
        )
    raise_problems(
        f"{path}: client {number}: no {kind}; expected a trace and a dataset; repack the archive"
        for number in numbers
        for kind in ("trace", "dataset")
        if (number, kind) not in files
    )
    rates, tables = [], []
    for number in numbers:
        rates.append(_rates(f"{path}: chunk-{number}-trace.csv", files[number, "trace"]))
        tables.append(_dataset(f"{path}: chunk-{number}-dataset.json", files[number, "dataset"]))
    return _pool(str(path), rates, tables)


def _unpacked(path: Path) -> bytes:
    try:
        decoder = lzma.LZMADecompressor(memlimit=_MOST_DECODER_BYTES)
        data = decoder.decompress(path.read_bytes(), max_length=_MOST_UNPACKED_BYTES)
    except OSError as error:
        raise TraceError(
            f"{path}: {error.strerror or error}; expected a readable archive; check the path"
        ) from error
    except (lzma.LZMAError, EOFError) as error:
        raise TraceError(
            f"{path}: damaged xz data ({error}); expected a .tar.xz archive; copy it again"
        ) from error
    if not decoder.eof:
        what = "larger than" if len(data) == _MOST_UNPACKED_BYTES else "cut off before"
        raise TraceError(
            f"{path}: {what} {_MOST_UNPACKED_BYTES} B unpacked; expected a complete pool below"
            " that; copy it again or choose fewer clients"
        )
    return data


def _members(path: Path) -> dict[tuple[int, str], str]:
    """Return the texts of the files of each client; folders, links and others are left alone."""
    found: dict[tuple[int, str], str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_unpacked(path)), mode="r:") as archive:
            for position, member in enumerate(archive):
                if position == _MOST_MEMBERS:
                    raise TraceError(
                        f"{path}: more than {_MOST_MEMBERS} members; expected fewer; repack it"
                    )
                name = _MEMBER.fullmatch(member.name)
                if name is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                    continue
                key = (int(name[1]), str(name[2] or name[3]))
                found[key] = _text(f"{path}: {member.name}", archive, member)
    except tarfile.TarError as error:
        raise TraceError(
            f"{path}: damaged archive ({error}); expected a .tar.xz archive; copy it again"
        ) from error
    return found


def _text(place: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.size > _MOST_MEMBER_BYTES:
        raise TraceError(
            f"{place}: {member.size} B; expected at most {_MOST_MEMBER_BYTES} B; check its source"
        )
    file = archive.extractfile(member)
    data = b"" if file is None else file.read(_MOST_MEMBER_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{place}: byte {error.start} is not UTF-8; expected text; repack the archive"
        ) from error


def _rates(place: str, text: str) -> _Rates:
    found: _Rates = {}
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            start, rate, _, pattern, shape, _ = line.split(",")
            window = float(start), float(rate), float(shape)
            is_good = all(0 <= value < np.inf for value in window)
            is_good = is_good and (window[1] == 0 or (pattern in _PATTERNS and window[2] > 0))
        except ValueError:
            is_good = False
        if not is_good:
            problems.append(
                f"{place}:{number}: {line[:60]!r}; expected {_N_FIELDS} fields: window start,"
                " rate, cv, Gamma or Weibull, shape, scale; repair or remove this line"
            )
        elif window[1] > 0:
            found[window[0]] = (window[1], window[2], _PATTERNS[pattern])
        else:
            found[window[0]] = (0.0, 1.0, False)
    raise_problems(problems)
    return found


def _dataset(place: str, text: str) -> dict[float, tuple[Any, Any]]:
    try:
        data = json.loads(text)
        windows = {float(start): one for start, one in data.items()}
        return {
            start: (
                _histogram(f"{place}: {start:g}: input_tokens", one["input_tokens"]),
                _histogram(f"{place}: {start:g}: output_tokens", one["output_tokens"]),
            )
            for start, one in windows.items()
        }
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise TraceError(
            f"{place}: {type(error).__name__}: {str(error)[:80]}; expected window start:"
            " {input_tokens, output_tokens}; repair this file"
        ) from error


def _histogram(place: str, text: object) -> tuple[IntArray, FloatArray]:
    """Return values and weights of a histogram written as ``{tokens: weight, ...}``."""
    numbers = np.zeros(0)
    is_good = isinstance(text, str) and _HISTOGRAM.fullmatch(text) is not None
    if is_good and isinstance(text, str) and text.strip("{} "):
        flat = text[1:-1].replace(":", ",")
        with warnings.catch_warnings():
            # NumPy warns of text that it cannot read, and returns what came before
            warnings.simplefilter("error")
            try:
                numbers = np.fromstring(flat, sep=",")
            except (ValueError, DeprecationWarning):
                is_good = False
        is_good = is_good and numbers.size == 2 * text.count(":")
    values, weights = numbers[0::2], numbers[1::2]
    in_range = (values >= 0) & (values <= _MOST_TOKENS) & (np.rint(values) == values)
    if not (is_good and in_range.all() and ((weights >= 0) & (weights < np.inf)).all()):
        raise TraceError(
            f"{place}: {str(text)[:60]!r}; expected {{tokens: weight, ...}}; repair this file"
        )
    # a request has at least one token
    return np.maximum(values, 1).astype(np.int64), weights


def _pool(
    place: str, rates: list[_Rates], tables: list[dict[float, tuple[Any, Any]]]
) -> ClientPool:
    window_s, n_windows = _grid(f"{place}: windows of the rates", rates)
    length_window_s, n_length_windows = _grid(f"{place}: windows of the lengths", tables)
    columns = [[(0.0, 1.0, False)] * n_windows for _ in rates]
    for column, own in zip(columns, rates, strict=True):
        for start, values in own.items():
            column[round(start / window_s)] = values
    cells = [
        own.get(window * length_window_s, (_NO_LENGTHS, _NO_LENGTHS))
        for own in tables
        for window in range(n_length_windows)
    ]
    inputs, outputs = (_joined([cell[side] for cell in cells]) for side in (0, 1))
    packed = np.array(columns, np.float64)
    pool_rates = packed[:, :, 0]
    has_lengths = ~(inputs.is_empty | outputs.is_empty).reshape(len(rates), -1).all(axis=1)
    raise_problems(
        f"{place}: client {int(row)} of {len(rates)} sends requests without lengths; expected"
        " histograms; repair its dataset"
        for row in np.flatnonzero(pool_rates.any(axis=1) & ~has_lengths)
    )
    return ClientPool(
        window_s=window_s,
        rate_requests_per_s=pool_rates,
        shape=packed[:, :, 1],
        is_weibull=packed[:, :, 2] > 0,
        length_window_s=length_window_s,
        input_tokens=inputs,
        output_tokens=outputs,
    )


_NO_LENGTHS = (np.zeros(0, np.int64), np.zeros(0))


def _joined(pairs: list[tuple[IntArray, FloatArray]]) -> Histograms:
    """Return histograms, those whose weights are all 0 as empty ones."""
    pairs = [pair if pair[1].any() else _NO_LENGTHS for pair in pairs]
    return build_histograms([pair[0] for pair in pairs], weights=[pair[1] for pair in pairs])


def _grid(place: str, tables: list[Any]) -> tuple[float, int]:
    """Return length and number of the windows, which must follow each other evenly from 0."""
    starts = np.unique(np.array([start for own in tables for start in own], np.float64))
    step_s = float(starts[1] - starts[0]) if starts.size > 1 else 0.0
    is_even = bool(step_s > 0 and starts.size <= _MOST_WINDOWS)
    if not is_even or (starts != np.arange(starts.size) * step_s).any():
        raise TraceError(
            f"{place}: starts {starts[:4].tolist()} ...; expected an even grid from 0 s;"
            " repair the archive"
        )
    return step_s, int(starts.size)
