"""Trains those runs of an inspection that have no record yet, then inspects all of them."""

from __future__ import annotations

from ablate.commands.asking import Asked, named_stacks, train
from ablate.commands.inspect.request import by_record
from ablate.measure.inspection import Inspected, inspect_stack
from ablate.train.memory import keep_freed_memory


def look(asked: Asked) -> Inspected:
    """Look at the runs of a request.

    Raises:
        AblateError: A run that had finished before kept no weights.
        KeyboardInterrupt: A stop was requested.
    """
    keep_freed_memory()
    if by_record(asked):
        train(asked)
    inspected = Inspected(asked.settings["images"])
    for stack, names in named_stacks(asked):
        inspect_stack(stack, names, asked.settings, inspected)
    order = {name: place for place, name in enumerate(asked.names)}
    inspected.seen.sort(key=lambda seen: order[seen.name])
    return inspected
