"""How numbers are written: errors in %, differences in points, and never p = 0."""

from __future__ import annotations

import math
from typing import Any, Final

from ablate.config import schema
from ablate.metrics import Unit, metric_of

NONE: Final = "–"  # unknown
MINUS: Final = "\u2212"
RATIO: Final = Unit(1, 2, "", "", signed=False)


def titled(name: str, difference: bool = False) -> str:
    """Name a metric with its unit: ``test error, %``."""
    metric = metric_of(name)
    unit = metric.unit.difference if difference else metric.unit.name
    return f"{metric.label}{', ' if unit else ''}{unit}"


def written(value: float | None, unit: Unit, signed: bool = False) -> str:
    """Write a number in its unit, without the unit's name; NaN as a dash."""
    if value is None or math.isnan(value):
        return NONE
    scaled, signed = value * unit.scale, signed and unit.signed
    if unit.tiny:
        text = f"{scaled:+.3g}"
    elif unit.decimals is not None:
        text = f"{scaled:+,.{unit.decimals}f}"
    else:
        text = f"{scaled:+,.{0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2}f}"
    if math.isfinite(value) and not any(digit in text for digit in "123456789"):  # no sign on 0
        text = f"+{text[1:]}"
        signed = False
    return (text if signed else text.removeprefix("+")).replace("-", MINUS)


def interval(low: float, high: float, unit: Unit, signed: bool = False) -> str:
    """Write an interval as ``[0.10, 0.35]``; nothing if there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"[{written(low, unit, signed)}, {written(high, unit, signed)}]"


def plus_minus(mean: float, low: float, high: float, unit: Unit) -> str:
    """Write a mean with half the width of its interval, or alone if it has none."""
    if math.isnan(low) or math.isnan(high):
        return written(mean, unit)
    return f"{written(mean, unit)} ± {written((high - low) / 2, unit)}"


def p_value(p: float) -> str:
    """Write a p-value with three decimals, never as zero."""
    if math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_in_words(p: float) -> str:
    """Write a p-value in a sentence: ``p = 0.031`` or ``p < 0.001``."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def knob(name: str) -> str:
    """Name a knob as on the command line: ``norm`` for ``norm.name``."""
    return name.removesuffix(".name")


def level(value: Any) -> str:
    """Write a knob's value from a frame, in which lists are text already."""
    return (
        value if isinstance(value, str) else schema.shown(getattr(value, "item", lambda: value)())
    )


def ranges(values: list[int]) -> str:
    """Write 0, 1, 2, 5 as ``0 to 2, 5``."""
    parts: list[list[int]] = []
    for number in values:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]} to {p[-1]}" for p in parts)
