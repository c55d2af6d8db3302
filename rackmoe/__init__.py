"""Rack-scale cluster simulator for mixture-of-experts inference."""

import importlib
from typing import Any

from rackmoe.errors import (
    CapacityError,
    ConfigError,
    InvariantError,
    RackmoeError,
    TraceError,
)

__all__ = [
    "CapacityError",
    "ConfigError",
    "InvariantError",
    "RackmoeError",
    "Result",
    "Scenario",
    "TraceError",
    "compare_table",
    "define_metric",
    "find_operating_point",
    "load_machine",
    "load_model",
    "load_scenario",
    "plot_breakdown",
    "plot_comparison",
    "plot_expert_load",
    "plot_latencies",
    "simulate",
    "write_result",
]

__version__ = "0.1.0"

# Where these names are (`__init__.pyi` says the same to type checkers); each is loaded when it
# is first used, so that `import rackmoe` and the command line start at once.
_HOMES = {
    "Result": "rackmoe.simulation",
    "Scenario": "rackmoe.scenario.resolved",
    "compare_table": "rackmoe.report.comparison",
    "define_metric": "rackmoe.metrics.catalog",
    "find_operating_point": "rackmoe.study.search",
    "load_machine": "rackmoe.hardware.profile",
    "load_model": "rackmoe.model.config",
    "load_scenario": "rackmoe.scenario.resolved",
    "plot_breakdown": "rackmoe.report.plots",
    "plot_comparison": "rackmoe.report.plots",
    "plot_expert_load": "rackmoe.report.plots",
    "plot_latencies": "rackmoe.report.plots",
    "simulate": "rackmoe.simulation",
    "write_result": "rackmoe.report.files",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  functions and classes of many types
    """Return a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rackmoe' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
