"""From a command's words to a request, and from a request to what came of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser

from ablate import data
from ablate.launch.execute import execute
from ablate.launch.hydra_adapter import hand_over
from ablate.launch.outcome import Outcome
from ablate.plan.planning import Plan, plan
from ablate.plan.request import Request
from ablate.plan.run import Run
from ablate.study.comparison import bring_about, compare


def parser(name: str) -> argparse.ArgumentParser:
    """Make Hydra's parser of flags and overrides, for a command of that name."""
    made: argparse.ArgumentParser = get_args_parser()
    made.prog = name
    return made


def request_of(args: argparse.Namespace) -> Request:
    """Take the request out of what such a parser found."""
    return Request(
        tuple(args.overrides),
        args.config_name or "config",
        args.config_dir or args.config_path,
        bool(args.multirun),
    )


def planned(request: Request) -> list[Plan]:
    """Plan a request, runs that have ended included; a study that tunes is two plans.

    Raises:
        AblateError: The request is wrong.
    """
    data.forget()
    if request.study is not None:
        return compare(request, whole=True).plans
    return [plan(request, whole=True)]


def trained(request: Request) -> Outcome:
    """Train what is left to train of a request.

    Raises:
        AblateError: The request is wrong; nothing was started.
    """
    data.forget()
    if request.study is not None:
        study = compare(request)
        _require_room(study.reported.runs)
        return bring_about(study)
    made = plan(request)
    _require_room(made.runs)
    return hand_over(made) if made.hands_over else execute(made)


def _require_room(runs: Sequence[Run]) -> None:
    """Check that the report can be written that `report=true` asks for at the end.

    Raises:
        AblateError: Its folder holds what no report wrote.
    """
    if not runs[-1].config["report"]:
        return
    from ablate.report.write import FOLDER, require_room  # statistics take a second to import

    require_room(runs[-1].sweep / FOLDER)


def tell(outcome: Outcome) -> None:
    """Say on standard error what stopped the whole, if anything did."""
    if outcome.stop is not None:
        print(f"ablate: {outcome.stop.message}", file=sys.stderr)
