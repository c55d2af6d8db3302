"""How the requests of several applications become one table."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.serving.prefixes import join_prefixes
from rackmoe.serving.workload import RequestTable

__all__ = ["merge_applications"]

IntArray = NDArray[np.int64]

_COLUMNS = ("arrival_s", "input_tokens", "output_tokens", "trace_row", "delay_s")


def merge_applications(tables: Mapping[str, RequestTable]) -> RequestTable:
    """Return the requests of several applications in one table.

    Parameters
    ----------
    tables : mapping of str to RequestTable
        Requests by application.

    Returns
    -------
    RequestTable
        In the order of arrival; requests whose time the run decides stand right after
        the ones of their application that stood before them. Applications share no
        prompt block; domains of equal name are one.

    Raises
    ------
    ConfigError
        If there is no application.
    """
    if not tables:
        raise ConfigError("workload.applications: none; expected at least one; add it")
    parts = list(tables.values())
    sizes = [len(part) for part in parts]
    first_row = np.cumsum([0, *sizes[:-1]])
    domain_names = tuple(dict.fromkeys(name for part in parts for name in part.domain_names))
    previous = np.concatenate(
        [
            np.where(part.previous < 0, -1, part.previous + start)
            for part, start in zip(parts, first_row, strict=True)
        ]
    )
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    order = np.argsort(_sort_keys(parts), kind="stable")
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    before = previous[order]
    prefixes = join_prefixes([part.prefixes for part in parts], n_requests=sizes)
    return RequestTable(
        **{name: column[order] for name, column in columns.items()},
        domain=np.concatenate([_domains(part, domain_names) for part in parts])[order],
        domain_names=domain_names,
        application=np.repeat(np.arange(len(parts)), sizes)[order],
        application_names=tuple(tables),
        prefixes=None if prefixes is None else prefixes.take(order),
        previous=np.where(before < 0, -1, place[before]),
        n_skipped=sum(part.n_skipped for part in parts),
    )


def _sort_keys(parts: list[RequestTable]) -> NDArray[np.float64]:
    """Return arrival times, where there is none the latest one before."""
    keys = [
        np.maximum.accumulate(np.nan_to_num(part.arrival_s, nan=0.0), axis=0) for part in parts
    ]
    return np.concatenate(keys)


def _domains(part: RequestTable, names: tuple[str, ...]) -> IntArray:
    codes = np.array([*(names.index(name) for name in part.domain_names), -1], np.int64)
    return codes[part.domain]
