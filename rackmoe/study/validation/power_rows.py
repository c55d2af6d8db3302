"""What a row of measured or published power asks of the simulator."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.power.parts import PartPowers, RackUtilization, part_powers
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.study.validation.points_csv import PointColumns, read_points

__all__ = [
    "CONSTANTS",
    "INPUT",
    "NEW",
    "NO_POWER",
    "PowerRow",
    "constant_of",
    "power_document",
    "read_power_points",
]

INPUT: Final = "input"
"""Constants and idle readings that the profiles were written with, so no test of them."""
NEW: Final = "held out"
"""Measurements that no constant was fitted to."""
NO_POWER: Final = "not a power"
"""Rows about something else."""

_COLUMNS: Final = PointColumns(
    required=("id", "trust", "hardware", "n_gpus", "model", "mode", "metric", "value", "unit"),
    numeric=frozenset({"n_gpus", "value", "load", "osl", "tpot_ms"}),
    unbounded=frozenset(),
    filled=frozenset({"id", "hardware", "mode", "metric", "value", "unit"}),
    example="scenarios/calibration/power_points.csv",
)
_SERVING: Final = "agg, steady state"
_BACKEND: Final = "vllm-2026h1"
# Models of the measured engine by what rackmoe calls them; DeepSeek-V3.1 is built like V3.
_MODELS: Mapping[str, str] = MappingProxyType(
    {
        "DeepSeek-R1-0528": "deepseek-r1",
        "DeepSeek-V3.1": "deepseek-v3",
        "gpt-oss-120b": "gpt-oss-120b",
        "Mixtral-8x7B-Instruct": "mixtral-8x7b",
    }
)
_WEIGHTS: Mapping[str, str] = MappingProxyType({"fp8": "fp8", "mxfp4": "mxfp4", "BF16": "bf16"})
# The source gives outputs only; prompts of both data sets are short. Assumed.
_PROMPT_TOKENS: Final = 256
# The likely layout of the DeepSeek rows, as their notes say: attention by data, experts spread.
_DATA_PARALLEL: Final = "DeepSeek"
_FIRST_NEW_VINTAGE: Final = "2026-08"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRow:
    """One row of a file of power points.

    Attributes
    ----------
    cells : mapping of str to str
        The cells by column.
    """

    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """Return a cell; empty where the source does not say."""
        return self.cells.get(column, "")

    def number(self, column: str) -> float:
        """Return a cell as a number; 0 where the source does not say."""
        return float(self.text(column) or 0.0)

    @property
    def family(self) -> str:
        """What kind of power the row is about."""
        mode, unit = self.text("mode"), self.text("unit")
        if mode == _SERVING:
            return "GPU energy per request" if unit == "J/request" else "GPU board, serving"
        if mode.startswith("MLPerf"):
            return "node at the wall, MLPerf"
        if mode.startswith("idle"):
            return "GPU board, idle" if unit == "W/GPU" else "node at the wall, idle"
        if mode in CONSTANTS:
            return mode
        return "GPU board, serving"

    @property
    def role(self) -> str:
        """`INPUT`, `NEW` or `NO_POWER`."""
        mode = self.text("mode")
        if mode == "cost constant":
            return NO_POWER
        return INPUT if mode in CONSTANTS or mode.startswith("idle") else NEW


def read_power_points(path: str | Path) -> tuple[PowerRow, ...]:
    """Return the rows of a file of power points.

    Parameters
    ----------
    path : str or pathlib.Path
        A CSV file with the columns of ``scenarios/calibration/power_points.csv``.

    Returns
    -------
    tuple of PowerRow
        In the order of the file.

    Raises
    ------
    ConfigError
        If the file is damaged, as `read_points` says.
    """
    return tuple(PowerRow(cells=cells) for cells in read_points(path, columns=_COLUMNS))


CONSTANTS: Final = ("limit", "provisioned constant", "component model constant", "cost constant")
"""Modes of rows that a data sheet or a price list says, not a meter."""


def constant_of(row: PowerRow, *, machine: Machine) -> float:
    """Return what the machine's profile says where a row needs no simulation.

    Parameters
    ----------
    row : PowerRow
        A row about a limit, a constant or an idle machine.
    machine : Machine
        Its machine.

    Returns
    -------
    float
        In the unit of the row: watts for most; a pure number for a PUE.

    Raises
    ------
    ConfigError
        If the profile has no such value.
    """
    mode = row.text("mode")
    if mode == "limit":
        return machine.gpu.max_power_w
    if mode == "provisioned constant":
        facility = machine.power.facility
        if row.text("source_date") >= _FIRST_NEW_VINTAGE:
            return facility.all_in_power_w_per_gpu
        return facility.all_in_utility_power_w_per_gpu
    if mode.startswith("idle"):
        return machine.gpu.idle_power_w if row.text("unit") == "W/GPU" else _idle_node_w(machine)
    for word, value in _PARTS.items():
        if word in row.text("metric"):
            return value(machine)
    raise ConfigError(
        f"{row.text('id')}: metric: '{row.text('metric')}'; expected one about "
        f"{', '.join(_PARTS)}; no value of a profile compares"
    )


def _idle_node_w(machine: Machine) -> float:
    return float(_idle_parts(machine).it_power_w)


def _idle_parts(machine: Machine) -> PartPowers:
    return part_powers(
        machine,
        n_gpus=machine.host.gpus_per_node,
        gpu_w=machine.gpu.idle_power_w,
        utilization=RackUtilization(),
    )


def _idle_rest_w(machine: Machine) -> float:
    parts = _idle_parts(machine)
    return float(parts.cpu_w + parts.nic_w + parts.switch_w + parts.fixed_w)


_PARTS: Mapping[str, Callable[[Machine], float]] = MappingProxyType(
    {
        "PUE": lambda machine: machine.power.facility.pue,
        "switch tray": lambda machine: (
            machine.power.switch_chip_max_power_w * machine.scale_up.chips_per_tray
        ),
        "auxiliary": lambda machine: machine.power.node_fixed_power_w,
        "fan": lambda machine: machine.power.fan_max_power_w,
        "non-GPU DC load": _idle_rest_w,
        "scale-out network": lambda machine: (
            machine.power.facility.fabric_power_w_per_gpu * machine.scale_up.domain_gpus
        ),
    }
)


def power_document(row: PowerRow) -> ScenarioDocument:
    """Return the scenario of a row that a serving engine was measured in.

    The engine runs its mean number of sequences in their stationary state. The file has no
    prompt lengths: short prompts are assumed, computed by nobody, so that GPUs only decode.
    DeepSeek models run attention by data, others by tensors, over all GPUs of the row.

    Parameters
    ----------
    row : PowerRow
        The row.

    Returns
    -------
    ScenarioDocument
        By these rules.

    Raises
    ------
    ConfigError
        If the row has no such scenario; the message says why.
    """
    name, model = row.text("id"), row.text("model")
    if row.text("mode") != _SERVING:
        raise ConfigError(
            f"{name}: mode: '{row.text('mode')}' of {model or 'no model'}; expected "
            f"'{_SERVING}' with its mean sequences; its lengths and loads are not in the file"
        )
    if model not in _MODELS:
        raise ConfigError(
            f"{name}: model: '{model}'; expected one of {', '.join(_MODELS)}; "
            "no such model is described"
        )
    n_gpus, users = int(row.number("n_gpus")), round(row.number("load"))
    groups = n_gpus if model.startswith(_DATA_PARALLEL) else 1
    tree = {
        "schema": "rackmoe/scenario/1",
        "title": name,
        "backend": _BACKEND,
        "hardware": {"profile": row.text("hardware"), "nodes": 1},
        "model": {"name": _MODELS[model], "weights": _WEIGHTS.get(row.text("weights_dtype"))},
        "deployment": {
            "aggregated": {
                "tp": n_gpus // groups,
                "attention_dp": groups,
                "ep": groups,
                "max_batch_per_rank": -(-users // groups),
            }
        },
        "workload": {
            "arrivals": {"closed_loop": users},
            "requests": users + 1,
            "lengths": {
                "input": _PROMPT_TOKENS,
                "output": int(row.number("osl")),
                "is_staggered": True,
            },
            "routing": {"generator": "deepseek_chat"},
            "is_prefilled": True,
            "measurement": {"step_tolerance": 0.03},
        },
    }
    return ScenarioDocument.model_validate_json(json.dumps(tree))
