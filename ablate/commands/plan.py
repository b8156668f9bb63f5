"""`ablate plan`: shows what a request would train, and how; trains nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ablate import environment
from ablate.analyze import naming
from ablate.commands.printing import cell, folders, say, show_table
from ablate.commands.requests import parser, planned, planned_study, request_of
from ablate.config import schema
from ablate.errors import AblateError
from ablate.plan.execution import Execution, execution
from ablate.plan.planning import Plan
from ablate.plan.reuse import not_reused
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack, footprint_of
from ablate.report.formatting import knob, ranges


def serve(
    arguments: list[str], measure: bool, spreads: Sequence[str] = (), spread_from: int | None = None
) -> int:
    """Serve `ablate plan`.

    Args:
        arguments: The command line.
        measure: Whether to measure a few steps, to estimate time and memory.
        spreads: As `prospects.Spreads` reads them.
        spread_from: How many seeds they are based on.

    Raises:
        AblateError: The request is wrong.
    """
    request = request_of(parser("ablate plan").parse_intermixed_args(arguments))
    if request.study is None and (spreads or spread_from is not None):
        raise AblateError("--sd and --sd-from are about claims, so they need a study (+study=NAME)")
    study = None if request.study is None else planned_study(request)
    plans = planned(request) if study is None else study.plans
    stacks = [stack for plan in plans for stack in plan.stacks]
    how = execution(stacks)
    console = Console()
    show_plan(plans, stacks, _who(how), console)
    if study is not None:
        from ablate.commands.prospects import show_prospects  # statistics take a second to import

        show_prospects(study, spreads, spread_from, console)
    if measure:
        from ablate.commands.estimate import show_estimate  # imports torch

        show_estimate(stacks, how, console)
    return 0


def _who(how: Execution) -> str:
    who = {"inline": "in this process", "workers": f"in {how.workers} worker processes"}
    threads = f", {how.threads} thread{'s' if how.threads != 1 else ''} each" if how.threads else ""
    return who.get(how.launch, f"by launch={how.launch}") + threads


def show_plan(
    plans: Sequence[Plan], stacks: Sequence[RunStack], how: str, console: Console
) -> None:
    """Print what would run: arms, stacks with the reason for each, and what has ended already."""
    runs = [run for plan in plans for run in plan.runs]
    ended = {run.key: _state(plans, run) for run in runs}
    counts = Counter(ended.values())
    arms = _arms(runs)
    table = Table("arm", "seeds", title=cell(f"{len(ended)} runs in {folders(runs)}"))
    table.title_justify = "left"
    for arm, members in arms.items():
        table.add_row(cell(arm), ranges(sorted({run.config["seed"] for run in members})))
    show_table(table, console)
    plan = Table("stacks", "runs each", "applied", "graph", "why", title=how, title_justify="left")
    same = _varied_graph(stacks)
    groups: dict[tuple[str, ...], list[int]] = {}
    for stack in stacks:
        applied = "fused" if stack.fused else "looped"
        graph = _values(stack.runs[0], same)
        groups.setdefault((applied, graph or "the same", stack.why), []).append(len(stack.runs))
    for (applied, graph, why), sizes in groups.items():
        each = str(sizes[0]) if len(set(sizes)) == 1 else f"{min(sizes)} to {max(sizes)}"
        plan.add_row(str(len(sizes)), each, applied, cell(graph), cell(why))
    show_table(plan, console)
    if told := _memory(stacks):
        console.print(told, highlight=False)
    for reason in dict.fromkeys(run.plain for run in runs if run.plain):
        told = f"note: your own network gets its images channels first in memory: {reason}"
        say(console, told, wrap=True)
    state = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    console.print(f"now: {state}", highlight=False)
    for why, keys in not_reused(plans).items():
        many = f"{len(keys)} earlier runs are" if len(keys) > 1 else f"the earlier run {keys[0]} is"
        say(console, f"note: {many} not used again: {why}")
    twins = [key for key, count in Counter(run.key for run in runs).items() if count > 1]
    if twins:
        console.print(
            f"note: {len(twins)} runs are requested more than once (cells that resolve to the same"
            " configuration); each is trained once",
            highlight=False,
        )


def _memory(stacks: Sequence[RunStack]) -> str | None:
    """Say how much of a GPU the largest stack is planned to take; None on a CPU."""
    if stacks[0].runs[0].config["device"] != "cuda":
        return None
    memory = environment.cuda().memory
    known = [found for stack in stacks if (found := footprint_of(stack, memory)) is not None]
    if memory is None or not known:
        return "memory: no estimate for your own network; a stack that is too wide is halved"
    most, at_once = max(known, key=lambda one: one[0].tensors)
    name, size = most.dominant
    told = (
        f"memory: tensors {_gib(most.tensors)} at most ({name} {_gib(size)}; {at_once} runs are"
        f" evaluated at a time), allowance {_gib(most.allowance)}; the GPU has {_gib(memory)}"
    )
    return told if most.fits(memory) else f"{told}: a stack that turns out too wide is halved"


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"


def _arms(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group distinct runs by arm: by its name in the study, or by the knobs that vary."""
    flat = [schema.flatten(run.config) for run in runs]
    arms: dict[str, dict[str, Run]] = {}
    for run, name in zip(runs, naming.names(flat), strict=True):
        arms.setdefault(run.arm or name, {})[run.key] = run
    return {arm: list(members.values()) for arm, members in arms.items()}


def _values(run: Run, names: Sequence[str]) -> str:
    flat = schema.flatten(run.config)
    return " ".join(f"{knob(name)}={schema.shown(flat[name])}" for name in names if name in flat)


def _varied_graph(stacks: Sequence[RunStack]) -> list[str]:
    """List the graph knobs in which stacks differ."""
    names = naming.told([schema.flatten(stack.runs[0].config) for stack in stacks])
    return [n for n in names if n in schema.BY_NAME and schema.BY_NAME[n].place == "graph"]


def _state(plans: Sequence[Plan], run: Run) -> str:
    found = [p.there[run.directory].status for p in plans if run.directory in p.there]
    return found[0] if found else "missing"
