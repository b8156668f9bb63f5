"""Serves `ablate lr-find` and `ablate inspect`: from the words of a command line to a status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from rich.console import Console

from ablate.commands.asking import Words
from ablate.commands.requests import parser, request_of
from ablate.launch.interruption import INTERRUPTED


def serve(what: str, command: str, arguments: list[str], arms: Sequence[str]) -> int:
    """Serve a command that looks inside.

    Args:
        what: ``lr_find`` or ``inspect``: the folder of its modules.
        command: As it was called.
        arguments: Of the command line: settings and overrides, and Hydra's flags.
        arms: Further overrides, the words of an arm each.

    Returns:
        The exit status.

    Raises:
        AblateError: The request is wrong; nothing was started.
    """
    request = request_of(parser(command).parse_intermixed_args(arguments))
    words = Words(
        request.overrides, arms, request.multirun, request.config_name, request.config_dir
    )
    try:
        # A wrong request is refused before anything heavy is loaded.
        asked = import_module(f"ablate.commands.{what}.request").checked(words)
        status: int = import_module(f"ablate.commands.{what}.page").command(asked, Console())
    except KeyboardInterrupt:
        print("ablate: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status
