"""The declaration of a knob, and how values are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ablate.config.course import Length
from ablate.config.types import Choice, Flag, ListOf, Real, Text, Type, Whole
from ablate.errors import listed, nearest

Config = Mapping[str, Any]  # nested: config["optimizer"]["lr"]

UNSET: Final = object()  # a knob without an off value: setting it at all asks for an effect


@dataclass(frozen=True)
class Knob:
    """One value of the configuration.

    Attributes:
        name: Dotted path, as on the command line.
        type: What values it takes.
        help: One line: what it does.
        role: ``result``, ``execution`` or ``label``.
        place: ``axis`` or ``graph``, for a result knob; meaningless otherwise.
        unit: Unit of the value, if any.
        null: What null means, if it is legal.
        words: Legal words in addition to the type.
        off: The value at which the knob does nothing and is left out of a run's key.
        idle: Given a config in which the knob is on, returns why it has no effect, or None.
        idle_in: The same, if that depends on the number of steps.
        source: Where its meaning comes from.
        acts_after: The moment from which it can change a number: ``start`` (the initial weights,
            or the first step), ``step`` (a later step), ``epoch`` (the first evaluation) or
            ``epochs`` (some epochs on).
        switches: Whether turning it on adds operations, so that runs with and without it cannot
            share a stack.
    """

    name: str
    type: Type
    help: str
    role: str = "result"
    place: str = "graph"
    unit: str = ""
    null: str = ""
    words: tuple[str, ...] = ()
    off: Any = UNSET
    idle: Callable[[Config], str | None] | None = None
    idle_in: Callable[[Config, Length], str | None] | None = None
    source: str = ""
    acts_after: str = "start"
    switches: bool = False

    @property
    def group(self) -> str:
        """The part of the name before the dot; empty for a top-level knob."""
        return self.name.partition(".")[0] if "." in self.name else ""

    @property
    def legal(self) -> str:
        """What values are legal, in words."""
        parts = self._choices or [str(self.type)]
        return listed([*parts, *self.words, *(["null"] if self.null else [])])

    @property
    def _choices(self) -> list[str]:
        if isinstance(self.type, Flag):
            return ["true", "false"]
        return [*self.type.words] if isinstance(self.type, Choice) else []

    def fault(self, value: Any) -> str | None:
        """Say what is wrong with a value, or None if it is legal."""
        if value is None and self.null:
            return None
        if isinstance(value, str) and value in self.words:
            return None
        if self.type.admits(value):
            return None
        choices = [*self._choices, *self.words]
        hint = nearest(value, choices) if isinstance(value, str) else ""
        beyond = next((found for v in _each(value) if (found := self._beyond(v))), "")
        return f"{self.name}={_brief(value)} is not legal: it takes {self.legal}{beyond}{hint}"

    def _beyond(self, value: Any) -> str:
        type_ = self.type.item if isinstance(self.type, ListOf) else self.type
        return type_.beyond(value) if isinstance(type_, Real | Text | Whole) else ""


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _brief(value: Any, most: int = 200) -> str:
    """Write a value like `shown`, cut off if it is long."""
    text = shown(value)
    return text if len(text) <= most else f"{text[:most]}..."


_NOT_TEXT = re.compile(r"[-+.]?\d[-+\d._eE]*|\[.*\]|true|false|null")  # unless it is quoted


def shown(value: Any) -> str:
    """Write a value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(shown(v) for v in value)}]"
    quoted = isinstance(value, str) and _NOT_TEXT.fullmatch(value)
    return f"'{value}'" if quoted else str(value)
