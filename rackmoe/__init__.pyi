from rackmoe.errors import (
    CapacityError,
    ConfigError,
    InvariantError,
    RackmoeError,
    TraceError,
)
from rackmoe.hardware.profile import (
    load_machine,
)
from rackmoe.metrics.catalog import (
    define_metric,
)
from rackmoe.model.config import (
    load_model,
)
from rackmoe.report.comparison import (
    compare_table,
)
from rackmoe.report.files import (
    write_result,
)
from rackmoe.report.plots import (
    plot_breakdown,
    plot_comparison,
    plot_expert_load,
    plot_latencies,
)
from rackmoe.scenario.resolved import (
    Scenario,
    load_scenario,
)
from rackmoe.simulation import (
    Result,
    simulate,
)
from rackmoe.study.search import (
    find_operating_point,
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

__version__: str
