"""A report of several parts: as Markdown to paste, or as one HTML file that needs nothing else."""

import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from rackmoe.report.text import TextTable
from rackmoe.report.theme import figure_style

__all__ = ["TIP_MARK", "Section", "figure_svg", "html_page", "markdown_page"]

TIP_MARK = "tip:"
"""What an artist's URL starts with if the rest of it is shown while a pointer rests on it."""

_STYLE = """
:root { color-scheme: light; }
body { font: 14px/1.45 "DejaVu Sans", system-ui, sans-serif; color: #222; background: #fff;
  margin: 2rem auto; max-width: 1120px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem;
  border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
p { margin: .3rem 0 .7rem; max-width: 75ch; } p.lead { color: #555; }
table { border-collapse: collapse; margin: .4rem 0 1rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .2rem 0; }
th, td { padding: .18rem .6rem; border-bottom: 1px solid #e6e6e6; vertical-align: top;
  text-align: left; overflow-wrap: anywhere; }
th { border-bottom: 2px solid #999; vertical-align: bottom; overflow-wrap: normal; }
td.n, th.n { text-align: right; white-space: nowrap; }
tbody tr:hover { background: #f3f7fb; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }
details > summary { cursor: pointer; font-weight: 600; margin: .5rem 0; }
"""
_RIGHT = ' class="n"'
# Elements that matplotlib counts in every figure; nothing refers to them.
_COUNTED_ID = re.compile(r' id="[A-Za-z0-9]+_\d+"')
_TIP = re.compile(rf'<a xlink:href="{TIP_MARK}([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes
    ----------
    title : str
        Its heading; may be empty.
    words : tuple of str
        Paragraphs.
    figures : tuple of Figure
        Drawn one below the other.
    tables : tuple of TextTable
        Below the figures.
    is_folded : bool
        Whether a reader has to open it.
    """

    title: str
    words: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[TextTable, ...] = ()
    is_folded: bool = False


def html_page(title: str, *, lead: str, sections: Iterable[Section]) -> str:
    """Return a page that shows the same without a network, now and later.

    Parameters
    ----------
    title : str
        Heading of the page.
    lead : str
        A sentence below it.
    sections : iterable of Section
        Its parts.

    Returns
    -------
    str
        HTML with its style and figures inside, and no script; the same for equal parts.
    """
    body = "\n".join(_section(one) for one in sections)
    name = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{name}</h1>\n<p class="lead">{html.escape(lead)}</p>\n{body}\n</body>\n</html>\n'
    )


def markdown_page(title: str, *, lead: str, sections: Iterable[Section]) -> str:
    """Return tables with headings in Markdown, without figures.

    Parameters
    ----------
    title : str
        Heading of the page, at the third level so that it fits into a longer text.
    lead : str
        A sentence below it.
    sections : iterable of Section
        Its parts.

    Returns
    -------
    str
        Markdown with a newline at the end.
    """
    blocks = [f"### {title}", lead]
    for section in sections:
        blocks += [f"#### {section.title}"] if section.title else []
        blocks += [*section.words, *(table.markdown().rstrip() for table in section.tables)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def figure_svg(figure: Figure) -> str:
    """Return a figure as an SVG element.

    Parameters
    ----------
    figure : Figure
        A figure; an artist whose URL starts with `TIP_MARK` gets the rest of it as a tooltip.

    Returns
    -------
    str
        The element, the same for equal figures.
    """
    picture = io.StringIO()
    with figure_style():
        figure.savefig(
            picture,
            format="svg",
            metadata={"Creator": None, "Date": None, "Format": None, "Type": None},
            bbox_inches="tight",
        )
    text = picture.getvalue()
    element = _COUNTED_ID.sub("", text[text.index("<svg") :])
    return _TIP.sub(r"<g><title>\1</title>\2</g>", element)


def _section(section: Section) -> str:
    title = html.escape(section.title)
    parts = [f"<p>{html.escape(words)}</p>" for words in section.words]
    parts += [f'<div class="wide">{figure_svg(figure)}</div>' for figure in section.figures]
    parts += [_table(table) for table in section.tables]
    inside = "\n".join(parts)
    if section.is_folded:
        return f"<details>\n<summary>{title}</summary>\n{inside}\n</details>"
    return f"<section>\n{f'<h2>{title}</h2>' if title else ''}\n{inside}\n</section>"


def _table(table: TextTable) -> str:
    caption = f"<caption>{html.escape(table.title)}</caption>" if table.title else ""
    head = _line(table.head, table.is_numeric, tag="th")
    rows = "\n".join(_line(row, table.is_numeric, tag="td") for row in table.rows)
    return (
        f'<div class="wide"><table>{caption}\n<thead>{head}</thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _line(cells: Sequence[str], is_numeric: Sequence[bool], *, tag: str) -> str:
    inside = "".join(
        f"<{tag}{_RIGHT if right else ''}>{html.escape(cell)}</{tag}>"
        for cell, right in zip(cells, is_numeric, strict=True)
    )
    return f"<tr>{inside}</tr>"
