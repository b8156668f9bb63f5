"""The short version of a report, for an 80-column terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table as Drawn
from rich.text import Text

from ablate.report import escape, tables, text_forest, wording
from ablate.report.compare import Comparison
from ablate.report.result import Line
from ablate.report.table import Table, TableCell
from ablate.streams import encodable

_MOST_ROWS = 30
_WIDE = 100  # columns from which a terminal has room for pictures
_WIDTH = 14  # of a column's head
_NAME = 21  # columns that the name of an arm gets at least


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the question, arms, claims and verdict, and what weakens it.

    Args:
        comparison: What was compared.
        console: Where to.
    """

    def say(text: str, style: str = "") -> None:
        console.print(_text(text, console), style=style, highlight=False)

    if comparison.asked.question:
        say(comparison.asked.question, "bold")
    arms = comparison.foremost(_MOST_ROWS)
    lines = [line for arm, line in comparison.lines.items() if arm in arms]
    table = tables.compared(comparison, brief=True)
    kept = [row for arm, row in zip(comparison.lines, table.rows, strict=True) if arm in arms]
    claims = [line for _, line in comparison.claimed]
    shown = [_pictured(replace(table, rows=tuple(kept)), lines, console)]
    if claims:
        shown.append(_pictured(tables.claims(comparison, brief=True), claims, console))
    for one in shown:
        _show_table(one, console)
    for sentence in (comparison.choice(_MOST_ROWS).strip(), wording.verdict(comparison)):
        if sentence:
            say(sentence)
    for arm, how in comparison.asked.tuned.items():
        say(f"tuned: {arm}: {how}")
    for note in comparison.notes:
        say(f"note: {note}")
    legends = [text_forest.legend(one) for one in shown if one.picture is not None]
    for meaning in [*legends[-1:], *_meanings(comparison)]:
        say(meaning, "dim")


def _pictured(table: Table, lines: Sequence[Line], console: Console) -> Table:
    """Add a forest plot to a table if the terminal has the width and the characters."""
    room = console.width - _width(table, table.rows, len(table.heads)) - 1
    if console.width < _WIDE or encodable(text_forest.MARKS, console.encoding) != text_forest.MARKS:
        return table
    return text_forest.with_forest(table, lines, room) or table


def _meanings(comparison: Comparison) -> list[str]:
    """Explain the symbols in the tables, one line each."""
    claimed = [line for _, line in comparison.claimed]
    all_of = "all claims, and all else," if claimed else "all that is said"
    is_right = "are right" if claimed else "is right"
    found = [
        "±: 95 % interval over seeds alone",
        f"[ ]: wide enough that {all_of} {is_right} in 95 % of studies",
    ]
    if any(not math.isnan(line.margin) for line in claimed):
        found.append("δ: the smallest difference that matters; size open: it may be smaller than δ")
    return found


def _show_table(table: Table, console: Console) -> None:
    """Print a table, leaving out its last column, the cost, if that makes it fit.

    If the terminal is still too narrow, each row becomes a block of lines; no number is cut.
    """
    rows = table.rows
    for columns in (len(table.heads), len(table.heads) - 1):
        if _width(table, rows, columns) <= console.width:
            console.print(_drawn(table, rows, columns, console))
            return
    for row in rows:
        console.print(_text(row[0].text, console), style="bold", highlight=False)
        for head, cell in zip(table.heads[1:], row[1:], strict=True):
            if cell.text:
                told = Text("  ") + _text(f"{head}: {' '.join(cell.text.split())}", console)
                console.print(told, highlight=False, soft_wrap=True)


def _drawn(
    table: Table, rows: Sequence[tuple[TableCell, ...]], columns: int, console: Console
) -> Drawn:
    """Draw the first columns of some rows; only the first column wraps."""
    drawn = Drawn(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for i in range(columns):
        side: JustifyMethod = "right" if i in table.numeric else "left"
        head = _cell(table, i, _folded(table, i), console)
        drawn.add_column(head, justify=side, overflow="fold", no_wrap=i > 0)
    for row in rows:
        drawn.add_row(
            *(_cell(table, i, cell.text, console) for i, cell in enumerate(row[:columns]))
        )
    return drawn


def _cell(table: Table, column: int, text: str, console: Console) -> Text:
    return Text(text) if column == table.picture else _text(text, console)


def _width(table: Table, rows: Sequence[tuple[TableCell, ...]], columns: int) -> int:
    """Work out how wide a terminal the first columns need, with some room for the arms' names."""
    widest = [
        max(
            cell_len(line)
            for text in (_folded(table, i), *(row[i].text for row in rows))
            for line in text.split("\n")
        )
        for i in range(columns)
    ]
    return min(widest[0], _NAME) + sum(1 + width for width in widest[1:])


def _folded(table: Table, column: int) -> str:
    head = table.heads[column]
    return head if column == table.picture else "\n".join(textwrap.wrap(head, _WIDTH))


def _text(text: str, console: Console) -> Text:
    """Write text as it is, with its line breaks: names from users may look like markup."""
    plain = "\n".join(escape.plain(line) for line in text.split("\n"))
    return Text(encodable(plain, console.encoding))
