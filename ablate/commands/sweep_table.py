"""What a terminal shows after a sweep: how its arms compare, and which runs failed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table

from ablate.commands.printing import cell, folders, folding, say
from ablate.errors import AblateError
from ablate.launch.outcome import Outcome
from ablate.plan.run import Run

_MOST = 20  # rows in the table of failures
Failure = tuple[str, str, str]  # status, folder, reason


def show_sweep(outcome: Outcome, console: Console) -> None:
    """Print the result of a sweep: how its arms compare, what failed, and where to read more.

    Args:
        outcome: The outcome of the request; a study's tuning runs are not compared.
        console: Where to print.
    """
    told = reported(outcome.runs)
    begun = [run for run in told if outcome.standing(run) is not None]
    ended = [run for run in begun if _status(outcome, run) == "finished"]
    count = len({run.key for run in told})
    many = "run" if count == 1 else "runs"
    say(console, f"{folders(told)}: {count} {many}", wrap=True)
    if ended:
        from ablate.report.compare import compare  # statistics take a second to import
        from ablate.report.terminal import show_comparison

        places = list(dict.fromkeys(run.directory for run in begun))
        try:
            show_comparison(compare(places, brief=True), console)
        except AblateError as error:  # for example, no run has a finite number to compare
            say(console, f"no comparison: {'; '.join(error.faults)}")
    wrong = _wrong(outcome, [*_failed_tuning(outcome), *told])
    console.print(Group(*failures(wrong)))
    if ended and not told[0].config["report"]:
        sweeps = shlex.join(dict.fromkeys(str(run.sweep) for run in told))
        say(console, f"the full report: ablate report {sweeps}")


def report_sweep(runs: Sequence[Run], console: Console) -> None:
    """Write the full report of a sweep's folder, if any run there has finished."""
    from ablate.report.write import write_report

    sweeps = list(dict.fromkeys(run.sweep for run in reported(runs)))
    try:
        folder, _ = write_report(sweeps)
    except AblateError as error:  # the runs are done, and only they decide the exit status
        told = f"no report: {'; '.join(error.faults)}"
    else:
        told = f"report: {folder}/report.html"
    say(console, told)


def reported(runs: Sequence[Run]) -> list[Run]:
    """Leave out runs that only tuned a study's knobs."""
    return [run for run in runs if not run.only_tunes] or list(runs)


def _status(outcome: Outcome, run: Run) -> str:
    found = outcome.standing(run)
    return "not started" if found is None else found.status


def _failed_tuning(outcome: Outcome) -> list[Run]:
    """List tuning runs that failed. A diverged one is not a failure, it is just not chosen."""
    return [run for run in outcome.runs if run.only_tunes and _status(outcome, run) == "failed"]


def _wrong(outcome: Outcome, runs: Sequence[Run]) -> list[Failure]:
    wrong = []
    for run in {run.key: run for run in runs}.values():
        found = outcome.standing(run)
        if found is None:
            wrong.append(("not started", str(run.directory), ""))
        elif found.status != "finished":
            wrong.append((found.status, str(run.directory), str(found.reason)))
    return wrong


def failures(wrong: Sequence[Failure]) -> list[Table | str]:
    """Make the table of unfinished runs, and say how to train them again."""
    if not wrong:
        return []
    table = Table("status", "run", "reason", title="not finished", title_justify="left")
    for status, place, reason in wrong[:_MOST]:
        table.add_row(status, cell(place), cell(reason))
    if len(wrong) > _MOST:
        table.add_row("...", f"and {len(wrong) - _MOST} more", "")
    kinds = {status for status, _, _ in wrong} & {"failed", "diverged"}
    again = " or ".join(f"rerun={kind}" for kind in sorted(kinds))
    more = [f"see run.log in each folder; {again} trains them again"] if again else []
    if any(status == "lost" for status, _, _ in wrong):
        more.append("lost runs are in no job any more: the same command submits them again")
    return [folding(table), *more]
