"""How the commands print a line, and a share."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, text: str) -> None:
    """Print text as it is: what a user named may look like markup, and a path may be long."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def percent(value: float | None) -> str:
    """Write a fraction as %; None as a dash."""
    return "–" if value is None else f"{100 * value:.2f} %"
