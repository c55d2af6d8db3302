"""Whether an installation works: packages, shipped files, compiled kernels, one small run."""

import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import rackmoe
from rackmoe.backend.profile import load_backend
from rackmoe.errors import RackmoeError
from rackmoe.hardware.profile import load_profile, profile_names
from rackmoe.model.config import load_model
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import load_scenario, resolve_scenario
from rackmoe.schema.documents import parse_document
from rackmoe.schema.shipped import shipped_names
from rackmoe.simulation import simulate

__all__ = ["Check", "check_installation", "self_test"]

_PACKAGES = (
    *("numpy", "numba", "pandas", "pydantic", "simpy", "networkx", "matplotlib", "scipy"),
    *("click", "rich", "pyyaml"),
)
_OPTIONAL = ("pyarrow",)
_PACKAGE_FOLDER = Path(rackmoe.__file__).parent
_TINY = """\
schema: rackmoe/scenario/1
title: self-test
hardware: {profile: hgx_h200, nodes: 1}
model: {name: gpt-oss-20b}
backend: ideal
deployment: {aggregated: {ep: 4, attention_dp: 4, max_batch_per_rank: 4}}
workload:
  arrivals: {closed_loop: 4}
  lengths: {input: 64, output: 8}
  requests: 8
"""
_TINY_REQUESTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at and how it is.

    Attributes
    ----------
    name : str
        What was looked at.
    is_good : bool
        Whether it is as it should be.
    detail : str
        A version, a number, or what is wrong.
    """

    name: str
    is_good: bool
    detail: str


def check_installation(*, has_run: bool = True) -> Iterator[Check]:
    """Look at everything that rackmoe needs, one thing after the other.

    Parameters
    ----------
    has_run : bool, optional
        Whether to simulate a small scenario too.

    Yields
    ------
    Check
        Good or bad; none of them raises.
    """
    detail = f"{rackmoe.__version__} in {_PACKAGE_FOLDER}"
    yield Check(name="rackmoe", is_good=True, detail=detail)
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Check(name="python", is_good=True, detail=python)
    yield from _packages()
    yield _all_load("machines", profile_names(), load_profile)
    yield _all_load("models", shipped_names("scenarios/models", suffix=".json"), load_model)
    yield _all_load("backends", shipped_names("scenarios/backends"), load_backend)
    names = (*shipped_names("scenarios"), *shipped_names("scenarios/published"))
    yield _all_load("scenarios", names, load_scenario)
    yield _kernel_cache()
    if has_run:
        yield _run()


def self_test() -> dict[str, float]:
    """Simulate a small scenario and return its figures.

    Returns
    -------
    dict of str to float
        The summary of the run.
    """
    document = parse_document(_TINY, model=ScenarioDocument, place="self-test")
    return dict(simulate(resolve_scenario(document, name="self-test")).summary)


def _packages() -> Iterator[Check]:
    for name in (*_PACKAGES, *_OPTIONAL):
        try:
            yield Check(name=name, is_good=True, detail=importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            is_optional = name in _OPTIONAL
            detail = "not installed" + (", optional" if is_optional else "")
            yield Check(name=name, is_good=is_optional, detail=detail)


def _all_load(name: str, names: tuple[str, ...], load: Callable[[str], object]) -> Check:
    problems = []
    for one in names:
        try:
            load(one)
        except RackmoeError as error:
            problems.append(str(error))
    detail = "; ".join(problems) if problems else f"{len(names)} shipped, all load"
    return Check(name=name, is_good=bool(names) and not problems, detail=detail)


def _kernel_cache() -> Check:
    """Return whether compiled kernels can be kept, so that only the first run waits for them."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or _PACKAGE_FOLDER / "__pycache__")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        detail = f"{folder}: {error.strerror}; set NUMBA_CACHE_DIR to a folder of your own"
        return Check(name="kernel cache", is_good=False, detail=detail)
    return Check(name="kernel cache", is_good=True, detail=f"{folder} can be written")


def _run() -> Check:
    try:
        figures = self_test()
    except RackmoeError as error:
        return Check(name="self-test", is_good=False, detail=str(error))
    is_good = figures["n_done"] == _TINY_REQUESTS
    detail = f"{figures['n_done']:.0f} of {_TINY_REQUESTS} requests done"
    return Check(name="self-test", is_good=is_good, detail=detail)
