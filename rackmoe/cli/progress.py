"""What a person sees while runs last: bars on a terminal, a line at start and end elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from rackmoe.cli.terminal import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["RowTally", "RunBars", "RunLines", "run_listener"]

_REFRESH_PER_S = 4.0
_TENTHS = 10


class RunLines:
    """Write a line when a run starts and one when it is done."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave what was written."""

    def begin(self, name: str) -> None:
        """Note that a run starts."""
        self._started[name] = time.monotonic()
        click.echo(f"{name}: started", err=True)

    def advance(self, name: str, *, done_frac: float | None, text: str) -> None:
        """Say nothing: lines are for what lasts."""

    def finish(self, name: str, *, text: str) -> None:
        """Say that a run is done, and how long it took."""
        click.echo(f"{name}: {text}{_after(self._started, name)}", err=True)


class RunBars:
    """Draw a bar for each run; when a run is done, a line takes its place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False, markup=False)
        self._progress: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
            refresh_per_second=_REFRESH_PER_S,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, name: str) -> None:
        """Draw the bar of a run."""
        self._started[name] = time.monotonic()
        self._tasks[name] = self._progress.add_task(name, total=None, note="")

    def advance(self, name: str, *, done_frac: float | None, text: str) -> None:
        """Fill the bar of a run."""
        total = None if done_frac is None else 1.0
        self._progress.update(
            self._tasks[name], total=total, completed=done_frac or 0.0, note=text
        )

    def finish(self, name: str, *, text: str) -> None:
        """Put a line in the place of the bar."""
        self._progress.remove_task(self._tasks.pop(name))
        self._console.print(f"{name}: {text}{_after(self._started, name)}")


def run_listener() -> RunLines | RunBars:
    """Return bars where standard error is a terminal, lines elsewhere."""
    return RunBars() if is_terminal(err=True) else RunLines()


def _after(started: Mapping[str, float], name: str) -> str:
    return f", {time.monotonic() - started[name]:.1f} s" if name in started else ""


class RowTally:
    """Tell how many rows are done: a bar on a terminal, elsewhere a line at each tenth.

    Parameters
    ----------
    what : str
        What is counted, in the plural.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = time.monotonic()
        self._told = 0
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if is_terminal(err=True):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            console = Console(stderr=True, highlight=False, markup=False)
            columns = (self._what, BarColumn(bar_width=24), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            self._bar.start()
            self._bar.add_task(self._what, total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, n_done: int, n_all: int) -> None:
        """Note how many rows of how many are done."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=n_done, total=n_all)
            return
        tenth = _TENTHS * n_done // max(n_all, 1)
        if tenth > self._told:
            self._told = tenth
            passed_s = time.monotonic() - self._started
            click.echo(f"{n_done} of {n_all} {self._what}, {passed_s:.0f} s", err=True)
