"""Serves `ablate lr-find` and `ablate.lr_find`: check, test, write, print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from ablate import written
from ablate.commands.asking import Asked, Words, served
from ablate.commands.lr_find.request import checked

if TYPE_CHECKING:
    from ablate.commands.lr_find.page import RangeTest
    from ablate.measure.lr_range import Curve


def serve(command: str, arguments: list[str], arms: Sequence[str]) -> int:
    """Serve `ablate lr-find`; see `asking.served` for arguments, status and errors."""
    return served(_serve, command, arguments, arms)


def lr_find(words: Words) -> RangeTest:
    """Serve `ablate.lr_find`."""
    return _tested(words)[-1]


def _serve(words: Words) -> int:
    asked, curves, found = _tested(words)
    from ablate.commands.lr_find.page import show

    show(asked, curves, found.folder, Console())
    return 0


def _tested(words: Words) -> tuple[Asked, list[Curve], RangeTest]:
    asked = checked(words)  # a wrong request is refused before torch is loaded
    from ablate.commands.lr_find import page
    from ablate.commands.lr_find.find import find

    written.require_folder(page.folder_of(asked))
    curves = find(asked)
    return asked, curves, page.write(asked, curves)
