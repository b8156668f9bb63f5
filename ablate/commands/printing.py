"""Prints a line as it is, and formats a number with its unit."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from ablate.metrics import Unit
from ablate.plan.run import Run
from ablate.report.formatting import NONE, written


def say(console: Console, text: str) -> None:
    """Print text without markup or line breaks: a user's name may look like markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def folders(runs: Iterable[Run], most: int = 3) -> str:
    """Name the folders of runs' sweeps; a swept `name` makes several."""
    sweeps = list(dict.fromkeys(str(run.sweep) for run in runs))
    more = f" and {len(sweeps) - most} more" if len(sweeps) > most else ""
    return f"{', '.join(sweeps[:most])}{more}"


def in_unit(value: float | None, unit: Unit, signed: bool = False) -> str:
    """Format a number with its unit, ``25.00 %``; None and NaN as a dash."""
    text = written(value, unit, signed)
    return text if text == NONE else f"{text} {unit.name}".rstrip()
