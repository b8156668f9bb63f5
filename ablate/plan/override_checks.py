"""Checks the overrides of a request, and reports all faults at once.

Hydra's own grammar and composition do the work. But Hydra reports one mistake at a time, in its own
terms; so mistakes are found here first, and reported in the user's terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig

from ablate.config import schema
from ablate.errors import AblateError, listed, nearest
from ablate.plan.compose import bare, is_group
from ablate.plan.overrides import is_interpolation, misplaced, slot_of, values_of
from ablate.plan.request import Request
from ablate.plan.session import compose, first_lines

Composed = Callable[[Sequence[str]], DictConfig]


@dataclass
class Checked:
    """A request whose overrides were checked one by one.

    Attributes:
        overrides: The sound ones, ready for Hydra.
        explicit: Names of the knobs that the request itself sets; a group counts as its option's
            knob (``optimizer.name``), or as itself if it has none (``dropout``).
        faults: What is wrong with the others.
        slots: Places where the user puts a class of their own, such as ``model``.
    """

    overrides: list[str] = field(default_factory=list)
    explicit: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    slots: set[str] = field(default_factory=set)


def check(hydra: Hydra, request: Request, composed: Composed | None = None) -> Checked:
    """Check every override: its grammar, its name, its value, and that its group has the option.

    Args:
        hydra: A session that finds the request's configurations.
        request: The request.
        composed: Composes a choice of options; by default Hydra does so anew each time.
    """
    composed = composed or partial(compose, hydra, request)
    checked = Checked()
    parsed = list(_parsed(hydra, request.overrides, checked))
    checked.slots = {slot for o in parsed if (slot := slot_of(o))}
    for slot in sorted(checked.slots):
        parsed = _with_own(parsed, slot, checked)
    chosen = [o for o in parsed if is_group(o) and _group_is_sound(hydra, o, request, checked)]
    checked.overrides = [str(o.input_line) for o in chosen]
    try:
        bases = [composed(choice) for choice in _choices(chosen)]
    except AblateError as error:
        raise AblateError(*checked.faults, *error.faults) from error
    checked.slots |= set.intersection(*(set(schema.targets(bare(base))) for base in bases))
    for override in parsed:
        if not is_group(override) and _value_is_sound(bases, override, request, checked):
            checked.overrides.append(str(override.input_line))
    return checked


def _choices(chosen: Sequence[Override]) -> list[list[str]]:
    """List every combination of the options that a grid names."""
    lists = [
        [f"{o.key_or_group}={value}" for value in values_of(o)]
        if o.is_sweep_override()
        else [str(o.input_line)]
        for o in chosen
    ]
    return [list(choice) for choice in product(*lists)]


def explicit_name(name: str) -> str:
    """Name the knob that an override sets; a group counts as its option's knob, or as itself."""
    return f"{name}.name" if f"{name}.name" in schema.BY_NAME else name


# -- one override ----------------------------------------------------------------------------------


def _parsed(hydra: Hydra, overrides: Sequence[str], checked: Checked) -> Iterator[Override]:
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    for text in overrides:
        try:
            override = replace(parser.parse_override(text), config_loader=hydra.config_loader)
            if not override.key_or_group:
                raise HydraException("there is no name")
            if override.is_discrete_sweep() and not values_of(override):
                raise HydraException("it names no value")
        except HydraException as error:
            reason = first_lines(error, 1).partition(" expecting ")[0]
            quoted = "; quote such a character: \"name='é'\"" if "token" in reason else ""
            checked.faults.append(
                f"'{text}' is no override: it takes knob=value or group=option ({reason}{quoted})"
            )
        else:
            yield override


def _with_own(parsed: list[Override], slot: str, checked: Checked) -> list[Override]:
    """Let a class of the user's own take any argument; choose ``custom`` where a group has it."""
    parser = OverridesParser.create()
    added = [
        replace(o, type=OverrideType.FORCE_ADD, input_line=f"++{str(o.input_line).lstrip('+')}")
        if schema.belongs(o.key_or_group, slot) or o.key_or_group == "model.activation._target_"
        else o
        for o in parsed
    ]
    if slot not in schema.OPTIONS:
        return added
    choices = [o for o in added if o.key_or_group == slot]
    if any(o.value() != "custom" for o in choices):
        checked.faults.append(
            f"{choices[0].input_line} and {slot}._target_ contradict each other: leave one out"
        )
        added = [o for o in added if o not in choices]
        choices = []
    return added if choices else [parser.parse_override(f"{slot}=custom"), *added]


def _group_is_sound(hydra: Hydra, override: Override, request: Request, checked: Checked) -> bool:
    group = override.key_or_group
    if group.startswith("hydra/"):
        return True
    if override.is_delete():
        checked.faults.append(f"{override.input_line}: the group {group} cannot be left out")
        return False
    if override.is_add() or override.is_force_add():
        plain = str(override.input_line).lstrip("+")
        checked.faults.append(f"{override.input_line}: {group} already exists; write {plain}")
        return False
    options = hydra.config_loader.get_group_options(group)
    sound = _sweep_is_sound(override, request, checked)
    for value in values_of(override) if sound else []:
        if str(value) not in options:
            checked.faults.append(
                f"{group}={schema.shown(value)} is not legal: {group} is one of"
                f" {listed(options)}{nearest(str(value), options)}"
            )
            sound = False
    checked.explicit.add(explicit_name(group))
    return sound


def _value_is_sound(
    bases: Sequence[DictConfig], override: Override, request: Request, checked: Checked
) -> bool:
    name = override.key_or_group
    argument = any(schema.belongs(name, slot) for slot in checked.slots)
    faults = [fault for base in bases if (fault := misplaced(base, override, argument)) is not None]
    if faults:
        checked.faults += faults
        return False
    if name.split(".")[0] == "hydra":
        return True
    sound = _sweep_is_sound(override, request, checked)
    knob = None if argument else schema.BY_NAME.get(name)
    for value in values_of(override) if sound else []:
        wrong = None if knob is None or is_interpolation(value) else knob.fault(value)
        if wrong is not None:
            checked.faults.append(wrong)
            sound = False
    checked.explicit.add(name)
    return sound


def _sweep_is_sound(override: Override, request: Request, checked: Checked) -> bool:
    if not override.is_sweep_override():
        return True
    if not request.multirun:
        checked.faults.append(
            f"{override.input_line} names several values: `ablate run -m` trains them all"
        )
        return False
    if override.is_interval_sweep() and not request.searches:
        checked.faults.append(
            f"{override.input_line}: an interval has no list of values to train; write a choice"
            " such as a,b,c or a range(start,stop,step), or take hydra/sweeper=optuna"
        )
        return False
    return True
