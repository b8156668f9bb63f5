"""Serves `ablate run` and `ablate plan`: from the words of a command line to an exit status."""

from __future__ import annotations

import argparse
import signal
import sys

import hydra
from hydra._internal.utils import get_args_parser
from rich.console import Console

from ablate import record
from ablate.commands.run_table import show_run
from ablate.commands.sweep_tables import report_sweep, show_plan, show_sweep
from ablate.config import files
from ablate.errors import AblateError
from ablate.launch import command, hydra_task
from ablate.launch.execute import execution
from ablate.launch.execute import plan as plan_stacks
from ablate.launch.interruption import INTERRUPTED
from ablate.plan.request import Request, check, hydra_session
from ablate.study.comparison import unmeasured


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


def run(arguments: list[str]) -> int:
    """Serve `ablate run`.

    Raises:
        AblateError: The request is wrong; nothing was started.
    """
    args = parser("ablate run").parse_args(arguments)
    if args.hydra_help or args.shell_completion:
        _hand_to_hydra(arguments)
        return 0
    if args.experimental_rerun:
        raise AblateError(
            "--experimental-rerun is not supported: the same command goes on by itself"
        )
    request = request_of(args)
    if args.cfg or args.info:
        return _show_configuration(request, args)
    # From here on a SIGTERM, too, is a stop that is asked for.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _train(request)
    except KeyboardInterrupt:
        print("ablate: interrupted before training began", file=sys.stderr)
        return INTERRUPTED


def plan(arguments: list[str], measure: bool) -> int:
    """Serve `ablate plan`.

    Args:
        arguments: Of the command line.
        measure: Whether to estimate time and memory too.

    Raises:
        AblateError: The request is wrong.
    """
    request = request_of(parser("ablate plan").parse_args(arguments))
    runs = command.plan(request)
    stacks = plan_stacks(runs)
    how = execution(stacks)
    who = {"inline": "in this process", "workers": f"in {how.workers} worker processes"}
    threads = f", {how.threads} thread{'s' if how.threads != 1 else ''} each" if how.threads else ""
    console = Console()
    show_plan(runs, stacks, who.get(how.launch, "by SLURM") + threads, console)
    if measure:
        from ablate.launch.estimate import show_estimate  # imports torch

        show_estimate(stacks, how, console)
    return 0


def _train(request: Request) -> int:
    runs, interrupted = command.run(request)
    records = {run.key: record.read(run.directory) for run in runs}
    console = Console()
    if request.multirun or request.study is not None:
        show_sweep(runs, console)
    elif (found := records[runs[0].key]) is not None:
        show_run(runs[0], found, console)
    if runs[-1].config["report"] and not interrupted:
        report_sweep(runs, console)
    lacking = request.study is not None and not interrupted and unmeasured(runs)
    return command.status(command.to_judge(runs, records), interrupted) or int(lacking)


def _show_configuration(request: Request, args: argparse.Namespace) -> int:
    if request.multirun or request.study is not None:
        what = "-m" if request.multirun else "+study"
        raise AblateError(f"--cfg and --info show one configuration: leave out {what}")
    with hydra_session(request) as session:
        checked = check(session, request)
        if checked.faults:
            raise AblateError(*checked.faults)
        if args.info:
            session.show_info(args.info, request.config_name, checked.overrides)
        else:
            session.show_cfg(
                request.config_name, checked.overrides, args.cfg, args.package, args.resolve
            )
    return 0


def _hand_to_hydra(arguments: list[str]) -> None:
    sys.argv = ["ablate run", *arguments]
    hydra.main(version_base="1.3", config_path=str(files.CONF), config_name="config")(
        hydra_task.train
    )()
