"""The pages of a report: HTML and Markdown, from templates."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ablate.report import cards, escape, forest, table, wording
from ablate.report.compare import Comparison
from ablate.report.explore import Exploration
from ablate.report.figures import Figure
from ablate.report.legend import legend
from ablate.report.provenance import Origin
from ablate.report.table import Table

MOST_ROWS = 500  # of a table on a page; its CSV file has all of them
_MOST_FINDINGS = 12  # sentences below the picture

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Report:
    """All parts of a report, ready to be written down.

    Attributes:
        comparison: The arms compared.
        exploration: What was found beside.
        origin: Where the runs come from.
        tables: By name.
        figures: In their order.
    """

    comparison: Comparison
    exploration: Exploration
    origin: Origin
    tables: Mapping[str, Table]
    figures: Sequence[Figure]


def html(report: Report) -> str:
    """Compose the HTML page: one file that holds everything."""
    jinja = _jinja(autoescape=True)
    jinja.filters |= {"plain": escape.plain, "inline": _inline, "data_uri": _data_uri}
    return jinja.get_template("report.html.j2").render(_content(report))


def markdown(report: Report) -> str:
    """Compose the Markdown page, which links the figures and tables beside it."""
    jinja = _jinja(autoescape=False)
    jinja.filters |= {"md": escape.markdown, "table": _markdown_table, "fence": _fence}
    return jinja.get_template("report.md.j2").render(_content(report))


def title(comparison: Comparison) -> str:
    """Name a report after its study, or after the folders of its runs."""
    studies = comparison.runs["study"].dropna().unique()
    if len(studies):
        return " and ".join(map(str, studies))
    places = dict.fromkeys(Path(path).parent.name for path in comparison.runs["path"])
    return " and ".join(name for name in places if name) or "runs"


def _content(report: Report) -> dict[str, object]:
    comparison = report.comparison
    return {
        "title": title(comparison),
        "question": comparison.asked.question or report.origin.differs,
        "differs": report.origin.differs if comparison.asked.question else "",
        "headline": wording.headline(comparison),
        "findings": wording.findings(comparison)[:_MOST_FINDINGS],
        "asked": bool(comparison.asked.question),
        "claimed": bool(comparison.claimed),
        "baseline": comparison.baseline,
        "lost": wording.lost(comparison),
        "panels": forest.panels(comparison),
        "cards": cards.cards(comparison, report.origin),
        "notes": comparison.notes,
        "tables": dict.fromkeys(("effects", "claims", "failures", "contrasts"))
        | dict(report.tables),
        "figures": report.figures,
        "effects_lack": comparison.effects_lack,
        "commands": report.origin.commands,
        "environment": report.origin.environment,
        "legend": legend(comparison, report.origin.selects),
        "runs": len(comparison.runs),
        "most_rows": MOST_ROWS,
    }


def _jinja(autoescape: bool) -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


# -- filters ---------------------------------------------------------------------------------------


def _inline(figure: Figure) -> str:
    """Prepare an SVG for a page: without its XML header, and as wide as the page allows."""
    svg = re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<!--.*?-->", "", figure.svg, flags=re.S)
    head, rest = svg.split(">", 1)
    points = re.search(r'\bwidth="([\d.]+)pt"', head)
    pixels = float(points[1]) * 4 / 3 if points else 0
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-labelledby="title-{figure.name}" width="{pixels:.0f}">{rest}'


def _data_uri(figure: Figure) -> str:
    """Return a figure's data as a link that needs no network."""
    text = escape.spreadsheet(figure.data).to_csv(index=False)
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _markdown_table(one: Table) -> str:
    return table.markdown(one, MOST_ROWS)


def _fence(lines: Sequence[str]) -> str:
    """Fence commands as code, with more backticks than they contain in a row."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}console", *(f"$ {escape.plain(line)}" for line in lines), fence])
