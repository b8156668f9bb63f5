"""Learning-rate schedules as functions of the step, for arrays of numpy or torch.

Training makes its table of rates with torch (`optim/schedule.py`). Planning computes some of the
same numbers with numpy, which starts fast, to see whether a knob changes any of them. So each
schedule is written once, with functions that have the same name in both libraries.

Each schedule is a function of the step t = 0 ... S - 1 of the S steps after the warm-up; it gives
the rate as a fraction of `optimizer.lr`. `plateau`, which waits for the validation loss, is a
constant here, and a factor in `config/course.py`.

Source: step, multistep, exponential, polynomial and plateau, torch.optim.lr_scheduler; cosine and
warm_restarts, Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5; cyclic, Smith 2017,
arXiv:1506.01186, section 3; one_cycle, Smith & Topin 2018, arXiv:1708.07120, with the cosine arcs
of torch's OneCycleLR; warm-up, Goyal et al. 2017, arXiv:1706.02677, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.config.course import Length, warmup_steps

Schedule = Mapping[str, Any]
Array = Any  # of numpy or torch, float64
_LARGEST = 700.0  # exponent of e beyond which numbers are hardly finite


@dataclass(frozen=True)
class _Span:
    """The steps that a schedule fills.

    Attributes:
        step: Numbers of those asked for, from 0.
        steps: How many there are, at least 1.
        epoch: Steps of an epoch.
        xp: The library of arrays, numpy or torch.
    """

    step: Array
    steps: int
    epoch: int
    xp: Any


def fractions(schedule: Schedule, length: Length, step: Array, xp: Any) -> Array:
    """Compute the learning rate at some steps of a training, as a fraction of the base rate.

    Args:
        schedule: The `schedule` part of a configuration.
        length: How long the training is.
        step: Numbers of the steps from 0, rising, float64 [N], an array of the library.
        xp: The library, numpy or torch.

    Returns:
        float64 [N]. During a warm-up of W steps the fraction of step t is (t + 1)/W; the schedule
        fills the steps that are left.
    """
    warmup = warmup_steps(schedule, length)
    early = step < warmup
    rising = (step[early] + 1) / max(warmup, 1)
    # The others in an array of their own: torch's powers of the last numbers in an array, which
    # fill no vector, differ from those of the others in the last bit.
    span = _Span(step[~early] - warmup, max(length.steps - warmup, 1), length.epoch_steps, xp)
    return xp.concatenate([rising, _FRACTIONS[schedule["name"]](schedule, span)])


# -- one function a schedule -----------------------------------------------------------------------


def _constant(schedule: Schedule, span: _Span) -> Array:
    """Keep the rate."""
    return span.xp.ones_like(span.step)


def _step(schedule: Schedule, span: _Span) -> Array:
    """Multiply by gamma each time a share of training has passed."""
    falls = span.xp.floor(span.step / max(round(schedule["every"] * span.steps), 1))
    return _power(schedule["gamma"], falls, span)


def _multistep(schedule: Schedule, span: _Span) -> Array:
    """Multiply by gamma at each milestone."""
    at = [round(share * span.steps) for share in schedule["milestones"]]
    falls = span.xp.searchsorted(_array(at, span), span.step, side="right")
    return _power(schedule["gamma"], _array(falls, span), span)


def _exponential(schedule: Schedule, span: _Span) -> Array:
    """Multiply by gamma over each epoch, step by step."""
    return _power(schedule["gamma"], span.step / span.epoch, span)


def _linear(schedule: Schedule, span: _Span) -> Array:
    """Fall along a line."""
    return _between(schedule["final"], 1 - span.step / span.steps)


def _polynomial(schedule: Schedule, span: _Span) -> Array:
    """Fall as a power of the share of training that is left."""
    return _between(schedule["final"], (1 - span.step / span.steps) ** schedule["power"])


def _cosine(schedule: Schedule, span: _Span) -> Array:
    """Fall along half a cosine."""
    return _between(schedule["final"], _arc(span.step / span.steps, span))


def _warm_restarts(schedule: Schedule, span: _Span) -> Array:
    """Fall along half a cosine, again and again; each cycle `growth` times as long."""
    edges = _cycles(schedule["cycles"], float(schedule["growth"]), span)
    cycle = span.xp.searchsorted(edges[1:-1], span.step, side="right")
    share = (span.step - edges[cycle]) / (edges[cycle + 1] - edges[cycle])
    return _between(schedule["final"], _arc(share, span))


def _cyclic(schedule: Schedule, span: _Span) -> Array:
    """Rise and fall along lines; in triangular2 each peak is half as high as the one before."""
    place = span.step * schedule["cycles"] / span.steps
    cycle = span.xp.floor(place)
    height = 1 - abs(2 * (place - cycle) - 1)
    if schedule["mode"] == "triangular2":
        height = height * 0.5**cycle
    return _between(schedule["final"], height)


def _one_cycle(schedule: Schedule, span: _Span) -> Array:
    """Rise along half a cosine to the full rate, then fall along another."""
    top = schedule["rise"] * span.steps - 1
    last = span.steps - 1
    rising = _arc(1 - span.step / top, span) if top > 0 else span.xp.ones_like(span.step)
    falling = _arc((span.step - top) / (last - top), span)
    up = _between(schedule["initial"], rising)
    return span.xp.where(span.step <= top, up, _between(schedule["final"], falling))


_FRACTIONS: dict[str, Callable[[Schedule, _Span], Array]] = {
    "constant": _constant,
    "step": _step,
    "multistep": _multistep,
    "exponential": _exponential,
    "linear": _linear,
    "polynomial": _polynomial,
    "cosine": _cosine,
    "warm_restarts": _warm_restarts,
    "cyclic": _cyclic,
    "one_cycle": _one_cycle,
    "plateau": _constant,
}


def _array(values: Any, span: _Span) -> Array:
    return span.xp.asarray(values, dtype=span.xp.float64)


def _power(gamma: float, falls: Array, span: _Span) -> Array:
    return _array(float(gamma), span) ** falls


def _between(final: float, share: Array) -> Array:
    """Go from `final` (share 0) to 1 (share 1)."""
    return float(final) + (1 - float(final)) * share


def _arc(share: Array, span: _Span) -> Array:
    """Fall from 1 to 0 along half a cosine while the share rises from 0 to 1."""
    return (1 + span.xp.cos(math.pi * share)) / 2


def _cycles(count: int, growth: float, span: _Span) -> Array:
    """Divide the steps into cycles, each `growth` times as long as the one before: [count + 1]."""
    power = _array(range(count), span)
    if math.log(growth) * (count - 1) > _LARGEST:
        power = power - (count - 1)  # lengths in units of the last: the first ones vanish
    lengths = growth**power
    ends = span.xp.cumsum(lengths, 0) * (span.steps / lengths.sum())
    # Whole lengths stay whole, so that a cycle begins exactly at a step.
    whole = span.xp.round(ends)
    ends = span.xp.where(abs(ends - whole) < 1e-6, whole, ends)
    return span.xp.concatenate([span.xp.zeros(1, dtype=span.xp.float64), ends])
