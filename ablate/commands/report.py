"""`ablate report`: writes a report of some runs, and prints a summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablate import record
from ablate.errors import AblateError
from ablate.metrics import why_unknown


def serve(
    paths: Sequence[str],
    baseline: str | None,
    metric: str | None,
    out: str | None,
    *,
    give_up: bool = False,
) -> None:
    """Write a report; print how its arms compare, and the report's path.

    Args:
        paths: Folders of runs, of sweeps, or any folders above them.
        baseline: The arm that the others are compared with, or None for the default.
        metric: The metric to compare, or None for the default.
        out: The report's folder, or None for the default.
        give_up: Whether to give up failed runs, so that verdicts no longer wait for them.

    Raises:
        AblateError: There is nothing to report, or no such baseline or metric.
    """
    if metric is not None and (why := why_unknown(metric)):  # before pandas is imported
        raise AblateError(f"--metric {metric}: {why}")
    from rich.console import Console

    from ablate.commands.printing import say
    from ablate.report.question import Question
    from ablate.report.terminal import show_comparison
    from ablate.report.write import write_report
    from ablate.study import story

    if give_up and not story.give_up([f for path in paths for f in record.find(Path(path))]):
        raise AblateError("--give-up: no run below these paths has failed")
    folder, comparison = write_report(paths, Question(baseline=baseline, metric=metric), out)
    console = Console()
    show_comparison(comparison, console)
    say(console, f"report: {folder}/report.html")
