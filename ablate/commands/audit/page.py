"""What `ablate audit` prints of a run."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from ablate.commands.audit.again import Recorded
from ablate.commands.audit.compare import Repetition
from ablate.commands.printing import say

_MOST = 4  # numbers in a line


def show(one: Recorded, compared: Repetition, console: Console) -> None:
    """Print how a run compares with itself, trained again."""
    say(console, f"{one.folder} ({one.arm}, seed {one.found['seed']}): {verdict(compared)}")
    for what in compared.lacking:
        say(console, f"  not compared: {what}")
    if compared.environment:
        say(console, f"  then → now: {'; '.join(compared.environment)}")


def verdict(compared: Repetition) -> str:
    """Say in one sentence whether a run is the same, or since when and by how much it differs."""
    if compared.same:
        weights = "" if compared.weights is None else " and weights"
        return f"the same to the last bit, in {compared.epochs} epochs, metrics{weights}"
    parts = []
    if compared.first is not None:
        where = f"from epoch {compared.first} of {compared.epochs} on"
        parts.append(f"differs {where}: {_by_how_much(compared.history)}")
    else:
        parts.append(f"differs after {compared.epochs} identical epochs")
    if compared.metrics:
        parts.append(f"at the end {_by_how_much(compared.metrics)}")
    if compared.weights:
        parts.append(f"weights by up to {compared.weights:.2g}")
    return "; ".join(parts)


def _by_how_much(apart: Mapping[str, float]) -> str:
    largest = sorted(apart.items(), key=lambda item: -item[1])
    told = [f"{name} by up to {amount:.2g}" for name, amount in largest[:_MOST]]
    more = len(largest) - _MOST
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")
