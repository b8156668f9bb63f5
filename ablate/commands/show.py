"""`ablate show`: the state of a sweep, from its records; safe to use while it runs."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from ablate import record, streams
from ablate.commands.printing import cell, folding, say
from ablate.commands.sweep_table import Failure, failures
from ablate.errors import AblateError
from ablate.launch.in_queue import in_queue

_WATCH = 2.0  # seconds between two updates


def show_state(path: Path, console: Console) -> int:
    """Print the state of all runs below a path, from their records.

    Returns:
        The exit status: 0 if all runs finished, otherwise 1.

    Raises:
        AblateError: There is no record below the path.
    """
    page, status = _state_page(path)
    console.print(page)
    for group in _identical(path):
        note = f"note: {', '.join(group)} have bit-identical losses on every seed they share"
        say(console, note)
    return status


def watch_state(path: Path, console: Console) -> None:
    """Print the state repeatedly, in place, until Ctrl-C or until the output has no reader."""
    page, _ = _state_page(path)
    on_a_terminal = console.is_terminal  # becomes False when the terminal closes
    with Live(page, console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while streams.is_heard() and console.is_terminal == on_a_terminal:
            page, _ = _state_page(path)
            live.update(page, refresh=True)
            time.sleep(_WATCH)


def _state_page(path: Path) -> tuple[Group, int]:
    folders = record.find(path)
    waiting = in_queue(path)
    if not folders and not waiting:
        raise AblateError(record.none_below(path))
    sweeps: dict[Path, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    wrong: list[Failure] = []
    lost = 0
    for folder in folders:
        try:
            found = record.read_whole(folder)
        except AblateError as error:
            sweeps.setdefault(folder.parent, Counter())["unreadable"] += 1
            wrong.append(("unreadable", str(folder), error.faults[0]))
            continue
        if found is None:  # just set aside by a rerun
            continue
        status = record.status_now(folder, found["status"])
        told = waiting.pop(folder, None)
        if status == "interrupted" and told is not None and told.kind != "unknown":
            waiting[folder] = told
            continue
        sweeps.setdefault(folder.parent, Counter())[status] += 1
        lost += record.has_lost_weights(folder, found)
        if status in ("failed", "diverged"):
            wrong.append((status, str(folder), str(found.get("reason"))))
    for folder, told in waiting.items():
        sweeps.setdefault(folder.parent, Counter())[told.kind] += 1
        if told.kind == "lost":
            wrong.append(("lost", str(folder), told.reason))
        else:
            reasons[told.reason.partition(": ")[2]] += 1
    kinds = [k for k in _KINDS if any(counts[k] for counts in sweeps.values())]
    table = Table("sweep", *kinds, title=cell(str(path)), title_justify="left")
    for sweep, counts in sweeps.items():
        table.add_row(cell(str(sweep)), *(str(counts[kind]) for kind in kinds))
    queue = [f"in the queue: {count} {cell(word)}" for word, count in sorted(reasons.items())]
    page = Group(folding(table), *queue, *failures(wrong), *_without_weights(lost))
    return page, 0 if kinds == ["finished"] else 1


_KINDS = (
    *("finished", "running", "queued", "interrupted", "lost", "diverged", "failed", "unknown"),
    "unreadable",
)


def _identical(path: Path) -> list[tuple[str, ...]]:
    """Find arms with bit-identical results; none if the records cannot be compared."""
    from ablate.analyze import caveats, frames

    try:
        return caveats.identical_arms(frames.read(path))
    except AblateError:
        return []  # the table lists unreadable records


def _without_weights(count: int) -> list[str]:
    """Say that finished runs have lost their weights."""
    if count == 0:
        return []
    return [
        f"note: {count} finished without a checkpoint.pt: their numbers count, but `ablate"
        " evaluate` needs the weights; rerun=all trains them again"
    ]
