"""What a terminal shows of a sweep: its arms, its failures, its state, its plan."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from ablate import record, schema
from ablate.errors import AblateError
from ablate.plan.group import Stack
from ablate.plan.run import Run

_WATCH = 2.0  # seconds between two looks
_MOST = 20  # failures that are listed one by one


def show_sweep(runs: Sequence[Run], console: Console) -> None:
    """Print what came out of a sweep: one row an arm, then what failed."""
    records = {run.key: record.read(run.directory) for run in runs}
    arms = _arms(runs)
    table = Table(title=escape(f"{runs[0].sweep}: {len(records)} runs"), title_justify="left")
    table.add_column("arm")
    for head in ("finished", "val error", "test error", "lowest", "highest"):
        table.add_column(head, justify="right")
    for arm, members in arms.items():
        found = [r for run in members if (r := records[run.key]) and r["status"] == "finished"]
        table.add_row(escape(arm), f"{len(found)}/{len(members)}", *_errors(found))
    console.print(table)
    console.print("[dim]mean over seeds; lowest and highest test error[/dim]", highlight=False)
    _show_failures(runs, records, console)


def show_state(path: Path, console: Console) -> int:
    """Print the state of all runs below a path, from their records; safe beside a running sweep.

    Returns:
        The exit status: 0 if all finished, else 1.

    Raises:
        AblateError: There is no record below the path.
    """
    page, status = _state_page(path)
    console.print(page)
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
    for folder in folders:
        try:
            found = record.read(folder)
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
        if status in ("failed", "diverged"):
            wrong.append((status, str(folder), str(found["reason"])))
    kinds = [k for k in _KINDS if any(counts[k] for counts in sweeps.values())]
    table = Table("sweep", *kinds, title=escape(str(path)), title_justify="left")
    for sweep, counts in sweeps.items():
        table.add_row(escape(str(sweep)), *(str(counts[kind]) for kind in kinds))
    return Group(table, *_failures(wrong)), 0 if kinds == ["finished"] else 1


_KINDS = ("finished", "running", "cut off", "interrupted", "diverged", "failed", "unreadable")


def show_plan(runs: Sequence[Run], stacks: Sequence[Stack], how: str, console: Console) -> None:
    """Print what would run: arms, stacks and why, and what has been finished."""
    ended = {run.key: _state(run) for run in runs}
    counts = Counter(ended.values())
    arms = _arms(runs)
    table = Table("arm", "seeds", title=escape(f"{len(ended)} runs in {runs[0].sweep}"))
    table.title_justify = "left"
    for arm, members in arms.items():
        table.add_row(escape(arm), _ranges(sorted({run.config["seed"] for run in members})))
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
    """Gather runs that differ in their seeds alone; name them by what varies between arms."""
    flat = [schema.flatten(run.config) for run in runs]
    names = [n for n in dict.fromkeys(k for f in flat for k in f) if not _is_seed(n)]
    varied = [n for n in names if len({schema.shown(f.get(n)) for f in flat}) > 1]
    options = [n for n in varied if n.endswith(".name")]
    # What an option brings along says no more than the option, unless it varies beside it too.
    told = [n for n in varied if n in options or not _follows(n, options, flat)]
    arms: dict[str, dict[str, Run]] = {}
    for run in runs:
        arms.setdefault(_values(run, told) or "all runs", {})[run.key] = run
    return {arm: list(members.values()) for arm, members in arms.items()}


def _follows(name: str, options: Sequence[str], flat: Sequence[Mapping[str, Any]]) -> bool:
    group = name.partition(".")[0]
    option = f"{group}.name"
    if option not in options:
        return False
    seen: dict[str, set[str]] = {}
    for one in flat:
        seen.setdefault(str(one[option]), set()).add(schema.shown(one.get(name)))
    return all(len(values) == 1 for values in seen.values())


def _is_seed(name: str) -> bool:
    return name == "seed" or name.startswith("seeds.")


def _values(run: Run, names: Sequence[str]) -> str:
    flat = schema.flatten(run.config)
    return " ".join(
        f"{name.removesuffix('.name')}={schema.shown(flat[name])}" for name in names if name in flat
    )


def _varied_graph(stacks: Sequence[Stack]) -> list[str]:
    flat = [schema.flatten(stack.runs[0].config) for stack in stacks]
    names = [n for n in dict.fromkeys(k for f in flat for k in f) if n in schema.BY_NAME]
    graph = [n for n in names if schema.BY_NAME[n].place == "graph" and not _is_label(n)]
    varied = [n for n in graph if len({schema.shown(f.get(n)) for f in flat}) > 1]
    options = [n for n in varied if n.endswith(".name")]
    return [n for n in varied if n in options or not _follows(n, options, flat)]


def _is_label(name: str) -> bool:
    return schema.BY_NAME[name].role != "result"


def _errors(found: Sequence[Mapping[str, Any]]) -> list[str]:
    val = [e for r in found if (e := r["metrics"].get("val/error")) is not None]
    test = [r["metrics"]["test/error"] for r in found]
    if not test:
        return ["–", "–", "–", "–"]
    mean = f"{100 * sum(val) / len(val):.2f} %" if val else "–"
    numbers = (sum(test) / len(test), min(test), max(test))
    return [mean, *(f"{100 * number:.2f} %" for number in numbers)]


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


def _state(run: Run) -> str:
    found = record.read(run.directory)
    return "missing" if found is None else str(found["status"])


def _ranges(numbers: Sequence[int]) -> str:
    """Write 0, 1, 2, 5 as ``0 to 2, 5``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]} to {p[-1]}" for p in parts)
