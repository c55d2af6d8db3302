"""How cells become lines; needs no package, so that a command that lists starts at once."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ReportFormat", "TableFormat", "TextTable"]

_GAP = "  "


class TableFormat(StrEnum):
    """How a table is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MD = "md"


class ReportFormat(StrEnum):
    """How a report of several tables and figures is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MD = "md"
    HTML = "html"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A table whose numbers are rounded for people.

    Attributes
    ----------
    title : str
        A line above it; may be empty.
    head : tuple of str
        Heading of each column.
    rows : tuple of tuple of str
        Cells.
    is_numeric : tuple of bool
        Columns that are aligned to the right.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_numeric: tuple[bool, ...]

    def aligned(self) -> str:
        """Return the table as lines with aligned columns."""
        columns = range(len(self.head))
        widths = [max(len(line[i]) for line in (self.head, *self.rows)) for i in columns]
        rule = ["-" * width for width in widths]
        lines = [
            _GAP.join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, self.is_numeric, strict=True)
            ).rstrip()
            for line in (self.head, rule, *self.rows)
        ]
        return "\n".join([*([self.title] if self.title else []), *lines]) + "\n"

    def markdown(self) -> str:
        """Return the table in Markdown, its title as a paragraph."""
        rule = ["---:" if right else "---" for right in self.is_numeric]
        lines = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
            for line in (self.head, rule, *self.rows)
        ]
        return "\n".join([*([self.title, ""] if self.title else []), *lines]) + "\n"
