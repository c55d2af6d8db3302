"""Parameter sets of the routing generator in files, beside those that are shipped."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rackmoe.errors import ConfigError
from rackmoe.routing.families import RoutingStatistics, routing_statistics
from rackmoe.schema.documents import Document, load_document

__all__ = ["find_statistics", "save_statistics"]

_SCHEMA = "rackmoe/routing_statistics/1"
_SUFFIXES = (".yaml", ".yml")

Spread = Annotated[float, Field(ge=0, le=8)]
Chance = Annotated[float, Field(ge=0, lt=1)]


class _StatisticsDocument(Document):
    """A parameter set in a file; `RoutingStatistics` says what each value is."""

    schema_id: Literal["rackmoe/routing_statistics/1"] = Field(alias="schema")
    name: Annotated[str, Field(min_length=1)]
    sigma_mean: Spread
    sigma_sd: Spread
    sharpening: Spread = 1.0
    request_sd: Spread
    token_sd: Spread
    memory_tokens: Annotated[float, Field(gt=0)]
    reuse: Chance
    affinity: Chance = 0.0
    step_jitter: Spread = 0.10
    source: Annotated[str, Field(min_length=1)]


def find_statistics(name: str, *, place: str = "workload.routing.generator") -> RoutingStatistics:
    """Return a parameter set by its name, or from a YAML file.

    Parameters
    ----------
    name : str
        Name of a shipped set, or path of a file that `save_statistics` wrote.
    place : str
        Key that the user wrote, for the message.

    Returns
    -------
    RoutingStatistics
        The set.

    Raises
    ------
    ConfigError
        If there is none of this name, or with every problem of the file.
    """
    if Path(name).suffix not in _SUFFIXES:
        return routing_statistics(name, place=place)
    if not Path(name).is_file():
        raise ConfigError(
            f"{place}: {name}: no such file; expected a parameter set; check the path"
        )
    values = load_document(name, model=_StatisticsDocument).model_dump(exclude={"schema_id"})
    return RoutingStatistics(**values, power_law=None)


def save_statistics(statistics: RoutingStatistics, *, path: Path | str) -> None:
    """Write a parameter set that scenarios can name as their generator.

    Parameters
    ----------
    statistics : RoutingStatistics
        The set, of log-normal popularity.
    path : path
        A file that ends in ``.yaml``.

    Raises
    ------
    ConfigError
        If the file would not be read as a parameter set.
    """
    target = Path(path)
    if target.suffix not in _SUFFIXES or statistics.power_law is not None:
        raise ConfigError(
            f"{target}: not a file of a log-normal parameter set; expected a name that ends in "
            ".yaml; choose another"
        )
    values = {
        field.name: getattr(statistics, field.name)
        for field in fields(statistics)
        if field.name != "power_law"
    }
    # a text in JSON is one in YAML too, however odd its characters are
    lines = [f"{key}: {json.dumps(value)}" for key, value in values.items()]
    target.write_text("\n".join([f"schema: {_SCHEMA}", *lines, ""]), encoding="utf-8")
