"""What a terminal shows of one run: its measures, and where its record is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from ablate.plan.run import Run

_SPLITS = ("train", "val", "test")


def show_run(run: Run, record: Mapping[str, Any], console: Console) -> None:
    """Print the table of one run.

    Args:
        run: The run.
        record: Its record.
        console: Where to.
    """
    status = record["status"]
    if status == "finished":
        console.print(_table(record))
    elif status == "interrupted":
        done = f"{record['reason']}; the same command goes on from there"
        console.print(f"interrupted: {done}")
    else:
        console.print(f"[bold]{status}[/bold]: {record['reason']}", highlight=False)
        console.print(f"trained again with rerun={status}; run.log tells more", highlight=False)
    console.print(f"record: {run.directory}", highlight=False, soft_wrap=True)


def _table(record: Mapping[str, Any]) -> Table:
    metrics, config = record["metrics"], record["config"]
    seconds = sum(record["timing"]["seconds"])
    cost = f"{record['parameters']:,} parameters · {seconds:.1f} s of training"
    table = Table(
        title=f"{config['name']}, seed {record['seed']}, {len(record['history'])} epochs",
        caption=cost,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    for split in _SPLITS:
        table.add_column(split, justify="right")
    table.add_column("gap, train to test", justify="right")
    losses, accuracies, errors = (
        [metrics[f"{split}/{name}"] for split in _SPLITS] for name in ("loss", "accuracy", "error")
    )
    table.add_row("loss", *map(_number, losses), f"{metrics['gap/loss']:+.4f}")
    points = f"{100 * metrics['gap/accuracy']:+.2f} points"
    table.add_row("accuracy", *map(_percent, accuracies), points)
    table.add_row("error", *map(_percent, errors), "")
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"
