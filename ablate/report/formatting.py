"""How numbers are written: errors as %, their differences in points, no p as zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from ablate.config import schema

NONE: Final = "–"  # what cannot be known
MINUS: Final = "\u2212"
_FRACTIONS: Final = (
    *("accuracy", "error", "ece", "error_lowest", "error_area", "error_spread"),
    *("acted", "agreement", "saturated", "dead"),
)
_SPOKEN: Final = {
    "epochs_to_best": "epochs to the best",
    "epochs_to_target": "epochs to the target",
    "seconds": "training time",
    "images_per_second": "images per second",
    "val/error_lowest": "lowest val error",
    "val/error_area": "area under the val error",
    "val/error_spread": "spread of the last val errors",
}


@dataclass(frozen=True)
class Unit:
    """How a metric is written.

    Attributes:
        scale: What its recorded number is multiplied by.
        decimals: Digits after the point; None writes three digits in all, or none after it.
        name: Of a value: ``%``, ``s`` or nothing.
        difference: Of a difference: ``points`` where a value is in %.
        signed: Whether a difference bears a sign; a ratio, which takes its place, does not.
        tiny: Whether a value may be tiny or huge, and is written with three significant digits.
    """

    scale: float
    decimals: int | None
    name: str
    difference: str
    signed: bool = True
    tiny: bool = False


RATIO: Final = Unit(1, 2, "", "", signed=False)


def unit_of(metric: str) -> Unit:
    """Tell how a metric is written."""
    parts = metric.split("/")
    first, leaf = parts[0], parts[-1]
    if any(part in _FRACTIONS for part in parts):
        return Unit(100, 2, "points" if first == "gap" else "%", "points")
    if first == "inspect":
        return Unit(1, None, "", "", tiny=True)
    if leaf in ("loss", "brier"):
        return Unit(1, 4, "", "")
    if first == "evaluate":
        return Unit(1, 3, "", "")
    if metric.startswith("epochs_to"):
        return Unit(1, 1, "", "")
    return Unit(1, None, "s" if metric == "seconds" else "", "s" if metric == "seconds" else "")


def spoken(metric: str) -> str:
    """Name a metric in a sentence: ``test error``, ``accuracy gap``."""
    if metric in _SPOKEN:
        return _SPOKEN[metric]
    split, _, leaf = metric.partition("/")
    if split == "inspect":
        metric = metric.replace("_", " ")
    return f"{leaf} gap" if split == "gap" else metric.replace("/", " ")


def titled(metric: str, difference: bool = False) -> str:
    """Name a metric with its unit: ``test error, %``."""
    unit = unit_of(metric)
    name = unit.difference if difference else unit.name
    return f"{spoken(metric)}{', ' if name else ''}{name}"


def written(value: float, unit: Unit, signed: bool = False) -> str:
    """Write a number in its unit, without its name; NaN as a dash."""
    if value is None or math.isnan(value):
        return NONE
    scaled, signed = value * unit.scale, signed and unit.signed
    if unit.tiny:
        text = f"{scaled:+.3g}"
    elif unit.decimals is not None:
        text = f"{scaled:+,.{unit.decimals}f}"
    else:
        text = f"{scaled:+,.{0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2}f}"
    if not any(digit in text for digit in "123456789"):  # no sign on a zero
        text = f"+{text[1:]}"
        signed = False
    return (text if signed else text.removeprefix("+")).replace("-", MINUS)


def interval(low: float, high: float, unit: Unit, signed: bool = False) -> str:
    """Write an interval as ``[0.10, 0.35]``, or nothing where there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"[{written(low, unit, signed)}, {written(high, unit, signed)}]"


def plus_minus(mean: float, low: float, high: float, unit: Unit) -> str:
    """Write a mean with half the width of its interval, or alone where there is none."""
    if math.isnan(low) or math.isnan(high):
        return written(mean, unit)
    return f"{written(mean, unit)} ± {written((high - low) / 2, unit)}"


def p_value(p: float) -> str:
    """Write a p: three decimals, and none as zero."""
    if math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def knob(name: str) -> str:
    """Name a knob as on the command line: ``norm`` for ``norm.name``."""
    return name.removesuffix(".name")


def level(value: Any) -> str:
    """Write the value of a knob as a frame holds it, where lists are text already."""
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
