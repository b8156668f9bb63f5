"""Schedules of the learning rate: the rate of each step, as a share of `optimizer.lr`.

Each begins after the warm-up, in which the rate rises along a line, and fills the steps that are
left.

When it helps: nearly always, at the end. Steps of one length wander about a minimum, the farther
the longer they are; as the rate falls, weights settle. A warm-up helps where the first gradients
are wild: large batches, high rates, networks without a norm. It hurts to fall too early, which
freezes a network that still learns; and to stop early with a schedule that is at its best at the
last step (linear, polynomial, cosine, one_cycle), as early stopping does.
Settings: cosine or linear to 0, with the highest rate tuned; a warm-up of 5 epochs for batches of
thousands, else of none or a twentieth of training.
Source: Li, Yumer & Ramanan 2020, arXiv:1905.04753 (falling to 0 by the end of the budget); Goyal et
al. 2017, arXiv:1706.02677, section 2.2 (warm-up).

Each schedule is written once, with functions that have the same name in torch and numpy: training
makes its table of rates with torch (`optim/schedule.py`), and planning computes some of the same
numbers with numpy, which starts fast, to see whether a knob changes any of them. Each is a function
of the step t = 0 ... S - 1 of the S steps after the warm-up. `plateau`, which waits for the
validation loss, is a constant here, and a factor in `config/course.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.config.course import Length, warmup_steps

Schedule = Mapping[str, Any]
Array = Any  # of numpy or torch, float64
_LARGEST = 700.0  # e to a larger power soon overflows


@dataclass(frozen=True)
class _Span:
    """The steps that a schedule fills.

    Attributes:
        step: Numbers of the steps to compute, from 0.
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
    # The later steps get an array of their own: where an array's last numbers do not fill a vector,
    # torch's powers of them differ in the last bit.
    span = _Span(step[~early] - warmup, max(length.steps - warmup, 1), length.epoch_steps, xp)
    return xp.concatenate([rising, FRACTIONS[schedule["name"]](schedule, span)])


# -- one function a schedule -----------------------------------------------------------------------


def _constant(schedule: Schedule, span: _Span) -> Array:
    """Keep the rate.

    The baseline; suits averages of the weights (ema, swa), which settle in a falling rate's place.

    Source: Bottou, Curtis & Nocedal 2018, arXiv:1606.04838, theorem 4.6 (how far from the minimum
    steps of one length end).
    """
    return span.xp.ones_like(span.step)


def _step(schedule: Schedule, span: _Span) -> Array:
    """Multiply by gamma each time a share of training has passed.

    By 0.1 after each third, unless told otherwise.

    Source: torch.optim.lr_scheduler.StepLR (there after so many epochs).
    """
    falls = span.xp.floor(span.step / max(round(schedule["every"] * span.steps), 1))
    return _power(schedule["gamma"], falls, span)


def _multistep(schedule: Schedule, span: _Span) -> Array:
    """Multiply by gamma at each milestone.

    By 0.1 after 1/2 and 3/4 of training, as residual networks learned CIFAR-10.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2; torch.optim.lr_scheduler.MultiStepLR.
    """
    at = [round(share * span.steps) for share in schedule["milestones"]]
    falls = span.xp.searchsorted(_array(at, span), span.step, side="right")
    return _power(schedule["gamma"], _array(falls, span), span)


def _exponential(schedule: Schedule, span: _Span) -> Array:
    """Multiply by gamma over each epoch, step by step.

    Gamma must suit the length: 0.9 leaves 4 % after 30 epochs, and 0.003 % after 100.

    Source: torch.optim.lr_scheduler.ExponentialLR (there at once after each epoch).
    """
    return _power(schedule["gamma"], span.step / span.epoch, span)


def _linear(schedule: Schedule, span: _Span) -> Array:
    """Fall along a line.

    To 0, unless told otherwise: no number to tune, and hard to beat in a training of fixed length.

    Source: Li, Yumer & Ramanan 2020, arXiv:1905.04753.
    """
    return _between(schedule["final"], 1 - span.step / span.steps)


def _polynomial(schedule: Schedule, span: _Span) -> Array:
    """Fall as a power of the share of training that is left.

    A power of 2 falls sooner than a line, one below 1 later.

    Source: Chen et al. 2018, arXiv:1606.00915, section 4.1 (0.9);
    torch.optim.lr_scheduler.PolynomialLR.
    """
    return _between(schedule["final"], (1 - span.step / span.steps) ** schedule["power"])


def _cosine(schedule: Schedule, span: _Span) -> Array:
    """Fall along half a cosine.

    Stays long near the highest rate, then long near 0. The usual first choice.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5.
    """
    return _between(schedule["final"], _arc(span.step / span.steps, span))


def _warm_restarts(schedule: Schedule, span: _Span) -> Array:
    """Fall along half a cosine, again and again; each cycle `growth` times as long.

    With 3 cycles and a growth of 2, restarts come after 1/7 and 3/7 of training. The end of each
    cycle has settled weights, of use where training may be cut short.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, section 3 and equation 5.
    """
    edges = _cycles(schedule["cycles"], float(schedule["growth"]), span)
    cycle = span.xp.searchsorted(edges[1:-1], span.step, side="right")
    share = (span.step - edges[cycle]) / (edges[cycle + 1] - edges[cycle])
    return _between(schedule["final"], _arc(share, span))


def _cyclic(schedule: Schedule, span: _Span) -> Array:
    """Rise and fall along lines; in triangular2 each peak is half as high as the one before.

    4 cycles between 0.1 and 1 times the rate, unless told otherwise: a range tolerates a rate that
    is not quite tuned.

    Source: Smith 2017, arXiv:1506.01186, section 3.
    """
    place = span.step * schedule["cycles"] / span.steps
    cycle = span.xp.floor(place)
    height = 1 - abs(2 * (place - cycle) - 1)
    if schedule["mode"] == "triangular2":
        height = height * 0.5**cycle
    return _between(schedule["final"], height)


def _one_cycle(schedule: Schedule, span: _Span) -> Array:
    """Rise along half a cosine to the full rate, then fall along another.

    From 4 % of the rate over 30 % of training, then to almost 0; the peak may be a few times the
    best constant rate, and training short. Momentum stays as it is.

    Source: Smith & Topin 2018, arXiv:1708.07120, with the arcs and shares of
    torch.optim.lr_scheduler.OneCycleLR.
    """
    top = schedule["rise"] * span.steps - 1
    last = span.steps - 1
    rising = _arc(1 - span.step / top, span) if top > 0 else span.xp.ones_like(span.step)
    falling = _arc((span.step - top) / (last - top), span)
    up = _between(schedule["initial"], rising)
    return span.xp.where(span.step <= top, up, _between(schedule["final"], falling))


def _plateau(schedule: Schedule, span: _Span) -> Array:
    """Multiply by gamma once the validation loss has not fallen for more than `patience` epochs.

    With a gamma of 0.1 and a patience of 3, unless told otherwise. Fits any length of training, but
    follows the noise of the validation loss: small validation sets want more patience.

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau (mode min, relative threshold 1e-4).
    """
    return _constant(schedule, span)  # the factor is `course.Plateau`'s


FRACTIONS: dict[str, Callable[[Schedule, _Span], Array]] = {
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
    "plateau": _plateau,
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
