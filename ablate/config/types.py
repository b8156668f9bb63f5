"""Types of knob values: what is legal, and how to say so."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import Any, Final

from ablate.errors import listed

LARGEST: Final = 2**63 - 1  # whole number
MANY: Final = 10**6  # repetitions at most: more would never end

# Training computes in single precision, from 1.2e-38 to 3.4e38; the margin is for what numbers are
# multiplied by. Beyond these, torch refuses a number, or takes it as 0.
HUGE: Final = 1e30
TINY: Final = 1e-30


@dataclass(frozen=True)
class Real:
    """A finite number between bounds; the bounds belong to the range unless they are open."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    least: float = TINY  # smallest size other than 0

    def __str__(self) -> str:
        if self.low == -math.inf and self.high == math.inf:
            return "a number"
        if self.high == math.inf:
            return f"a number {'>' if self.open_low else '≥'} {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"a number in {left}{self.low:g}, {self.high:g}{right}"

    def admits(self, value: Any) -> bool:
        """Tell whether the value is of this type and in range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if value != 0 and not self.least <= abs(value) <= HUGE:  # NaN too
            return False
        if not self.low <= value <= self.high:
            return False
        both = (value, _single(value))
        above = not self.open_low or min(both) > self.low
        return above and (not self.open_high or max(both) < self.high)

    def beyond(self, value: Any) -> str:
        """Say where the arithmetic ends, for a number too large or too small for it."""
        if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
            return ""
        if HUGE < abs(value) < math.inf:
            return f", up to {HUGE:g}"
        small = abs(value) < self.least
        return f", and none between 0 and {self.least:g}" if small else ""


def _single(value: float) -> float:
    """Round to single precision, in which 0.99999999 is 1."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


@dataclass(frozen=True)
class Whole:
    """A whole number between bounds that belong to the range."""

    low: int = 0
    high: int = LARGEST

    def __str__(self) -> str:
        return (
            f"a whole number ≥ {self.low}"
            if self.high == LARGEST
            else f"a whole number from {self.low} to {self.high}"
        )

    def admits(self, value: Any) -> bool:
        """Tell whether the value is of this type and in range."""
        return type(value) is int and self.low <= value <= self.high

    def beyond(self, value: Any) -> str:
        """Say where the arithmetic ends, for a number too large for it."""
        return ", below 2^63" if type(value) is int and value > self.high == LARGEST else ""


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return listed(self.words)

    def admits(self, value: Any) -> bool:
        """Tell whether the value is one of the words."""
        return isinstance(value, str) and value in self.words


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def __str__(self) -> str:
        return "true or false"

    def admits(self, value: Any) -> bool:
        """Tell whether the value is a truth value."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class Text:
    """A word or a path; if a pattern is given, the whole text must match it."""

    pattern: str = r".+"
    example: str = "text"
    most: int | None = None  # bytes in UTF-8

    def __str__(self) -> str:
        return self.example

    def admits(self, value: Any) -> bool:
        """Tell whether the value is text of this form (a number is taken as its digits)."""
        return (
            isinstance(value, str | int | float)
            and not isinstance(value, bool)
            and re.fullmatch(self.pattern, str(value)) is not None
            and (self.most is None or len(str(value).encode()) <= self.most)
        )

    def beyond(self, value: Any) -> str:
        """Say how long a text may be, if it is too long."""
        if self.most is None or len(str(value).encode()) <= self.most:
            return ""
        return f", of at most {self.most} bytes"


@dataclass(frozen=True)
class ListOf:
    """A list of values of one type; ``or_one`` also takes a single value, meant for every layer."""

    item: Real | Whole | Text
    at_least: int = 0
    or_one: bool = False

    def __str__(self) -> str:
        item = str(self.item)
        if self.or_one:
            return f"{item}, or a list with one for each layer"
        some = "a list" if self.at_least == 0 else f"a list of at least {self.at_least}"
        return f"{some}, each {item}"

    def admits(self, value: Any) -> bool:
        """Tell whether the value is such a list (or, with ``or_one``, such a single value)."""
        if self.or_one and self.item.admits(value):
            return True
        return (
            isinstance(value, list | tuple)
            and len(value) >= self.at_least
            and all(self.item.admits(v) for v in value)
        )


Type = Real | Whole | Choice | Flag | Text | ListOf
