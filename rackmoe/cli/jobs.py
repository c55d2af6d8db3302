"""Which runs a command makes, one after the other or in processes side by side."""

import contextlib
import multiprocessing
import os
import queue as queues
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click
import pandas as pd

from rackmoe.cli import EXIT_INTERNAL
from rackmoe.report.fabric import draw_fabric, hot_links_of
from rackmoe.report.files import fill_folder
from rackmoe.report.outcome import Outcome, outcome_of
from rackmoe.report.theme import save_figure
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import Scenario, load_scenario
from rackmoe.schema.overrides import parse_setting
from rackmoe.simulation import Result, simulate
from rackmoe.study.search import Probe, find_operating_point

__all__ = ["Finished", "Job", "Listener", "load_runs", "n_cpus", "run_job", "run_jobs"]

_POLL_S = 0.1


class _DeadProcessError(click.ClickException):
    """A process ended without an answer."""

    exit_code = EXIT_INTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run, as plain values that another process can take.

    Attributes
    ----------
    source : str
        Name or path of the scenario.
    settings : tuple of str
        ``PATH=VALUE`` each.
    name : str
        Which scenario of the file.
    seed : int
        Seed of the run.
    folder : pathlib.Path or None
        Empty folder for the result's files.
    has_parquet : bool
        Whether to write Parquet too.
    has_figures : bool
        Whether to draw what only this run has: its links and the wiring of its machine.
    """

    source: str
    settings: tuple[str, ...]
    name: str
    seed: int
    folder: Path | None = None
    has_parquet: bool = False
    has_figures: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What is left of a run.

    Attributes
    ----------
    outcome : Outcome
        Figures, and what tables and plots need.
    n_probes : int
        Runs of the search; 0 without one.
    is_met : bool
        Whether the goal of the search was met; true without one.
    hot_links : DataFrame or None
        The links that it used most.
    """

    outcome: Outcome
    n_probes: int = 0
    is_met: bool = True
    hot_links: pd.DataFrame | None = None


class Listener(Protocol):
    """Is told how far the runs are."""

    def begin(self, name: str) -> None:
        """Hear that a run starts."""

    def advance(self, name: str, *, done_frac: float | None, text: str) -> None:
        """Hear how far a run is; without a fraction nobody knows."""

    def finish(self, name: str, *, text: str) -> None:
        """Hear that a run is done."""


def load_runs(source: str, *, settings: Sequence[str]) -> dict[str, Scenario]:
    """Return the scenarios of a file by name, the base first.

    Parameters
    ----------
    source : str
        Name or path of the scenario.
    settings : sequence of str
        ``PATH=VALUE`` each.

    Returns
    -------
    dict of str to Scenario
        A base that a variant repeats without a change is left out: the variant is then
        the name that the file gives it.
    """
    overrides = dict(parse_setting(text) for text in settings)
    base = load_scenario(source, overrides=overrides)
    variants = dict(base.variants)
    if any(variant.document == base.document for variant in variants.values()):
        return variants
    return {base.name: base, **variants}


def n_cpus() -> int:
    """Return the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_job(job: Job, *, listener: Listener) -> Finished:
    """Simulate a scenario, search included, and write its files.

    Parameters
    ----------
    job : Job
        What to run.
    listener : Listener
        Is told how far the run is.

    Returns
    -------
    Finished
        Without the records of the run.
    """
    scenario = load_runs(job.source, settings=job.settings)[job.name]
    listener.begin(job.name)
    probes: tuple[Probe, ...] = ()
    is_met = True
    if scenario.document.workload.search is None:
        result = _simulate(scenario, job=job, listener=listener)
    else:
        report = _SearchReport(scenario, name=job.name, listener=listener)
        point = find_operating_point(
            scenario,
            seed=job.seed,
            progress=report.after_run,
            run_progress=report.during_run,
        )
        result, probes, is_met = point.result, point.probes, point.is_met
    if job.folder is not None:
        fill_folder(result, folder=job.folder, parquet=job.has_parquet, probes=probes)
        if job.has_figures:
            _save_figures(result, folder=job.folder / "figures")
    listener.finish(job.name, text=_closing_words(result, n_probes=len(probes), is_met=is_met))
    return Finished(
        outcome=outcome_of(result),
        n_probes=len(probes),
        is_met=is_met,
        hot_links=hot_links_of(result),
    )


def _save_figures(result: Result, *, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, figure in draw_fabric(result).items():
        save_figure(figure, path=folder / f"{name}.svg")


def run_jobs(jobs: Sequence[Job], *, n_processes: int, listener: Listener) -> dict[str, Finished]:
    """Run several scenarios; the first error ends all of them.

    Parameters
    ----------
    jobs : sequence of Job
        What to run.
    n_processes : int
        Processes side by side; with 1, everything runs in this one.
    listener : Listener
        Is told how far the runs are.

    Returns
    -------
    dict of str to Finished
        By name, in the order of the jobs. It does not depend on `n_processes`.
    """
    if min(n_processes, len(jobs)) <= 1:
        return {job.name: run_job(job, listener=listener) for job in jobs}
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        messages = manager.Queue()
        executor = ProcessPoolExecutor(min(n_processes, len(jobs)), mp_context=context)
        with _terminated_on_error(executor):
            futures = {executor.submit(_run_remote, job, messages): job.name for job in jobs}
            pending: set[Future[Finished]] = set(futures)
            while pending:
                done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                _pass_on(messages, listener)
                for future in done:
                    _check(future, name=futures[future])
        return {name: future.result() for future, name in futures.items()}


class _Sender:
    """Sends what a listener is told to another process."""

    def __init__(self, messages: Any) -> None:  # noqa: ANN401  a proxy without a type
        self._messages = messages

    def begin(self, name: str) -> None:
        self._messages.put(("begin", name, {}))

    def advance(self, name: str, *, done_frac: float | None, text: str) -> None:
        self._messages.put(("advance", name, {"done_frac": done_frac, "text": text}))

    def finish(self, name: str, *, text: str) -> None:
        self._messages.put(("finish", name, {"text": text}))


def _run_remote(job: Job, messages: Any) -> Finished:  # noqa: ANN401  a proxy without a type
    return run_job(job, listener=_Sender(messages))


def _pass_on(messages: Any, listener: Listener) -> None:  # noqa: ANN401  a proxy without a type
    with contextlib.suppress(queues.Empty):
        while True:
            what, name, details = messages.get_nowait()
            getattr(listener, what)(name, **details)


def _check(future: Future[Finished], *, name: str) -> None:
    try:
        future.result()
    except BrokenProcessPool as error:
        raise _DeadProcessError(
            f"{name}: its process died, perhaps for want of memory; expected it to finish;"
            " try --jobs 1"
        ) from error


@contextlib.contextmanager
def _terminated_on_error(executor: ProcessPoolExecutor) -> Iterator[None]:
    """End the processes of an executor at once if what is inside fails or is interrupted."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    executor.shutdown()


def _simulate(scenario: Scenario, *, job: Job, listener: Listener) -> Result:
    share = _share_done(scenario.document)

    def progress(simulated_s: float, n_ended: int) -> None:
        text = f"{simulated_s:.1f} s simulated, {n_ended:,} requests done"
        listener.advance(job.name, done_frac=share(simulated_s, n_ended), text=text)

    return simulate(scenario, seed=job.seed, progress=progress)


def _share_done(document: ScenarioDocument) -> Callable[[float, int], float | None]:
    """Return how far a run is, from its simulated time and the requests that ended."""
    workload = document.workload
    measurement = workload.measurement
    if measurement.window_s is not None:
        end_s = (measurement.warm_up_s or 0.0) + measurement.window_s
        return lambda simulated_s, _: min(simulated_s / end_s, 1.0)
    if workload.requests is None:
        return lambda _, __: None
    n_measured = workload.requests * (1 - measurement.warm_up_requests_frac)
    return lambda _, n_ended: min(n_ended / n_measured, 1.0)


class _SearchReport:
    """Tells a listener how far a search and its present run are."""

    def __init__(self, scenario: Scenario, *, name: str, listener: Listener) -> None:
        search = scenario.document.workload.search
        self._n_most = search.max_runs if search else 1
        self._share = _share_done(scenario.document)
        self._name = name
        self._listener = listener
        self._n_done = 0
        self._last = ""

    def after_run(self, probe: Probe) -> None:
        """Tell what a run of the search found."""
        self._n_done += 1
        self._last = (
            f"; last: rate x {probe.rate_scale:.4g},"
            f" {probe.interactivity_tokens_per_s:.4g} tokens/s for the median user"
        )
        self._tell(0.0, "done")

    def during_run(self, simulated_s: float, n_ended: int) -> None:
        """Tell how far the present run is."""
        share = self._share(simulated_s, n_ended) or 0.0
        self._tell(share, f"{simulated_s:.1f} s simulated")

    def _tell(self, share: float, words: str) -> None:
        text = f"run {self._n_done + 1} of at most {self._n_most}: {words}{self._last}"
        done_frac = min((self._n_done + share) / self._n_most, 1.0)
        self._listener.advance(self._name, done_frac=done_frac, text=text)


def _closing_words(result: Result, *, n_probes: int, is_met: bool) -> str:
    figures: Mapping[str, float] = result.summary
    words = [f"{figures['n_done']:,.0f} of {figures['n_requests']:,.0f} measured requests done"]
    if n_probes:
        words.append(f"{n_probes} runs, goal {'met' if is_met else 'not met'}")
    return ", ".join(words)
