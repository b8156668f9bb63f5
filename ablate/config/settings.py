"""Settings of `ablate evaluate`, `ablate inspect` and `ablate lr-find`: knobs with defaults.

Each command declares a table of settings (`knobs/looking.py`), from which checks, messages and
`--help` derive, just as those of training derive from the table of knobs. On a command line,
settings are words, ``mode=grid`` or ``lr_find.mode=grid``; in Python they are arguments.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ablate.config.knob import Knob, shown
from ablate.config.types import Real
from ablate.errors import nearest

_WIDTH: Final = 74  # columns of a terminal, minus the indentation of help


@dataclass(frozen=True)
class Setting:
    """A setting of a command.

    Attributes:
        knob: Its name, type and help; its ``idle`` takes the values of all settings.
        default: Its value if the request does not set it.
    """

    knob: Knob
    default: Any


@dataclass(frozen=True)
class Settings:
    """The settings that a command has.

    Attributes:
        command: The command's name: ``lr-find``.
        each: The settings, in the order of `--help`.
        instead: Names that users may mistake for settings -> what to write instead.
    """

    command: str
    each: tuple[Setting, ...]
    instead: Mapping[str, str] = field(default_factory=dict)

    @property
    def knobs(self) -> dict[str, Knob]:
        """The knobs, by their names."""
        return {setting.knob.name: setting.knob for setting in self.each}

    @property
    def prefix(self) -> str:
        """The optional prefix of a name on the command line: ``lr_find.``."""
        return f"{self.command.replace('-', '_')}."


@dataclass(frozen=True)
class Given:
    """The settings of a request.

    Attributes:
        values: Name -> value of every setting; the default if the request sets none, or an illegal
            one.
        explicit: Names of the settings that the request sets.
        rest: Words that are not settings.
        faults: What is wrong, one sentence each.
    """

    values: Mapping[str, Any]
    explicit: frozenset[str]
    rest: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def of_words(settings: Settings, words: Iterable[str], beside: Collection[str] = ()) -> Given:
    """Read settings from the words of a command line.

    Args:
        settings: The settings of the command.
        words: The words.
        beside: Names of the knobs and groups that the command also takes. If there are any, a word
            that is not a setting may be an override, and is passed on. Otherwise it is a fault.
    """
    knobs = settings.knobs
    values: dict[str, Any] = {}
    rest: list[str] = []
    faults: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        own = name.removeprefix(settings.prefix)
        if not equals and not beside:
            faults.append(f"'{word}' is not a setting: a setting is name=value")
        elif not equals or (own not in knobs and own == name and _may_be(name, beside)):
            rest.append(word)
        elif own not in knobs:
            faults.append(_unknown(settings, name, beside if own == name else ()))
        elif own in values:
            faults.append(f"{own} is set twice")
        else:
            values[own], fault = _value(knobs[own], word.removeprefix(settings.prefix))
            faults += [fault] if fault else []
    return _given(settings, values, rest, faults)


def of_values(settings: Settings, values: Mapping[str, Any]) -> Given:
    """Take settings from Python.

    Args:
        settings: The settings of the command.
        values: Name -> value.
    """
    known = {name: value for name, value in values.items() if name in settings.knobs}
    unknown = [_unknown(settings, name) for name in values if name not in known]
    return _given(settings, known, (), unknown)


def described(settings: Settings) -> str:
    """List settings for `--help`: name and default, what each does, what it takes."""
    entries = [(_head(setting), _about(setting.knob)) for setting in settings.each]
    margin = max(len(head) for head, _ in entries) + 2
    lines = []
    for head, about in entries:
        first, *more = textwrap.wrap(about, _WIDTH - margin, break_on_hyphens=False)
        lines += [f"{head:<{margin}}{first}", *(" " * margin + line for line in more)]
    return textwrap.indent("\n".join(lines), "    ")


# -- parts -----------------------------------------------------------------------------------------


_UNREAD: Final = object()  # a value that could not be parsed; its fault is already listed


def _value(knob: Knob, word: str) -> tuple[Any, str | None]:
    """Parse a value with Hydra's grammar, as overrides are parsed; return it and any fault."""
    # Imported here, since Hydra takes long to import, and `--help` does not need it.
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException:
        return _UNREAD, f"'{word}' cannot be read: write {knob.name}=value, {knob.legal}"
    if override.is_sweep_override():
        return _UNREAD, f"{word} names several values: {knob.name} takes one, {knob.legal}"
    return override.value(), None


def _given(
    settings: Settings, values: Mapping[str, Any], rest: Iterable[str], faults: list[str]
) -> Given:
    """Check values, fill in defaults, and find settings that have no effect."""
    whole = {setting.knob.name: setting.default for setting in settings.each}
    sound = []
    for name, value in values.items():
        knob = settings.knobs[name]
        if value is _UNREAD:
            continue
        if fault := knob.fault(value):
            faults.append(fault)
        else:
            whole[name] = _typed(knob, value)
            sound.append(knob)
    for knob in sound:
        is_on = whole[knob.name] != knob.off
        if knob.idle is not None and is_on and (reason := knob.idle(whole)):
            faults.append(f"{knob.name}={shown(values[knob.name])} touches nothing: {reason}")
    return Given(whole, frozenset(values), tuple(rest), tuple(faults))


def _typed(knob: Knob, value: Any) -> Any:
    """Convert a legal value to its knob's type: `none` to None, and 1 to 1.0 for a real number."""
    if knob.null and "none" in knob.words and value == "none":
        return None
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and isinstance(knob.type, Real) else value


def _may_be(name: str, beside: Collection[str]) -> bool:
    """Tell whether a name may be an override's; with dots or signs, Hydra decides later."""
    return bool(beside) and (name in beside or not name.isidentifier())


def _unknown(settings: Settings, name: str, beside: Collection[str] = ()) -> str:
    """Say that there is nothing of this name."""
    what = "setting, knob or group" if beside else "setting"
    if name in settings.instead:
        return f"there is no {what} {name}: {settings.instead[name]}"
    hint = nearest(name.removeprefix(settings.prefix), [*settings.knobs, *beside])
    more = f"; `ablate {settings.command} --help` lists the settings"
    return f"there is no {what} {name}{hint or more}"


def _head(setting: Setting) -> str:
    knob, default = setting.knob, setting.default
    # An illegal default means that the setting has no effect until it is given.
    return f"{knob.name}=..." if knob.fault(default) else f"{knob.name}={shown(default)}"


def _about(knob: Knob) -> str:
    unit = f" ({knob.unit})" if knob.unit else ""
    null = f" ({knob.null})" if knob.null else ""
    return f"{knob.help}{unit}; takes {knob.legal}{null}"
