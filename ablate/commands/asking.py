"""Reads the requests of `ablate inspect` and `ablate lr-find`: their settings, and their runs.

Settings are words among the overrides, such as ``mode=grid`` or ``lr_find.mode=grid``. Runs come
from a grid (`-m`), from arms given one by one (`--arm "init=normal init.std=1"`), or from both.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.analyze import naming
from ablate.commands.interrupted import until_interrupted
from ablate.commands.requests import parser, planned, request_of, trained
from ablate.config import files, schema
from ablate.config.settings import Settings, of_words
from ablate.config.trust import UntrustedError
from ablate.errors import AblateError, DiskFullError
from ablate.plan.execution import stacks_of
from ablate.plan.request import Request, name_of
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack


@dataclass(frozen=True)
class Words:
    """The words of a command line.

    Attributes:
        overrides: Settings, and overrides for every arm.
        arms: More overrides, one string for each arm.
        multirun: Whether overrides may sweep.
        config_name: Primary configuration.
        config_dir: The user's own directory of configurations, or None.
        trust: Whether its folder, and that of a study, are trusted from now on.
    """

    overrides: Sequence[str] = ()
    arms: Sequence[str] = ()
    multirun: bool = False
    config_name: str = "config"
    config_dir: str | None = None
    trust: bool = False


@dataclass(frozen=True)
class Asked:
    """A checked request.

    Attributes:
        settings: Setting -> value, for every setting.
        requests: One request for each `--arm`; a single one without any.
        runs: All runs, each once.
        names: A name for each run: its arm, with the seed if the arm has several runs.
    """

    settings: Mapping[str, Any]
    requests: tuple[Request, ...]
    runs: tuple[Run, ...]
    names: tuple[str, ...]


def served(
    serve: Callable[[Words], int], command: str, arguments: list[str], arms: Sequence[str]
) -> int:
    """Parse a command line and serve the command.

    Args:
        serve: Does the work of the command, and returns the exit status.
        command: The command's name, for its help.
        arguments: The command line: settings, overrides and Hydra's flags.
        arms: More overrides, one string for each arm.

    Returns:
        The exit status.

    Raises:
        AblateError: The request is wrong; nothing was started.
    """
    request = request_of(parser(command).parse_intermixed_args(arguments))
    words = Words(
        request.overrides,
        arms,
        request.multirun,
        request.config_name,
        request.config_dir,
        request.trust,
    )
    return until_interrupted(lambda: serve(words))


def ask(settings: Settings, words: Words, contradictions: Callable[[Asked], list[str]]) -> Asked:
    """Check a request, and plan its runs.

    Args:
        settings: The settings of the command.
        words: The command line.
        contradictions: Lists contradictions in a request that is otherwise sound.

    Raises:
        AblateError: Something is wrong; it lists every fault.
    """
    if isinstance(words.overrides, str) or isinstance(words.arms, str):
        raise AblateError("overrides and arms are lists of text")
    given = of_words(settings, words.overrides, beside=[*schema.BY_NAME, *files.groups()])
    faults = list(given.faults)
    requests = [
        Request(
            _beside(given.rest, more),
            words.config_name,
            words.config_dir,
            words.multirun,
            trust=words.trust,
        )
        for more in _split(words.arms, faults)
    ]
    runs = _planned(requests, faults)
    asked = Asked(given.values, tuple(requests), tuple(runs), tuple(named(runs)))
    if found := faults or contradictions(asked):
        raise AblateError(*found)
    return asked


def named(runs: Sequence[Run]) -> list[str]:
    """Name runs by arm, and also by seed if an arm has several runs."""
    if not runs:
        return []
    flat = [schema.flatten(run.config) for run in runs]
    names = naming.names(flat)
    if set(names) == {naming.ONLY_ARM}:
        names = [str(run.config["name"]) for run in runs]
    many = Counter(names)
    seeds = naming.replicates(flat)
    return [
        name if many[name] == 1 else f"{name}, seed {seed}"
        for name, seed in zip(names, seeds, strict=True)
    ]


def _beside(rest: Sequence[str], arm: Sequence[str]) -> tuple[str, ...]:
    """Join the overrides of all arms with those of one, which win."""
    own = {name_of(override) for override in arm}
    return (*(override for override in rest if name_of(override) not in own), *arm)


def _split(texts: Sequence[str], faults: list[str]) -> list[list[str]]:
    """Split the text of each arm into words, as a shell would; without arms, give one empty arm."""
    found = []
    for text in texts:
        try:
            found.append(shlex.split(text))
        except ValueError as error:
            faults.append(f"--arm '{text}' cannot be parsed: {error}")
    return found if texts else [[]]


def _planned(requests: Sequence[Request], faults: list[str]) -> list[Run]:
    """Plan the runs of all requests, each run once; append what is wrong to the faults."""
    runs: dict[str, Run] = {}
    for request in requests:
        try:
            found = [run for plan in planned(request) for run in plan.runs]
        except UntrustedError:
            raise
        except AblateError as error:
            faults += error.faults
            continue
        runs |= {str(run.directory): run for run in found}
    return list(runs.values())


# -- training and stacks ---------------------------------------------------------------------------


def train(asked: Asked) -> None:
    """Train the runs of a request that have no final record; each record says how its run ended.

    Raises:
        DiskFullError: There is no space left for a record.
        KeyboardInterrupt: A stop was requested.
    """
    for request in asked.requests:
        stop = trained(request).stop
        if stop is not None and stop.why == "disk full":
            raise DiskFullError(stop.message)
        if stop is not None and stop.why == "interrupted":
            raise KeyboardInterrupt


def named_stacks(asked: Asked) -> Iterator[tuple[RunStack, list[str]]]:
    """Group the runs of a request into stacks; yield each with the names of its runs."""
    called = {id(run): name for run, name in zip(asked.runs, asked.names, strict=True)}
    for stack in stacks_of(asked.runs):
        yield stack, [called[id(run)] for run in stack.runs]
