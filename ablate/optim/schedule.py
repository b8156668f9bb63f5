"""Learning-rate schedules, step by step: a schedule is a table of rates, [T], made before training.

So it costs nothing in the loop, may differ along the run axis, and can be plotted without training.
`plateau`, which waits for the validation loss, is a constant table and a factor (`Plateau`).

Each schedule is a function of the step t = 0 ... T - 1 of the T steps after the warm-up; it gives
the rate as a fraction of `optimizer.lr`.

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

import torch
from torch import Tensor

Schedule = Mapping[str, Any]
THRESHOLD = 1e-4  # a validation loss is lower if it is so by this share, as in torch


@dataclass(frozen=True)
class Span:
    """The steps that a schedule fills.

    Attributes:
        step: Their numbers from 0, float64 [T].
        steps: How many they are, at least 1.
        epoch: Steps of an epoch.
    """

    step: Tensor
    steps: int
    epoch: int


def rates(schedule: Schedule, lr: float, steps: int, epoch_steps: int) -> Tensor:
    """Work out the learning rate of every step.

    Args:
        schedule: The `schedule` part of a configuration.
        lr: The base rate.
        steps: Steps T of the whole training.
        epoch_steps: Steps of an epoch.

    Returns:
        float64 [T]. During a warm-up of W steps the rate of step t (from 0) is lr·(t + 1)/W; the
        schedule fills the steps that are left.
    """
    warmup = min(round(schedule["warmup_epochs"] * epoch_steps), steps)
    rising = (torch.arange(warmup, dtype=torch.float64) + 1) / max(warmup, 1)
    step = torch.arange(steps - warmup, dtype=torch.float64)
    span = Span(step, max(steps - warmup, 1), epoch_steps)
    return lr * torch.cat([rising, _FACTORS[schedule["name"]](schedule, span)])


# -- one function a schedule -----------------------------------------------------------------------


def _constant(schedule: Schedule, span: Span) -> Tensor:
    """Keep the rate; on a plateau it falls by `Plateau`."""
    return torch.ones_like(span.step)


def _step(schedule: Schedule, span: Span) -> Tensor:
    """Multiply by gamma each time a share of training has passed."""
    falls = (span.step / max(round(schedule["every"] * span.steps), 1)).floor()
    return _power(schedule["gamma"], falls)


def _multistep(schedule: Schedule, span: Span) -> Tensor:
    """Multiply by gamma at each milestone."""
    at = torch.tensor([round(share * span.steps) for share in schedule["milestones"]])
    falls = (span.step[:, None] >= at).sum(1)
    return _power(schedule["gamma"], falls)


def _exponential(schedule: Schedule, span: Span) -> Tensor:
    """Multiply by gamma over each epoch, step by step."""
    return _power(schedule["gamma"], span.step / span.epoch)


def _linear(schedule: Schedule, span: Span) -> Tensor:
    """Fall along a line."""
    return _between(schedule["final"], 1 - span.step / span.steps)


def _polynomial(schedule: Schedule, span: Span) -> Tensor:
    """Fall as a power of the share of training that is left."""
    return _between(schedule["final"], (1 - span.step / span.steps) ** schedule["power"])


def _cosine(schedule: Schedule, span: Span) -> Tensor:
    """Fall along half a cosine."""
    return _between(schedule["final"], _arc(span.step / span.steps))


def _warm_restarts(schedule: Schedule, span: Span) -> Tensor:
    """Fall along half a cosine, again and again; each cycle `growth` times as long."""
    edges = _cycles(schedule["cycles"], float(schedule["growth"]), span.steps)
    cycle = torch.bucketize(span.step, edges[1:-1], right=True)
    share = (span.step - edges[cycle]) / (edges[cycle + 1] - edges[cycle])
    return _between(schedule["final"], _arc(share))


def _cyclic(schedule: Schedule, span: Span) -> Tensor:
    """Rise and fall along lines; in triangular2 each peak is half as high as the one before."""
    place = span.step * schedule["cycles"] / span.steps
    cycle = place.floor()
    height = 1 - (2 * (place - cycle) - 1).abs()
    if schedule["mode"] == "triangular2":
        height = height * 0.5**cycle
    return _between(schedule["final"], height)


def _one_cycle(schedule: Schedule, span: Span) -> Tensor:
    """Rise along half a cosine to the full rate, then fall along another."""
    top = schedule["rise"] * span.steps - 1
    last = span.steps - 1
    rising = _arc(1 - span.step / top) if top > 0 else torch.ones_like(span.step)
    falling = _arc((span.step - top) / (last - top))
    up = _between(schedule["initial"], rising)
    return torch.where(span.step <= top, up, _between(schedule["final"], falling))


_FACTORS: dict[str, Callable[[Schedule, Span], Tensor]] = {
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


def _power(gamma: float, falls: Tensor) -> Tensor:
    return torch.tensor(float(gamma), dtype=torch.float64).pow(falls.double())


def _between(final: float, share: Tensor) -> Tensor:
    """Go from `final` (share 0) to 1 (share 1)."""
    return float(final) + (1 - float(final)) * share


def _arc(share: Tensor) -> Tensor:
    """Fall from 1 to 0 along half a cosine while the share rises from 0 to 1."""
    return (1 + (math.pi * share).cos()) / 2


def _cycles(count: int, growth: float, steps: int) -> Tensor:
    """Divide the steps into cycles, each `growth` times as long as the one before: [count + 1]."""
    lengths = growth ** torch.arange(count, dtype=torch.float64)
    ends = lengths.cumsum(0) * (steps / lengths.sum())
    # Whole lengths come out whole, so that a cycle begins at a step and not a hair beside it.
    whole = ends.round()
    ends = torch.where((ends - whole).abs() < 1e-6, whole, ends)
    return torch.cat([ends.new_zeros(1), ends])


# -- plateau ---------------------------------------------------------------------------------------


@dataclass
class Plateau:
    """The factor of one run's rate that falls when the validation loss no longer does.

    Attributes:
        factor: What the rate is multiplied by now.
        best: Lowest validation loss so far.
        waited: Epochs since then, or since the last fall.
    """

    factor: float = 1.0
    best: float = math.inf
    waited: int = 0

    def look(self, schedule: Schedule, loss: float) -> None:
        """Take note of an epoch's validation loss; the first epoch without patience falls.

        Source: torch's ReduceLROnPlateau, in its defaults (relative threshold, no cooldown).
        """
        if loss < self.best * (1 - THRESHOLD):
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        if self.waited > schedule["patience"]:
            self.factor *= schedule["gamma"]
            self.waited = 0
