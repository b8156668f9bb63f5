"""The course of a training in plain numbers: how long its parts take, and what can happen when.

Training follows these rules, and planning uses them to see whether a knob can have an effect within
the steps of a training. Learning rates are in `config/rates.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Schedule = Mapping[str, Any]
THRESHOLD = 1e-4  # a validation loss counts as lower only by more than this share, as in torch


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes:
        steps: Steps of the whole training.
        epoch_steps: Steps of an epoch.
    """

    steps: int
    epoch_steps: int

    @property
    def epochs(self) -> int:
        """Epochs of the whole training."""
        return self.steps // self.epoch_steps


def length_of(epochs: int, images: int, batch: int) -> Length:
    """Compute the length of a training, from epochs and training images."""
    return Length(epochs * epoch_steps(images, batch), epoch_steps(images, batch))


def epoch_steps(images: int, batch: int) -> int:
    """Count the steps of an epoch; an incomplete last batch is dropped."""
    return images // batch


def warmup_steps(schedule: Schedule, length: Length) -> int:
    """Count the steps of the warm-up, rounded to the nearest."""
    return min(round(float(schedule["warmup_epochs"]) * length.epoch_steps), length.steps)


# -- plateau ---------------------------------------------------------------------------------------


@dataclass
class Plateau:
    """The factor by which one run's rate is lowered when its validation loss stops falling.

    Attributes:
        factor: What the rate is multiplied by now.
        best: Lowest validation loss so far.
        waited: Epochs since then, or since the rate last fell.
    """

    factor: float = 1.0
    best: float = math.inf
    waited: int = 0

    def look(self, schedule: Schedule, loss: float) -> None:
        """Note an epoch's validation loss, and lower the rate once patience runs out.

        Call it from epoch `first_look` on.

        Source: torch's ReduceLROnPlateau, in its defaults (relative threshold, no cooldown).
        """
        if loss < self.best * (1 - THRESHOLD):
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        if self.waited > schedule["patience"]:
            self.factor *= schedule["gamma"]
            self.waited = 0


def first_look(schedule: Schedule, length: Length) -> int:
    """Return the first epoch, from 1, whose validation loss counts for a plateau.

    Epochs that end during the warm-up do not count: while the rate still rises, the loss says
    nothing about a plateau.
    """
    return max(1, -(-warmup_steps(schedule, length) // length.epoch_steps))


def first_fall(schedule: Schedule, length: Length) -> int:
    """Return the first epoch, from 1, after which a plateau can lower the rate.

    The first loss that counts is always the lowest so far.
    """
    return first_look(schedule, length) + int(schedule["patience"]) + 1


# -- early stopping --------------------------------------------------------------------------------


def last_epoch(best_epoch: int, patience: int) -> int:
    """Return the epoch after which early stopping ends a run whose best epoch stays this one."""
    return best_epoch + patience


# -- averages of the weights -----------------------------------------------------------------------


def first_averaged(start: float, steps: int) -> int:
    """Return the first step, from 0, whose weights enter a stochastic weight average.

    Args:
        start: The share of training after which averaging begins, in [0, 1].
        steps: Steps of the whole training.

    Returns:
        The step; `steps` if none is averaged.
    """
    return round(start * steps)
