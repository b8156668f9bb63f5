"""From a command line to a request, and from a request to a plan or an outcome."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from ablate import data
from ablate.errors import AblateError
from ablate.launch.execute import execute, outcome_of, require_executor
from ablate.launch.hydra_adapter import hand_over
from ablate.launch.outcome import Outcome, stops
from ablate.plan.planning import Plan, plan
from ablate.plan.request import Request, name_of
from ablate.plan.run import Run
from ablate.streams import visible
from ablate.study.comparison import StudyPlan, plan_study, run_study
from ablate.study.grids import note_request

FEW_SEEDS = 5  # up to which it is worth asking whether they are enough


def parser(name: str) -> argparse.ArgumentParser:
    """Make Hydra's parser of flags and overrides, with the name of our command."""
    made: argparse.ArgumentParser = get_args_parser()
    made.prog = name
    made.add_argument(
        "--trust", action="store_true", help="files named here may run their own code"
    )

    def refuse(message: str) -> NoReturn:
        raise AblateError(f"{message}; see `{name} --help`")

    made.error = refuse  # type: ignore[method-assign]  # else argparse prints and exits itself
    return made


def request_of(args: argparse.Namespace) -> Request:
    """Make a request from what Hydra's parser found."""
    return Request(
        tuple(args.overrides),
        args.config_name or "config",
        args.config_dir or args.config_path,
        bool(args.multirun),
        trust=bool(args.trust),
    )


def planned(request: Request) -> list[Plan]:
    """Plan a request, including runs that have ended; a study that tunes gives two plans.

    Raises:
        AblateError: The request is wrong.
    """
    if request.study is not None:
        return planned_study(request).plans
    data.forget()
    plans = [plan(request, whole=True)]
    _note_repeats(request)
    return plans


def planned_study(request: Request) -> StudyPlan:
    """Plan a study, including runs that have ended.

    Raises:
        AblateError: The request, which names a study, is wrong.
    """
    data.forget()
    study = plan_study(request, whole=True)
    _note_repeats(request)
    return study


def trained(request: Request) -> Outcome:
    """Train the runs of a request that have not ended.

    Raises:
        AblateError: The request is wrong; nothing was started.
    """
    data.forget()
    if request.study is not None:
        study = plan_study(request)
        _require_room(study.reported.runs)
        _note_repeats(request)
        _note_few_seeds(study)
        for part in study.plans:
            require_executor(part)
        return run_study(study)
    made = plan(request)
    _require_room(made.runs)
    _note_repeats(request)
    if not made.hands_over:
        require_executor(made)
    with stops() as caught:
        note_request(made)
    if caught:
        return outcome_of(made, caught[0])
    return hand_over(made) if made.hands_over else execute(made)


def _require_room(runs: Sequence[Run]) -> None:
    """With `report=true`, check now that the report can be written after training.

    Raises:
        AblateError: The report's folder holds files that no report wrote.
    """
    if not runs[-1].config["report"]:
        return
    from ablate.report.write import FOLDER, require_room  # statistics take a second to import

    require_room(runs[0].sweep / FOLDER)


def _note_few_seeds(study: StudyPlan) -> None:
    """Print to standard error which claims have too few seeds for a verdict."""
    found = study.study
    if min(len(found.seeds_of(arm)) for arm in found.arms) > FEW_SEEDS:
        return
    from ablate.commands.prospects import too_few  # statistics take a second to import

    for note in too_few(study):
        print(visible(f"ablate: note: {note}"), file=sys.stderr)


def _note_repeats(request: Request) -> None:
    """Print to standard error which override wins if several set the same knob."""
    names = [name_of(override) for override in request.overrides]
    last = dict(zip(names, request.overrides, strict=True))
    for name, count in Counter(names).items():
        if count > 1:
            told = f"ablate: {name} is set {count} times; {last[name]} holds"
            print(visible(told), file=sys.stderr)


def tell(outcome: Outcome) -> None:
    """Print to standard error why a request stopped early, if it did."""
    if outcome.stop is not None:
        print(visible(f"ablate: {outcome.stop.message}"), file=sys.stderr)
