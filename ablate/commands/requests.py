"""From a command's words to a request, and from a request to what came of it."""

from __future__ import annotations

import argparse
import sys

from hydra._internal.utils import get_args_parser

from ablate import data
from ablate.launch.execute import execute
from ablate.launch.hydra_adapter import hand_over
from ablate.launch.outcome import Outcome
from ablate.plan.planning import Plan, plan
from ablate.plan.request import Request
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
        return bring_about(request)
    made = plan(request)
    return hand_over(made) if made.hands_over else execute(made)


def tell(outcome: Outcome) -> None:
    """Say on standard error what stopped the whole, if anything did."""
    if outcome.stop is not None:
        print(f"ablate: {outcome.stop.told}", file=sys.stderr)
