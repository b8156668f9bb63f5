"""Checks the overrides of a request, and reports all faults at once.

Hydra's own grammar and composition do the work. But Hydra reports one mistake at a time, in its own
terms, so mistakes are found here first and reported in the user's terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig

from ablate.config import schema
from ablate.errors import AblateError, listed, nearest
from ablate.plan.compose import bare, is_group
from ablate.plan.overrides import count_of, is_interpolation, misplaced, slot_of, values_of
from ablate.plan.request import Request, is_seed
from ablate.plan.session import Composed, first_lines

_MOST = 4  # knobs named in a hint
_PATHS = ("data.root", "out")  # knobs whose values are a user's paths, which may hold anything


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


def check(hydra: Hydra, request: Request, composed: Composed) -> Checked:
    """Check every override: its grammar, its name, its value, and that its group has the option.

    Args:
        hydra: A session that finds the request's configurations.
        request: The request.
        composed: Composes a choice of options.

    Raises:
        AblateError: The request names more runs than `max_runs`, or Hydra cannot compose it.
    """
    checked = Checked()
    parsed = list(_parsed(hydra, _whole(request.overrides, checked), checked))
    checked.faults += _swept_twice(parsed)
    _require_few(parsed, request, checked)
    parsed = [_forced(o) if o.key_or_group in schema.LATER else o for o in parsed]
    checked.slots = {slot for o in parsed if (slot := slot_of(o))}
    for slot in sorted(checked.slots):
        parsed = _with_own(parsed, slot, checked)
    chosen = [o for o in parsed if is_group(o) and _group_is_sound(hydra, o, request, checked)]
    checked.overrides = [str(o.input_line) for o in chosen]
    choices = _choices(chosen)
    settings = [str(o.input_line) for o in parsed if o.key_or_group.startswith("hydra.")]
    try:
        bases = [composed(choice) for choice in choices]
        if settings and not any(o.is_sweep_override() for o in parsed if o.is_hydra_override()):
            composed([*choices[0], *settings])  # Hydra itself knows what they take
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


def _swept_twice(parsed: Sequence[Override]) -> list[str]:
    """List sweeps of a knob that is set again: the last would win, and the grid lose a factor."""
    given: dict[str, list[Override]] = {}
    for override in parsed:
        given.setdefault(override.key_or_group, []).append(override)
    return [
        f"{name} is set more than once ({' and '.join(str(o.input_line) for o in some)}): leave"
        " out all but one"
        for name, some in given.items()
        if len(some) > 1 and any(o.is_sweep_override() for o in some)
    ]


def _require_few(parsed: Sequence[Override], request: Request, checked: Checked) -> None:
    """Count the runs that a request names, before anything lists them.

    Raises:
        AblateError: There are more than `max_runs`.
    """
    swept = {str(o.input_line): o for o in parsed if o.is_discrete_sweep()}
    counts = {text: count_of(o) for text, o in swept.items()}
    factors = [count for text, count in counts.items() if not is_seed(swept[text].key_or_group)]
    seeds = prod(count for text, count in counts.items() if is_seed(swept[text].key_or_group))
    grid = request.design == "factorial"
    runs = seeds * (prod(factors) if grid else 1 + sum(count - 1 for count in factors))
    if request.searches:  # the sweeper decides how many of them it trains
        runs = max(counts.values(), default=1)
    if request.multirun and runs > request.max_runs:
        raise AblateError(
            *checked.faults,
            f"{' '.join(swept)}: that is {runs:,} runs, more than max_runs={request.max_runs}:"
            " name fewer values, or raise max_runs",
        )


def explicit_name(name: str) -> str:
    """Name the knob that an override sets; a group counts as its option's knob, or as itself."""
    return f"{name}.name" if f"{name}.name" in schema.BY_NAME else name


# -- one override ----------------------------------------------------------------------------------


def _whole(overrides: Sequence[str], checked: Checked) -> list[str]:
    """Drop overrides that the shell split at a space, as in ``seed=1, 2``, and say so."""
    whole: list[str] = []
    for text in overrides:
        before = whole[-1] if whole else ""
        if "=" in text or not before.endswith((",", "[", "{", "(")):
            whole.append(text)
            continue
        whole[-1] = f"{before} {text}"
    for text in whole:
        if text not in overrides:
            joined = re.sub(r"(?<=[,\[{(]) ", "", text)
            checked.faults.append(
                f"'{text}' came in several words, since the shell splits at spaces: write"
                f" '{joined}'"
            )
    return [text for text in whole if text in overrides]


def _parsed(hydra: Hydra, overrides: Sequence[str], checked: Checked) -> Iterator[Override]:
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    for text in overrides:
        if not _is_utf8(text):
            checked.faults.append(f"{text!a} is not UTF-8: write it in that encoding")
            continue
        try:
            override = replace(_read(parser, text), config_loader=hydra.config_loader)
            if not override.key_or_group:
                raise HydraException("there is no name")
            if override.is_discrete_sweep() and not count_of(override):
                raise HydraException("it names no value")
        except (HydraException, ValueError, RecursionError) as error:
            checked.faults.append(
                f"'{_cut(text)}' is not an override: it takes knob=value or group=option"
                f" ({_reason(error)})"
            )
        else:
            yield override


def _read(parser: OverridesParser, text: str) -> Override:
    """Parse an override. A path that Hydra's grammar does not allow is taken literally."""
    try:
        return parser.parse_override(text)
    except HydraException:
        name, _, value = text.partition("=")
        if name.lstrip("+") not in _PATHS or not value or value[0] in "'\"":
            raise
        return parser.parse_override(f"{name}={_quoted(value)}")


def _quoted(value: str) -> str:
    """Quote a value so that Hydra takes all of it as text."""
    return '"' + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + (m[2] and '\\"'), value) + '"'


def _how_to_quote(name: str, override: Override) -> str:
    """Say how to write a path with commas or brackets, if one may be meant."""
    if name not in _PATHS:
        return ""
    value = str(override.input_line).partition("=")[2]
    return f"; if it is a path, quote it twice: '{name}={_quoted(value)}'"


def _reason(error: Exception) -> str:
    """Say why Hydra's parser refuses a text."""
    if isinstance(error, RecursionError):
        return "its brackets are nested too deeply"
    reason = _cut(first_lines(error, 1).partition(" expecting ")[0])
    odd = re.search(r"token recognition error at: '([^\w\s]|[^\x00-\x7f])", reason)
    return f"{reason}; quote this character: \"name='{odd[1]}'\"" if odd else reason


def _is_utf8(text: str) -> bool:
    """Tell whether a text can be written; Python reads other bytes as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _with_own(parsed: list[Override], slot: str, checked: Checked) -> list[Override]:
    """Let a user's class take any argument; choose ``custom`` if the group has it."""
    parser = OverridesParser.create()
    added = [
        _forced(o)
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


def _forced(override: Override) -> Override:
    """Let an override set a key that the configuration may lack."""
    text = f"++{str(override.input_line).lstrip('+')}"
    return replace(override, type=OverrideType.FORCE_ADD, input_line=text)


def _group_is_sound(hydra: Hydra, override: Override, request: Request, checked: Checked) -> bool:
    group = override.key_or_group
    if group.startswith("hydra/"):
        if override.is_sweep_override():
            checked.faults.append(
                f"{override.input_line} names several values: a setting of Hydra's own takes one"
            )
        return not override.is_sweep_override()
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
                f" {listed(options)}{nearest(str(value), options)}{_knobs_for(group, value)}"
            )
            sound = False
    checked.explicit.add(explicit_name(group))
    return sound


def _knobs_for(group: str, value: Any) -> str:
    """Name the knobs of a group that a number may have been meant for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    inside = [k for k in schema.KNOBS if k.group == group and k.fault(value) is None]
    names = [f"{knob.name}={schema.shown(value)}" for knob in inside[:_MOST]]
    return f"; a number is for one of its knobs: {listed(names)}" if names else ""


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
            checked.faults.append(f"{wrong}{_how_to_quote(name, override)}")
            sound = False
    checked.explicit.add(name)
    return sound


def _sweep_is_sound(override: Override, request: Request, checked: Checked) -> bool:
    if not override.is_sweep_override():
        return True
    if not request.multirun:
        checked.faults.append(
            f"{override.input_line} names several values: `ablate run -m` trains them all"
            f"{_how_to_quote(override.key_or_group, override)}"
        )
        return False
    if override.is_interval_sweep() and not request.searches:
        checked.faults.append(
            f"{override.input_line}: an interval has no list of values to train; write a choice"
            " such as a,b,c or a range(start,stop,step), or use hydra/sweeper=optuna"
        )
        return False
    return True
