"""Serves `ablate inspect` and `ablate.inspect`: check, train, look, write, print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from ablate import written
from ablate.commands.asking import Asked, Words, served
from ablate.commands.inspect.request import checked

if TYPE_CHECKING:
    from ablate.commands.inspect.page import Inspection
    from ablate.measure.inspection import Inspected


def serve(command: str, arguments: list[str], arms: Sequence[str]) -> int:
    """Serve `ablate inspect`; see `asking.served` for arguments, status and errors."""
    return served(_serve, command, arguments, arms)


def inspect(words: Words) -> Inspection:
    """Serve `ablate.inspect`."""
    return _looked(words)[-1]


def _serve(words: Words) -> int:
    asked, inspected, found = _looked(words)
    from ablate.commands.inspect.page import show

    show(asked, inspected, found.folder, Console())
    return 1 if inspected.failures else 0


def _looked(words: Words) -> tuple[Asked, Inspected, Inspection]:
    asked = checked(words)  # a wrong request is refused before torch is loaded
    from ablate.commands.inspect import page
    from ablate.commands.inspect.look import look

    written.require_folder(page.folder_of(asked))
    inspected = look(asked)
    return asked, inspected, page.write(asked, inspected)
