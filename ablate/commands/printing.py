"""Prints a line as it is, and formats a number with its unit."""

from __future__ import annotations

from rich.console import Console

from ablate.metrics import Unit
from ablate.report.formatting import NONE, written


def say(console: Console, text: str) -> None:
    """Print text without markup or line breaks: a user's name may look like markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def in_unit(value: float | None, unit: Unit, signed: bool = False) -> str:
    """Format a number with its unit, ``25.00 %``; None and NaN as a dash."""
    text = written(value, unit, signed)
    return text if text == NONE else f"{text} {unit.name}".rstrip()
