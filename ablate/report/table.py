"""A table: its cells, and how Markdown and LaTeX write it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from ablate.report import escape


@dataclass(frozen=True)
class TableCell:
    """What a cell shows, and the number it sorts by if that is not its text."""

    text: str
    number: float | None = None

    @property
    def key(self) -> str:
        """The number in a form that a sorting script reads; empty without one."""
        return "" if self.number is None or math.isnan(self.number) else repr(float(self.number))


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Of its files.
        title: Over it.
        heads: Of its columns.
        rows: Its cells.
        data: All of it, for the CSV file.
        note: Below it.
        picture: The index of the column drawn in text, in which spaces matter, or None.
    """

    name: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    data: pd.DataFrame
    note: str = ""
    picture: int | None = None
    numeric: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        columns = range(len(self.heads))
        held = {i for i in columns if any(row[i].number is not None for row in self.rows)}
        object.__setattr__(self, "numeric", frozenset(held))


def latex(table: Table) -> str:
    """Write a table that a LaTeX document can input. It needs only the package booktabs."""
    kinds = "".join("r" if i in table.numeric else "l" for i in range(len(table.heads)))
    lines = [_tex_row(table.heads)]
    lines += [_tex_row([cell.text for cell in row]) for row in table.rows]
    head, *body = lines
    return "\n".join(
        [
            f"% {escape.plain(table.title)}; \\usepackage{{booktabs}}",
            f"\\begin{{tabular}}{{{kinds}}}",
            "\\toprule",
            head,
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def _tex_row(texts: Iterable[str]) -> str:
    return " & ".join(escape.latex(text) for text in texts) + r" \\"


def markdown(table: Table, most: int | None = None) -> str:
    """Write a table for Markdown, up to a number of rows."""
    rules = ["---:" if i in table.numeric else "---" for i in range(len(table.heads))]
    rows = [[escape.markdown(cell.text) for cell in row] for row in table.rows[:most]]
    heads = [escape.markdown(head) for head in table.heads]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *rows])
