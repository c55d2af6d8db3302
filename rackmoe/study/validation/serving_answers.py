"""Answers to many measured rows: simulated side by side, and remembered on disk."""

import contextlib
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import rackmoe
from rackmoe.backend.profile import BackendProfile
from rackmoe.errors import RackmoeError
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import Scenario, resolve_scenario
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.validation.serving_features import RowFeatures
from rackmoe.study.validation.serving_rows import ServingRow, row_document
from rackmoe.study.validation.serving_run import RowQuestion, row_question, simulate_row

__all__ = ["Answer", "RowProgress", "answer_folder", "answer_rows"]

RowProgress = Callable[[int, int], None]
"""Takes the rows that are done and all rows."""

# Code above the engine does not change what a run gives.
_WITHOUT_EFFECT: Final = ("cli", "report", "study")
# Profiles of backends are part of each question.
_DATA: Final = (
    *("scenarios/backends/collectives", "scenarios/backends/operators"),
    *("scenarios/models", "hardware_profiles"),
)
# What a run does not read; of the host times only those beside its own GPUs.
_NOT_READ: Final = frozenset({"name", "title", "host", "sources"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the simulator says about a row.

    Attributes
    ----------
    figures : mapping of str to float or None
        By column of the file; empty where there is no answer.
    reason : str
        Why there is none.
    features : RowFeatures or None
        Its steps, for fits.
    """

    figures: Mapping[str, float | None]
    reason: str = ""
    features: RowFeatures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A row as a process takes it."""

    name: str
    document: str
    backend: dict[str, Any] | None
    question: RowQuestion
    cache: str | None
    version: str


def answer_folder() -> Path:
    """Return where answers are kept between calls: the user's folder for caches.

    Returns
    -------
    pathlib.Path
        Below ``XDG_CACHE_HOME``, or ``~/.cache`` where that is not set.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    caches = Path(named) if named else Path.home() / ".cache"
    return caches / "rackmoe" / "serving"


def answer_rows(
    rows: Sequence[ServingRow],
    *,
    backends: Mapping[str, BackendProfile] | None = None,
    jobs: int = 2,
    cache_folder: str | os.PathLike[str] | None = None,
    progress: RowProgress | None = None,
) -> dict[str, Answer]:
    """Simulate the scenario of each row.

    Parameters
    ----------
    rows : sequence of ServingRow
        The rows.
    backends : mapping of str to BackendProfile, optional
        Profiles to use in place of the shipped ones, by name.
    jobs : int, optional
        Processes. The answers do not depend on it.
    cache_folder : path-like, optional
        Where answers are kept, under a digest of the resolved scenario and of the code.
    progress : callable, optional
        Told about every row that is done.

    Returns
    -------
    dict of str to Answer
        By id, in the order of the rows.
    """
    version = _version() if cache_folder is not None else ""
    tasks: dict[str, _Task] = {}
    answers: dict[str, Answer] = dict.fromkeys((row.id for row in rows), Answer(figures={}))
    for row in rows:
        try:
            document = row_document(row)
        except (RackmoeError, ValueError) as error:
            answers[row.id] = Answer(figures={}, reason=_words(error))
            continue
        except ArithmeticError:
            reason = f"{row.id}: a count of 0; expected GPUs, users and prompts; correct the row"
            answers[row.id] = Answer(figures={}, reason=reason)
            continue
        backend = (backends or {}).get(document.backend)
        tasks[row.id] = _Task(
            name=row.id,
            document=document.model_dump_json(by_alias=True),
            backend=None if backend is None else backend.model_dump(mode="python"),
            question=row_question(row),
            cache=None if cache_folder is None else os.fspath(cache_folder),
            version=version,
        )
    n_done = len(rows) - len(tasks)
    for name, answer in _each(tasks, jobs=jobs):
        answers[name] = answer
        n_done += 1
        if progress is not None:
            progress(n_done, len(rows))
    return answers


def _each(tasks: Mapping[str, _Task], *, jobs: int) -> Iterator[tuple[str, Answer]]:
    if jobs == 1:
        for name, task in tasks.items():
            yield name, _answer(task)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as executor:
        futures: dict[Future[Answer], str] = {
            executor.submit(_answer, task): name for name, task in tasks.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            # after an interrupt, rows that have not begun are left out
            executor.shutdown(wait=False, cancel_futures=True)


def _answer(task: _Task) -> Answer:
    """Answer one row in this process, from the cache where it is known."""
    try:
        document = ScenarioDocument.model_validate_json(task.document)
        scenario = resolve_scenario(document, name=task.name)
        if task.backend is not None:
            backend = BackendProfile.model_validate(task.backend)
            scenario = replace(scenario, backend=backend)
        kept = _place(task, scenario)
        known = _kept_answer(kept)
        if known is not None:
            return known
        figures, features = simulate_row(scenario, question=task.question)
    except (RackmoeError, ValueError) as error:
        return Answer(figures={}, reason=_words(error))
    answer = Answer(figures=figures, features=features)
    if kept is not None:
        _keep(answer, place=kept)
    return answer


def _kept_answer(place: Path | None) -> Answer | None:
    """Return an answer of an earlier call; a damaged file is as good as none."""
    if place is None or not place.is_file():
        return None
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        features = RowFeatures.from_json(known["features"])
        return Answer(figures=known["figures"], features=features)
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _keep(answer: Answer, *, place: Path) -> None:
    """Write an answer; where nothing can be written, the next call computes it again."""
    features = answer.features
    if features is None:
        return
    data = {"figures": dict(answer.figures), "features": asdict(features)}
    partial = place.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(data), encoding="utf-8")
        partial.replace(place)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())


def _place(task: _Task, scenario: Scenario) -> Path | None:
    if task.cache is None:
        return None
    parts = (
        task.version,
        task.document,
        *_backend_words(scenario),
        repr(asdict(task.question)),
        repr(scenario.machine),
        repr(scenario.arch),
    )
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Path(task.cache) / f"{digest}.json"


def _backend_words(scenario: Scenario) -> tuple[str, str]:
    """Return what a run reads of its backend, so that a fit elsewhere leaves answers valid."""
    unused = set(_NOT_READ)
    if not any(pool.draft_tokens for pool in scenario.document.deployment.pools.values()):
        unused.add("speculation")
    return scenario.backend.model_dump_json(exclude=unused), scenario.host.model_dump_json()


@cache
def _version() -> str:
    """Return a digest of the code and the data that a run depends on."""
    package = Path(rackmoe.__file__).parent
    files = [
        path
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0] not in _WITHOUT_EFFECT
    ]
    own = Path(__file__)
    files += [own.with_name(f"serving_{name}.py") for name in ("run", "features")]
    for folder in _DATA:
        files += [path for path in sorted(shipped_folder(folder).rglob("*")) if path.is_file()]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
