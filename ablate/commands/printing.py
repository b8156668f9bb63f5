"""Prints a line as it is, and formats a number with its unit."""

from __future__ import annotations

from collections.abc import Iterable

from rich import markup
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ablate.metrics import Unit
from ablate.plan.run import Run
from ablate.report import escape
from ablate.report.formatting import NONE, written
from ablate.streams import visible

_WIDE = 10_000  # columns from which a terminal cuts nothing


def say(console: Console, text: str, style: str = "", *, wrap: bool = False) -> None:
    """Print text as it is, by default without breaking lines: a name may look like markup."""
    console.print(visible(text), style=style, markup=False, highlight=False, soft_wrap=not wrap)


def cell(text: object) -> str:
    """Write text as it is into a table: a name may look like markup, or hold control characters."""
    return markup.escape(escape.plain(text))


def show_table(table: Table, console: Console) -> None:
    """Print a table; on a terminal too narrow for its words, a block of lines for each row."""
    wide = console.options.update(max_width=_WIDE)
    if Measurement.get(console, wide, table).minimum <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title, soft_wrap=True)
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        head = f"{table.columns[0].header}: " if table.columns[0].header else ""
        console.print(f"{head}{first}", style="bold", highlight=False, soft_wrap=True)
        for column, cell in zip(table.columns[1:], others, strict=True):
            if cell:
                console.print(f"  {column.header}: {cell}", highlight=False, soft_wrap=True)
    if table.caption:
        console.print(table.caption, soft_wrap=True)


def folding(table: Table) -> Table:
    """Let a table wrap words that are too long, rather than cut them off."""
    for column in table.columns:
        column.overflow = "fold"
    return table


def folders(runs: Iterable[Run], most: int = 3) -> str:
    """Name the folders of runs' sweeps; a swept `name` makes several."""
    sweeps = list(dict.fromkeys(str(run.sweep) for run in runs))
    more = f" and {len(sweeps) - most} more" if len(sweeps) > most else ""
    return f"{', '.join(sweeps[:most])}{more}"


def in_unit(value: float | None, unit: Unit, signed: bool = False) -> str:
    """Format a number with its unit, ``25.00 %``; None and NaN as a dash."""
    text = written(value, unit, signed)
    return text if text == NONE else f"{text} {unit.name}".rstrip()
