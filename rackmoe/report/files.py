"""What a run leaves on disk: a folder that is complete and the same for equal inputs."""

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

import rackmoe
from rackmoe.errors import ConfigError
from rackmoe.metrics.breakdown import step_breakdown
from rackmoe.metrics.catalog import METRICS
from rackmoe.records import TABLES
from rackmoe.report.fabric import hot_links_of
from rackmoe.report.plain import digest_of, json_text, to_plain
from rackmoe.report.timeline import write_timeline
from rackmoe.simulation import Result
from rackmoe.study.validation.validity import run_validity

__all__ = ["RESULT_SCHEMA", "fill_folder", "result_data", "staged_folder", "write_result"]

RESULT_SCHEMA = "rackmoe/result/1"

_MAIN_FILE = "result.json"
_CSV_TABLES = ("requests", "experts", "links", "power", "rebalances")
_CSV_SUMS = ("replicas", "summary", "breakdown", "hot_links")
_BLOCK_BYTES = 1 << 20


def write_result(
    result: Result, *, folder: Path | str, overwrite: bool = False, parquet: bool = False
) -> Path:
    """Write a result to a folder of its own.

    Parameters
    ----------
    result : Result
        From `simulate`.
    folder : path
        Folder to make. Until everything is written it does not appear.
    overwrite : bool, optional
        Whether to replace the result in a folder that is not empty.
    parquet : bool, optional
        Whether to write every table as Parquet too; needs the extra ``parquet``.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ConfigError
        If the folder is not empty, or Parquet cannot be written.
    """
    with staged_folder(folder, overwrite=overwrite) as stage:
        fill_folder(result, folder=stage, parquet=parquet)
    return Path(folder)


@contextmanager
def staged_folder(folder: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to write to, which becomes the wanted one when nothing failed.

    Parameters
    ----------
    folder : path
        The wanted folder.
    overwrite : bool, optional
        Whether to replace the result in a folder that is not empty.

    Yields
    ------
    pathlib.Path
        An empty folder beside the wanted one.

    Raises
    ------
    ConfigError
        If the wanted folder is a file, or not empty.
    """
    target = Path(folder)
    _check_target(target, overwrite=overwrite)
    parent = target.absolute().parent
    made = _missing_parents(parent)
    parent.mkdir(parents=True, exist_ok=True)
    stage = parent / f".{target.name}.{os.getpid()}.partial"
    stage.mkdir()
    try:
        yield stage
        _check_target(target, overwrite=overwrite)
        _replace(stage, target=target)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        for path in made:
            _remove_if_empty(path)
        raise


def fill_folder(
    result: Result,
    *,
    folder: Path,
    parquet: bool = False,
    probes: Sequence[object] = (),
) -> None:
    """Write the files of a result into a folder.

    Parameters
    ----------
    result : Result
        From `simulate`.
    folder : pathlib.Path
        An empty folder.
    parquet : bool, optional
        Whether to write every table as Parquet too.
    probes : sequence of object, optional
        Runs of the search that led to the result.

    Raises
    ------
    ConfigError
        If Parquet cannot be written.
    """
    if parquet and importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(
            "parquet: pyarrow is not installed; expected the extra 'parquet';"
            " install rackmoe[parquet]"
        )
    tables = {name: result.to_frame(name) for name in TABLES}
    for name in _CSV_TABLES:
        _write_csv(tables[name], folder / f"{name}.csv")
    _write_csv(hot_links_of(result), folder / "hot_links.csv")
    if tables["replicas"]["replica"].duplicated().any():
        _write_csv(tables["replicas"], folder / "replicas.csv")
    _write_csv(_summary_frame(result.summary), folder / "summary.csv")
    _write_csv(step_breakdown(tables["steps"], window=result.window), folder / "breakdown.csv")
    write_timeline(
        folder / "timeline.json.gz",
        steps=tables["steps"],
        requests=tables["requests"],
        replicas=tables["replicas"],
    )
    if parquet:
        for name, table in tables.items():
            table.to_parquet(folder / f"{name}.parquet", index=False)
    files = {path.name: _file_digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
    data = result_data(result, probes=probes) | {"files": files}
    (folder / _MAIN_FILE).write_text(json_text(data), encoding="utf-8", newline="\n")


def result_data(result: Result, *, probes: Sequence[object] = ()) -> dict[str, object]:
    """Return a result as plain data: everything that decides it, and what it reached.

    Parameters
    ----------
    result : Result
        From `simulate`.
    probes : sequence of object, optional
        Runs of the search that led to the result.

    Returns
    -------
    dict of str to object
        ``inputs`` holds the resolved scenario, hardware, model and backend in SI units;
        ``digests`` the SHA-256 of each; ``validity`` the nearest measured points.
    """
    scenario = result.scenario
    inputs = {
        "scenario": to_plain(scenario.document),
        "hardware": to_plain(scenario.machine),
        "model": to_plain(scenario.arch),
        "backend": to_plain(scenario.backend),
    }
    return {
        "schema": RESULT_SCHEMA,
        "rackmoe_version": rackmoe.__version__,
        "name": scenario.name,
        "title": scenario.document.title,
        "seed": result.seed,
        "inputs": inputs,
        "digests": {name: digest_of(value) for name, value in inputs.items()},
        "metrics": to_plain(result.summary),
        "applications": to_plain(result.applications),
        "units": {name: METRICS[name].unit for name in result.summary if name in METRICS},
        "window": to_plain(result.window),
        "n_arrived": result.run.n_arrived,
        "n_unfinished": result.run.n_unfinished,
        "end_s": result.run.end_s,
        "validity": to_plain(run_validity(result).as_dict()),
        "warnings": list(result.warnings),
        "provenance": to_plain(result.provenance),
        "probes": to_plain(list(probes)),
    }


def _summary_frame(summary: Mapping[str, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": list(summary),
            "value": [float(value) for value in summary.values()],
            "unit": [METRICS[name].unit if name in METRICS else "" for name in summary],
        }
    )


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _check_target(target: Path, *, overwrite: bool) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"{target}: not a folder; expected a new folder; choose another name")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise ConfigError(
            f"{target}: the folder is not empty; expected a new or empty one;"
            " choose another or pass --overwrite"
        )


def _missing_parents(parent: Path) -> list[Path]:
    """Return the folders that have to be made, the innermost first."""
    return [path for path in (parent, *parent.parents) if not path.exists()]


def _replace(stage: Path, *, target: Path) -> None:
    """Give the finished folder its name, or move its files over those of an older result.

    Files in the target that no result has are left alone. The older `result.json` goes
    first and the new one comes last, so that a folder with one is always complete.
    """
    if not target.is_dir() or not any(target.iterdir()):
        stage.replace(target)
        return
    new = sorted((path.name for path in stage.iterdir()), key=lambda name: name == _MAIN_FILE)
    for name in dict.fromkeys([_MAIN_FILE, *new, *_older_names(target)]):
        _remove(target / name)
    for name in new:
        (stage / name).replace(target / name)
    stage.rmdir()


def _older_names(target: Path) -> list[str]:
    """Return the files and folders of an older result."""
    patterns = ("variants", "figures", "comparison.*", "*.parquet", "timeline.json.gz")
    found = [path.name for pattern in patterns for path in target.glob(pattern)]
    return sorted({*found, *(f"{name}.csv" for name in (*_CSV_TABLES, *_CSV_SUMS))})


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_if_empty(path: Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
