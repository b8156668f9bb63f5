"""The short version of a report, for an 80-column terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table as Drawn
from rich.text import Text

from ablate.report import escape, tables, wording
from ablate.report.compare import Comparison
from ablate.report.table import Table, TableCell
from ablate.streams import encodable

_MOST_ROWS = 30
_WIDTH = 14  # of a column's head
_NAME = 21  # columns of a terminal that an arm's name gets at least, if it is as long


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the question, the arms, the claims, the verdict and what weakens it.

    Args:
        comparison: What was compared.
        console: Where to.
    """

    def say(text: str, style: str = "") -> None:
        console.print(_text(text, console), style=style, highlight=False)

    if comparison.asked.question:
        say(comparison.asked.question, "bold")
    table = tables.compared(comparison, brief=True)
    arms = set(comparison.foremost(_MOST_ROWS))
    kept = [row for arm, row in zip(comparison.lines, table.rows, strict=True) if arm in arms]
    _show_table(table, kept, console)
    if comparison.claimed:
        claims = tables.claims(comparison, brief=True)
        _show_table(claims, claims.rows, console)
    for sentence in (comparison.choice(_MOST_ROWS).strip(), wording.verdict(comparison)):
        if sentence:
            say(sentence)
    for arm, how in comparison.asked.tuned.items():
        say(f"tuned: {arm}: {how}")
    for note in comparison.notes:
        say(f"note: {note}")
    for meaning in _meanings(comparison):
        say(meaning, "dim")


def _meanings(comparison: Comparison) -> list[str]:
    """Explain the marks of the tables, a line each."""
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


def _show_table(table: Table, rows: Sequence[tuple[TableCell, ...]], console: Console) -> None:
    """Print some rows of a table, without its last column, the cost, if that makes it fit.

    Where the terminal is too narrow even so, each row becomes a block of lines: no number is cut.
    """
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
    """Draw the first columns of some rows; the first of them wraps."""
    drawn = Drawn(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for i, head in enumerate(table.heads[:columns]):
        side: JustifyMethod = "right" if i in table.numeric else "left"
        folded = _text("\n".join(_folded(head)), console)
        drawn.add_column(folded, justify=side, overflow="fold", no_wrap=i > 0)
    for row in rows:
        drawn.add_row(*(_text(cell.text, console) for cell in row[:columns]))
    return drawn


def _width(table: Table, rows: Sequence[tuple[TableCell, ...]], columns: int) -> int:
    """Tell how wide a terminal the first columns need, with some room for the names of arms."""
    widest = [
        max(
            cell_len(line)
            for text in ("\n".join(_folded(table.heads[i])), *(row[i].text for row in rows))
            for line in text.split("\n")
        )
        for i in range(columns)
    ]
    return min(widest[0], _NAME) + sum(1 + width for width in widest[1:])


def _folded(head: str) -> list[str]:
    return textwrap.wrap(head, _WIDTH)


def _text(text: str, console: Console) -> Text:
    """Write text as it is, in the lines that it has: what a user named may look like markup."""
    plain = "\n".join(escape.plain(line) for line in text.split("\n"))
    return Text(encodable(plain, console.encoding))
