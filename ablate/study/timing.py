"""A claim about time needs runs trained one at a time."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.metrics import TIMES
from ablate.plan.run import Run
from ablate.study.study import Study


def not_alone(study: Study, runs: Sequence[Run]) -> list[str]:
    """List the claims about time of a study whose runs share a stack or the machine.

    Runs of one stack share its time equally, and runs side by side slow each other down: a test
    that assumes independence finds differences where there are none.

    Args:
        study: The study.
        runs: Its reported runs, resolved.

    Returns:
        One sentence each, with the claim's line; empty if each run is trained alone.
    """
    timed = [claim for claim in study.claims if {claim.metric, claim.against_metric} & {*TIMES}]
    wanted = {
        "stack.width=1": all(run.config["stack"]["width"] == 1 for run in runs),
        "launch=inline": all(run.config["launch"] == "inline" for run in runs),
    }
    lacking = " and ".join(text for text, is_so in wanted.items() if not is_so)
    if not lacking:
        return []
    return [
        f"{study.file}, line {claim.line}: a claim about {claim.metric} needs runs that are trained"
        f" one at a time, since others share a stack's or a machine's time: add {lacking} to fixed"
        for claim in timed
    ]
