"""`ablate studies`: lists the shipped studies with question, source, arms and number of runs."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ablate.commands.printing import cell
from ablate.study import study
from ablate.study.file import read_study
from ablate.study.study import Study


def show_studies(console: Console, scale: str = "quick") -> None:
    """Print a table with a row for each study.

    Args:
        console: Where to print.
        scale: ``quick`` or ``full``; it decides the number of runs.
    """
    table = Table("study", "question and source", "arms", "runs", box=None, padding=(0, 2, 1, 0))
    for name in study.shipped():
        found = read_study(name, scale)
        asked = f"{cell(found.question)}\n[dim]{cell(found.source)}[/dim]"
        table.add_row(f"[bold]{name}[/bold]", asked, str(len(found.arms)), _runs(found))
    console.print(table)
    console.print(
        "`ablate run +study=NAME` trains one (scale=full for the published setting), `ablate plan"
        " +study=NAME` shows its runs; +study=path/to.yaml takes a file of your own",
        highlight=False,
    )


def _runs(found: Study) -> str:
    """Count a study's reported runs, and after a plus its tuning runs."""
    reported = sum(len(found.seeds_of(arm)) for arm in found.arms)
    if found.tuning is None:
        return str(reported)
    settings = 1
    for values in found.tuning.knobs.values():
        settings *= len(values)
    return f"{reported} + {settings * len(found.arms) * len(found.tuning.seeds)}"
