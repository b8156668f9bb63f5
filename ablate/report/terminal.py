"""The short version of a report, for an 80-column terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table as Drawn
from rich.text import Text

from ablate.report import escape, tables, wording
from ablate.report.compare import Comparison
from ablate.report.table import Table, TableCell

_MOST_ROWS = 30
_WIDTH = 14  # of a column's head
_NAME = 21  # at least, of an arm's column


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the question, the arms, the claims, the verdict and what weakens it.

    Args:
        comparison: What was compared.
        console: Where to.
    """
    if comparison.asked.question:
        console.print(_text(comparison.asked.question), style="bold", highlight=False)
    table = tables.compared(comparison, brief=True)
    arms = set(comparison.foremost(_MOST_ROWS))
    kept = [row for arm, row in zip(comparison.lines, table.rows, strict=True) if arm in arms]
    console.print(_drawn(table, kept, _fitting(table, console.width)))
    if comparison.claimed:
        claims = tables.claims(comparison, brief=True)
        console.print(_drawn(claims, claims.rows, len(claims.heads)))
    for sentence in (comparison.choice(_MOST_ROWS).strip(), wording.verdict(comparison)):
        if sentence:
            console.print(_text(sentence), highlight=False)
    for arm, how in comparison.asked.tuned.items():
        console.print(_text(f"tuned: {arm}: {how}"), highlight=False)
    for note in comparison.notes:
        console.print(_text(f"note: {note}"), highlight=False)
    number = "claims" if comparison.claimed else "arms"
    meaning = f"±, [ ]: 95 % t interval over seeds; p Holm: corrected for the number of {number}"
    console.print(Text(meaning, style="dim"), highlight=False)


def _drawn(table: Table, rows: Sequence[tuple[TableCell, ...]], columns: int) -> Drawn:
    """Draw the first columns of some rows; the first of them wraps."""
    drawn = Drawn(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for i, head in enumerate(table.heads[:columns]):
        side: JustifyMethod = "right" if i in table.numeric else "left"
        folded = Text("\n".join(textwrap.wrap(head, _WIDTH)))
        drawn.add_column(folded, justify=side, overflow="fold", no_wrap=i > 0)
    for row in rows:
        drawn.add_row(*(_text(cell.text) for cell in row[:columns]))
    return drawn


def _fitting(table: Table, width: int) -> int:
    """Count the columns that leave names some room: the last, the cost, may have to go."""
    columns = [[row[i].text for row in table.rows] for i in range(1, len(table.heads))]
    lines = [[line for text in column for line in text.split("\n")] for column in columns]
    taken = sum(1 + max(map(len, [*some, ""])) for some in lines)
    return len(table.heads) - (taken + _NAME > width)


def _text(text: str) -> Text:
    """Write text as it is, in the lines that it has: what a user named may look like markup."""
    return Text("\n".join(escape.plain(line) for line in text.split("\n")))
