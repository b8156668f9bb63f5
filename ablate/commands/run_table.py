"""What a terminal shows after one run: its metrics, and the path of its record."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ablate.commands.printing import cell, in_unit, say, show_table
from ablate.metrics import SPLITS, metric_of
from ablate.plan.run import Run
from ablate.record import DIED, Record, status_now

_SHOWN = ("loss", "accuracy", "error")


def show_run(run: Run, record: Record, console: Console) -> None:
    """Print the result of one run.

    Args:
        run: The run.
        record: Its record.
        console: Where to print.
    """
    status = status_now(run.directory, record["status"])
    if status == "finished":
        show_table(_table(record), console)
        for name, value in record["metrics"].items():
            if name.startswith("acted/") and value == 0:
                knob = f"regularize.{name.removeprefix('acted/')}"
                say(console, f"note: {knob} never acted: no step reached its limit")
    elif status in ("interrupted", "running"):
        reason = record["reason"] or ("elsewhere" if status == "running" else DIED)
        say(console, f"{status}: {reason}; the same command goes on from there")
    else:
        say(console, f"{status}: {record['reason']}")
        say(console, f"rerun={status} trains it again; see run.log")
    say(console, f"record: {run.directory}")


def _table(record: Record) -> Table:
    metrics, config = record["metrics"], record["config"]
    seconds = sum(record["timing"]["seconds"])
    cost = f"{record['parameters']:,} parameters · {seconds:.1f} s of training"
    table = Table(
        title=cell(f"{config['name']}, seed {record['seed']}, {len(record['history'])} epochs"),
        caption=cost,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("")
    for split in SPLITS:
        table.add_column(split, justify="right")
    table.add_column("gap, train to test", justify="right")
    for name in _SHOWN:
        of_splits = (f"{split}/{name}" for split in SPLITS)
        cells = [in_unit(metrics[one], metric_of(one).unit) for one in of_splits]
        gap = f"gap/{name}"
        apart = in_unit(metrics[gap], metric_of(gap).unit, signed=True) if gap in metrics else ""
        table.add_row(name, *cells, apart)
    return table
