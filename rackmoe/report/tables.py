"""How a DataFrame or a mapping is written: as a table, JSON, CSV or Markdown."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rackmoe.report.numbers import (
    header_of,
    show_number,
    show_percent,
    show_quantity,
)
from rackmoe.report.plain import json_text
from rackmoe.report.text import TableFormat, TextTable

__all__ = ["mapping_frame", "render_frame", "render_mapping", "text_table"]


def text_table(
    frame: pd.DataFrame,
    *,
    title: str = "",
    headers: Mapping[str, str] | None = None,
    has_prefixes: bool = False,
    percents: Mapping[str, str] | None = None,
) -> TextTable:
    """Return a table with rounded numbers and with units in its headings.

    Parameters
    ----------
    frame : DataFrame
        The table; its index is left out.
    title : str, optional
        A line above it.
    headers : mapping of str to str, optional
        Headings of columns whose names do not say enough.
    has_prefixes : bool, optional
        Whether each value has the unit that reads best, such as ``14.3 TB``, instead of
        one unit in the heading.
    percents : mapping of str to str, optional
        Columns of fractions to show in percent, with ``+`` where a sign is always shown.

    Returns
    -------
    TextTable
        Its cells as text.
    """
    chosen = headers or {}
    names = [str(name) for name in frame.columns]
    columns = [frame.iloc[:, position].tolist() for position in range(len(names))]
    shares = percents or {}
    cells = [
        [
            show_percent(value, sign=shares[name])
            if name in shares
            else show_quantity(name, value=value)
            if has_prefixes
            else show_number(value)
            for value in one
        ]
        for name, one in zip(names, columns, strict=True)
    ]
    head = [chosen.get(name, header_of(name)) for name in names]
    return TextTable(
        title=title,
        head=tuple(one.partition(" [")[0] if has_prefixes else one for one in head),
        rows=tuple(zip(*cells, strict=True)),
        is_numeric=tuple(_is_numeric(column) for column in columns),
    )


def render_frame(
    frame: pd.DataFrame,
    *,
    form: TableFormat = TableFormat.TABLE,
    title: str = "",
    headers: Mapping[str, str] | None = None,
) -> str:
    """Return a table as text.

    Parameters
    ----------
    frame : DataFrame
        The table; its index is left out.
    form : TableFormat, optional
        ``json`` and ``csv`` hold the names and values as they are, ``table`` and ``md``
        headings with units and rounded numbers.
    title : str, optional
        A line above a ``table`` or ``md``.
    headers : mapping of str to str, optional
        Headings of columns whose names do not say enough.

    Returns
    -------
    str
        The text, with a newline at the end.
    """
    if form is TableFormat.JSON:
        return json_text(frame, is_sorted=False)
    if form is TableFormat.CSV:
        return frame.to_csv(index=False, lineterminator="\n")
    table = text_table(frame, title=title, headers=headers)
    return table.markdown() if form is TableFormat.MD else table.aligned()


def render_mapping(
    values: Mapping[str, object], *, form: TableFormat = TableFormat.TABLE, title: str = ""
) -> str:
    """Return named values as text.

    Parameters
    ----------
    values : mapping of str to object
        Names with their units as suffix, and values in these units; mappings inside
        mappings are flattened to dotted paths, but for ``json``.
    form : TableFormat, optional
        As `render_frame`.
    title : str, optional
        A line above a ``table`` or ``md``.

    Returns
    -------
    str
        The text, with a newline at the end.
    """
    if form is TableFormat.JSON:
        return json_text(values, is_sorted=False)
    if form is TableFormat.CSV:
        flat = _flat(values)
        frame = pd.DataFrame({"name": list(flat), "value": list(flat.values())}, dtype=object)
        return render_frame(frame, form=form)
    return render_frame(mapping_frame(values), form=form, title=title)


def mapping_frame(values: Mapping[str, object]) -> pd.DataFrame:
    """Return named values as a table for people.

    Parameters
    ----------
    values : mapping of str to object
        As `render_mapping`.

    Returns
    -------
    DataFrame
        Columns ``name`` (a dotted path) and ``value`` (a text with its unit).
    """
    flat = _flat(values)
    shown = [show_quantity(_unit_name(name), value=value) for name, value in flat.items()]
    return pd.DataFrame({"name": list(flat), "value": shown}, dtype=object)


def _flat(values: Mapping[str, object], *, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        here = f"{path}{name}"
        if isinstance(value, Mapping):
            found |= _flat(value, path=f"{here}.")
        elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            found |= _flat({str(i): one for i, one in enumerate(value)}, path=f"{here}.")
        else:
            found[here] = value
    return found


def _unit_name(path: str) -> str:
    """Return the part of a path that carries the unit: ``dense_flop_per_s`` of ``....fp8``."""
    parts = path.split(".")
    return next((part for part in reversed(parts) if header_of(part).endswith("]")), parts[-1])


def _is_numeric(column: Sequence[object]) -> bool:
    given = [value for value in column if value is not None and value != ""]
    return bool(given) and all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in given
    )
