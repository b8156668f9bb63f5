"""`ablate report`: writes the report of some runs, and shows the short of it."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.errors import AblateError
from ablate.metrics import why_unknown


def serve(paths: Sequence[str], baseline: str | None, metric: str | None, out: str | None) -> None:
    """Write a report, print how its arms compare, and where it lies.

    Args:
        paths: Folders of runs, of sweeps, or any above.
        baseline: The arm that others are compared with, or None.
        metric: What is compared, or None.
        out: The report's folder, or None.

    Raises:
        AblateError: There is nothing to report, or what was asked for is not there.
    """
    if metric is not None and (why := why_unknown(metric)):  # before pandas is imported
        raise AblateError(f"--metric {metric}: {why}")
    from rich.console import Console

    from ablate.report.question import Question
    from ablate.report.terminal import show_comparison
    from ablate.report.write import write_report

    folder, comparison = write_report(paths, Question(baseline=baseline, metric=metric), out)
    console = Console()
    show_comparison(comparison, console)
    console.print(f"report: {folder}/report.html", markup=False, highlight=False, soft_wrap=True)
