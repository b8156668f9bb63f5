"""What a terminal shows of a sweep: its arms, its failures, its state, its plan."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from ablate import record
from ablate.analyze import naming
from ablate.config import schema
from ablate.errors import AblateError
from ablate.plan.run import Run
from ablate.plan.stacks import Stack
from ablate.report.formatting import knob, ranges

_WATCH = 2.0  # seconds between two looks
_MOST = 20  # failures that are listed one by one


def show_sweep(runs: Sequence[Run], console: Console) -> None:
    """Print what came out of a sweep: how its arms compare, what failed, what tells more.

    Args:
        runs: Those of the request; a study's tuning runs are not compared.
        console: Where to.
    """
    from ablate.report.compare import compare
    from ablate.report.terminal import show_comparison  # statistics take a second to import

    told = reported(runs)
    records = {run.key: record.read(run.directory) for run in runs}
    ended = [run for run in told if (found := records[run.key]) and found["status"] == "finished"]
    count = len({run.key for run in told})
    console.print(f"{told[0].sweep}: {count} runs", markup=False, highlight=False)
    if ended:
        there = [run.directory for run in told if records[run.key] is not None]
        show_comparison(compare(list(dict.fromkeys(there)), brief=True), console)
    _show_failures([*_failed_tuning(runs, records), *told], records, console)
    if ended and not told[0].config["report"]:
        place = shlex.quote(str(told[0].sweep))
        console.print(f"the whole report: ablate report {place}", markup=False, highlight=False)


def report_sweep(runs: Sequence[Run], console: Console) -> None:
    """Write the whole report of a sweep's folder, if some run there has finished."""
    from ablate.report.write import write_report

    sweeps = list(dict.fromkeys(run.sweep for run in reported(runs)))
    try:
        folder, _ = write_report(sweeps)
    except AblateError as error:  # the runs are done: what they are keeps their exit status
        told = f"no report: {'; '.join(error.faults)}"
    else:
        told = f"report: {folder}/report.html"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def reported(runs: Sequence[Run]) -> list[Run]:
    """Leave out runs that only tuned a study's knobs."""
    return [run for run in runs if not run.only_tunes] or list(runs)


def _failed_tuning(runs: Sequence[Run], records: Mapping[str, record.Record | None]) -> list[Run]:
    """List tuning runs that failed; one that diverged only says what not to choose."""
    failed = {key for key, found in records.items() if found and found["status"] == "failed"}
    return [run for run in runs if run.only_tunes and run.key in failed]


def show_state(path: Path, console: Console) -> int:
    """Print the state of all runs below a path, from their records; safe beside a running sweep.

    Returns:
        The exit status: 0 if all finished, else 1.

    Raises:
        AblateError: There is no record below the path.
    """
    page, status = _state_page(path)
    console.print(page)
    for group in _identical(path):
        note = f"note: {', '.join(group)} have bit-identical losses on every seed that they share"
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    return status


def watch_state(path: Path, console: Console) -> None:
    """Print the state again and again, in place, until Ctrl-C or until nothing is running."""
    page, _ = _state_page(path)
    with Live(page, console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            page, _ = _state_page(path)
            live.update(page, refresh=True)
            time.sleep(_WATCH)


def _state_page(path: Path) -> tuple[Group, int]:
    folders = record.find(path)
    if not folders:
        raise AblateError(f"{path} holds no record: name the folder of a run or a sweep")
    sweeps: dict[Path, Counter[str]] = {}
    wrong: list[tuple[str, str, str]] = []
    lost = 0
    for folder in folders:
        try:
            found = record.read_whole(folder)
        except AblateError as error:
            sweeps.setdefault(folder.parent, Counter())["unreadable"] += 1
            wrong.append(("unreadable", str(folder), error.faults[0]))
            continue
        if found is None:  # set aside this very moment
            continue
        status = found["status"]
        if status == "running" and not record.claimed_elsewhere(folder):
            status = "cut off"
        sweeps.setdefault(folder.parent, Counter())[status] += 1
        lost += record.has_lost_weights(folder, found)
        if status in ("failed", "diverged"):
            wrong.append((status, str(folder), str(found.get("reason"))))
    kinds = [k for k in _KINDS if any(counts[k] for counts in sweeps.values())]
    table = Table("sweep", *kinds, title=escape(str(path)), title_justify="left")
    for sweep, counts in sweeps.items():
        table.add_row(escape(str(sweep)), *(str(counts[kind]) for kind in kinds))
    page = Group(table, *_failures(wrong), *_without_weights(lost))
    return page, 0 if kinds == ["finished"] else 1


_KINDS = ("finished", "running", "cut off", "interrupted", "diverged", "failed", "unreadable")


def show_plan(runs: Sequence[Run], stacks: Sequence[Stack], how: str, console: Console) -> None:
    """Print what would run: arms, stacks and why, and what has been finished."""
    ended = {run.key: _state(run) for run in runs}
    counts = Counter(ended.values())
    arms = _arms(runs)
    table = Table("arm", "seeds", title=escape(f"{len(ended)} runs in {runs[0].sweep}"))
    table.title_justify = "left"
    for arm, members in arms.items():
        table.add_row(escape(arm), ranges(sorted({run.config["seed"] for run in members})))
    console.print(table)
    plan = Table("stacks", "runs each", "applied", "graph", "why", title=how, title_justify="left")
    same = _varied_graph(stacks)
    groups: dict[tuple[str, ...], list[int]] = {}
    for stack in stacks:
        applied = "fused" if stack.fused else "looped"
        graph = _values(stack.runs[0], same)
        groups.setdefault((applied, graph or "the same", stack.why), []).append(len(stack.runs))
    for (applied, graph, why), sizes in groups.items():
        each = str(sizes[0]) if len(set(sizes)) == 1 else f"{min(sizes)} to {max(sizes)}"
        plan.add_row(str(len(sizes)), each, applied, escape(graph), escape(why))
    console.print(plan)
    state = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    console.print(f"now: {state}", highlight=False)
    twins = [key for key, count in Counter(run.key for run in runs).items() if count > 1]
    if twins:
        console.print(
            f"note: {len(twins)} runs are asked for more than once (cells that resolve to the same"
            " configuration); each is trained once",
            highlight=False,
        )


# -- parts -----------------------------------------------------------------------------------------


def _arms(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Gather runs by arm, each once: as their study names it, else by what varies between them."""
    flat = [schema.flatten(run.config) for run in runs]
    arms: dict[str, dict[str, Run]] = {}
    for run, name in zip(runs, naming.names(flat), strict=True):
        arms.setdefault(run.arm or name, {})[run.key] = run
    return {arm: list(members.values()) for arm, members in arms.items()}


def _identical(path: Path) -> list[tuple[str, ...]]:
    """Find arms that are the same to the last bit, where the records can be compared at all."""
    from ablate.analyze import caveats, frames

    try:
        return caveats.identical_arms(frames.read(path))
    except AblateError:
        return []  # what does not read is in the table


def _values(run: Run, names: Sequence[str]) -> str:
    flat = schema.flatten(run.config)
    return " ".join(f"{knob(name)}={schema.shown(flat[name])}" for name in names if name in flat)


def _varied_graph(stacks: Sequence[Stack]) -> list[str]:
    """List the graph knobs that tell stacks apart."""
    names = naming.told([schema.flatten(stack.runs[0].config) for stack in stacks])
    return [n for n in names if n in schema.BY_NAME and schema.BY_NAME[n].place == "graph"]


def _show_failures(
    runs: Sequence[Run], records: Mapping[str, record.Record | None], console: Console
) -> None:
    wrong = []
    for run in {run.key: run for run in runs}.values():
        found = records[run.key]
        if found is None:
            wrong.append(("not started", str(run.directory), ""))
        elif found["status"] != "finished":
            wrong.append((found["status"], str(run.directory), str(found["reason"])))
    console.print(Group(*_failures(wrong)))


def _failures(wrong: Sequence[tuple[str, str, str]]) -> list[Table | str]:
    if not wrong:
        return []
    table = Table("status", "run", "reason", title="not finished", title_justify="left")
    for status, place, reason in wrong[:_MOST]:
        table.add_row(status, escape(place), escape(reason))
    if len(wrong) > _MOST:
        table.add_row("...", f"and {len(wrong) - _MOST} more", "")
    kinds = {status for status, _, _ in wrong} & {"failed", "diverged"}
    again = " or ".join(f"rerun={kind}" for kind in sorted(kinds))
    more = [f"run.log in each folder tells more; {again} trains them again"] if again else []
    return [table, *more]


def _without_weights(count: int) -> list[str]:
    """Say that finished runs hold their numbers alone."""
    if count == 0:
        return []
    return [
        f"note: of {count} finished, checkpoint.pt is gone: their numbers count, but `ablate"
        " evaluate` needs the weights; rerun=all trains them again"
    ]


def _state(run: Run) -> str:
    found = record.read(run.directory)
    return "missing" if found is None else str(found["status"])
