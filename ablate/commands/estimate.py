"""The table of `ablate plan --measure`: time and memory of the whole plan."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ablate.commands.printing import show_table
from ablate.launch.estimate import costs
from ablate.plan.execution import Execution
from ablate.plan.stacks import RunStack


def show_estimate(stacks: Sequence[RunStack], how: Execution, console: Console) -> None:
    """Measure one stack of each kind, and print the time and memory of the whole plan."""
    table = Table("stacks", "runs each", "ms a step", "steps", "minutes", "peak memory")
    table.title, table.title_justify = "measured", "left"
    total = 0.0
    for cost in costs(stacks, how):
        minutes = cost.stacks * cost.seconds * cost.steps / 60
        total += minutes
        table.add_row(
            str(cost.stacks),
            str(cost.width),
            f"{1000 * cost.seconds:.1f}",
            f"{cost.steps:,}",
            f"{minutes:.1f}",
            f"{cost.memory / 2**20:,.0f} MiB",
        )
    show_table(table, console)
    console.print(
        f"about {total / how.workers:.1f} minutes of training with {how.workers} at once;"
        " peak memory is for one process, including torch itself",
        highlight=False,
    )
