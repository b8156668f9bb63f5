"""`ablate run`: from a command line to an exit status."""

from __future__ import annotations

import argparse
import os
import sys

import hydra
from hydra.errors import HydraException
from rich.console import Console

from ablate import record
from ablate.commands.printing import say
from ablate.commands.requests import parser, request_of, tell, trained
from ablate.commands.run_table import show_run
from ablate.commands.sweep_table import report_sweep, show_sweep
from ablate.config import files
from ablate.errors import AblateError, listed
from ablate.launch.hydra_adapter import train
from ablate.launch.interruption import INTERRUPTED, stop_like_ctrl_c
from ablate.launch.outcome import Outcome
from ablate.plan.override_checks import check
from ablate.plan.request import Request
from ablate.plan.session import composing, find_plugins, first_lines, hydra_session
from ablate.plan.trust_checks import require_before_composing


def serve(arguments: list[str]) -> int:
    """Serve `ablate run`.

    Raises:
        AblateError: The request is wrong; nothing was started.
    """
    args = parser("ablate run").parse_intermixed_args(arguments)
    if args.shell_completion:
        _require_shell(args.overrides)
    if args.hydra_help or args.shell_completion:
        with hydra_session(request_of(args)) as session:
            require_before_composing(session, request_of(args))
        _hand_to_hydra([word for word in arguments if word != "--trust"])
        return 0
    if args.experimental_rerun:
        raise AblateError(
            "--experimental-rerun is not supported: to go on, give the same command again"
        )
    request = request_of(args)
    if args.cfg or args.info:
        return _show_configuration(request, args)
    stop_like_ctrl_c()
    try:
        outcome = trained(request)
    except KeyboardInterrupt:
        print("ablate: interrupted before training began", file=sys.stderr)
        return INTERRUPTED
    tell(outcome)
    _show(request, outcome, Console())
    return outcome.status


def _require_shell(words: list[str]) -> None:
    """Check what follows `-sc`, which Hydra itself answers with a traceback."""
    verbs, shells = ("install", "uninstall", "query"), ("bash", "fish", "zsh")
    verb, _, shell = words[0].partition("=") if len(words) == 1 else ("", "", "")
    if verb not in verbs or shell not in shells:
        raise AblateError(
            f"--shell-completion takes one of {listed(verbs)} with a shell ({listed(shells)}):"
            ' eval "$(ablate run -sc install=bash)"'
        )
    if verb == "query" and "COMP_LINE" not in os.environ:
        raise AblateError("--shell-completion query=... is only for the shell itself")


def _show(request: Request, outcome: Outcome, console: Console) -> None:
    runs = outcome.runs
    if not request.is_single:
        show_sweep(outcome, console)
    elif lost := outcome.unrecorded(runs[0]):
        say(console, f"failed: {lost}")
    elif (found := record.read(runs[0].directory)) is not None:
        show_run(runs[0], found, console)
    if runs[-1].config["report"] and not outcome.is_cut_short:
        report_sweep(runs, console)


def _show_configuration(request: Request, args: argparse.Namespace) -> int:
    if request.multirun or request.study is not None:
        what = "-m" if request.multirun else "+study"
        raise AblateError(f"--cfg and --info show one configuration: leave out {what}")
    with hydra_session(request) as session:
        checked = check(session, request, composing(session, request))
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
    find_plugins()
    sys.argv = ["ablate run", *arguments]
    main = hydra.main(version_base="1.3", config_path=str(files.CONF), config_name="config")
    try:
        main(train)()
    except HydraException as error:  # its help, too, composes the overrides
        raise AblateError(first_lines(error)) from error
