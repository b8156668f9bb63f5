"""What a command that looks inside was asked: its own settings, and the runs it is to look at.

Settings are words among the overrides, as ``mode=grid`` or ``lr_find.mode=grid``. Runs come from a
grid (`-m`), from arms written one by one (`--arm "init=normal init.std=1"`), or from both.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ablate.analyze import naming
from ablate.config import files, schema
from ablate.config.knob import Knob
from ablate.config.types import Real
from ablate.errors import AblateError, nearest
from ablate.plan.request import Request
from ablate.plan.run import Run


@dataclass(frozen=True)
class Setting:
    """A setting of a command.

    Attributes:
        knob: Its name, type and help.
        default: Its value where none is given.
    """

    knob: Knob
    default: Any


@dataclass(frozen=True)
class Words:
    """What stands on a command line.

    Attributes:
        overrides: Settings and overrides, for every arm.
        arms: Further overrides, the words of an arm each.
        multirun: Whether overrides may sweep.
        config_name: Primary configuration.
        config_dir: A directory of the user's with configurations.
    """

    overrides: Sequence[str] = ()
    arms: Sequence[str] = ()
    multirun: bool = False
    config_name: str = "config"
    config_dir: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request that was checked.

    Attributes:
        settings: Value of every setting.
        requests: One an arm that was written out.
        runs: All runs, each once.
        names: What each run is called: its arm, and its seed where the arm has several.
    """

    settings: Mapping[str, Any]
    requests: tuple[Request, ...]
    runs: tuple[Run, ...]
    names: tuple[str, ...]


def ask(
    command: str,
    settings: Sequence[Setting],
    words: Words,
    contradictions: Callable[[Asked], list[str]],
) -> Asked:
    """Check a request, and plan its runs.

    Args:
        command: Name of the command's settings, ``lr_find`` or ``inspect``.
        settings: Those that it has.
        words: The command line.
        contradictions: Lists what does not go together in a request that is sound otherwise.

    Raises:
        AblateError: Something is wrong; every fault is told.
    """
    if isinstance(words.overrides, str) or isinstance(words.arms, str):
        raise AblateError("overrides and arms are lists of text")
    values, rest, faults = divided(command, settings, words.overrides)
    requests = [
        Request((*rest, *more), words.config_name, words.config_dir, words.multirun)
        for more in _split(words.arms, faults)
    ]
    runs = _planned(requests, faults)
    asked = Asked(values, tuple(requests), tuple(runs), tuple(named(runs)))
    if found := faults or contradictions(asked):
        raise AblateError(*found)
    return asked


def divided(
    command: str, settings: Sequence[Setting], words: Sequence[str]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Part a command's own settings from the overrides.

    Returns:
        The value of each setting; the overrides; what is wrong with the settings.
    """
    known = {setting.knob.name: setting.knob for setting in settings}
    values = {setting.knob.name: setting.default for setting in settings}
    rest, faults = [], []
    for word in words:
        name, sign, _ = word.partition("=")
        own = name.removeprefix(f"{command}.")
        if sign and own in known:
            value, fault = _value(known[own], word.removeprefix(f"{command}."))
            faults += [] if fault is None else [fault]
            values[own] = value
        elif own != name or (sign and _is_unknown(name)):
            legal = [*known] if own != name else [*known, *schema.BY_NAME, *files.groups()]
            faults.append(f"there is no setting, knob or group {name}{nearest(own, legal)}")
        else:
            rest.append(word)
    return values, rest, faults


def named(runs: Sequence[Run]) -> list[str]:
    """Name runs by their arms, and by their seeds where an arm has several runs."""
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


def _value(knob: Knob, word: str) -> tuple[Any, str | None]:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return None, f"'{word}' is no setting: it takes {knob.name}=value, {knob.legal}"
    if override.is_sweep_override():
        return None, f"{word} names several values: {knob.name} takes one, {knob.legal}"
    value = override.value()
    fault = knob.fault(value)
    if fault is None and isinstance(knob.type, Real) and isinstance(value, int):
        return float(value), None
    return value, fault


def _is_unknown(name: str) -> bool:
    """Tell whether a plain word names nothing; what has dots or signs, Hydra's check tells of."""
    return name.isidentifier() and name not in schema.BY_NAME and name not in files.groups()


def _split(texts: Sequence[str], faults: list[str]) -> list[list[str]]:
    """Cut each arm's text into words, as a shell does; without arms there is one, of no words."""
    found = []
    for text in texts:
        try:
            found.append(shlex.split(text))
        except ValueError as error:
            faults.append(f"--arm '{text}' does not read: {error}")
    return found if texts else [[]]


def _planned(requests: Sequence[Request], faults: list[str]) -> list[Run]:
    """Plan the runs of all requests, each run once; add what is wrong to the faults."""
    from ablate.commands.requests import planned

    runs: dict[str, Run] = {}
    for request in requests:
        try:
            found = [run for plan in planned(request) for run in plan.runs]
        except AblateError as error:
            faults += error.faults
            continue
        runs |= {str(run.directory): run for run in found}
    return list(runs.values())
