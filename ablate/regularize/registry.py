"""The methods by kind; training applies each table in its order, which is part of the result.

loss + penalties ─> gradient ─> gradient limits ─> optimizer ─> weight limits ─> average

To add a method of one of these kinds: a file beside this one with the functions that its kind asks
for; a line in its table; its knob in `config/knobs/training.py`; its off value in the files of
conf/regularize/. Then `scripts/write_conf_readme.py` writes the page of knobs, and
`tests/techniques.py` wants a case of it.
"""

from __future__ import annotations

from typing import Final, Protocol

from torch import Tensor

from ablate.axis import Stacked
from ablate.config.schema import BY_NAME
from ablate.regularize import clip_norm, clip_value, ema, l1, l2, max_norm, swa
from ablate.regularize.averaging import Weighting


class Penalty(Protocol):
    """A term of the loss that depends on the weights alone."""

    def penalty(self, weights: Stacked, strength_R: Tensor) -> Tensor:
        """Work out each run's, [R], of the weights' type; differentiable."""

    def add_gradient(self, gradients: Stacked, weights: Stacked, strength_R: Tensor) -> Stacked:
        """Add its gradient; a strength of 0 keeps a run's bits."""


class GradientLimit(Protocol):
    """A bound on the gradient that the optimizer gets."""

    def clip(self, gradients: Stacked, limit_R: Tensor) -> Stacked:
        """Bring each run's gradients within its limit; an infinite one keeps a run's bits."""


class WeightLimit(Protocol):
    """A bound on the weights, restored after each step."""

    def project(self, weights: Stacked, limit_R: Tensor) -> Tensor:
        """Bring the weights back in place; tells which runs were beyond, bool [R]."""


class WeightAverage(Protocol):
    """An average of the weights along training, which is evaluated in their place."""

    OFF: float  # strength of a run without it

    def weighting(self, strength_R: Tensor, steps: int) -> Weighting:
        """Say how much each step counts, given the number of all steps."""


PENALTIES: Final[dict[str, Penalty]] = {"l1": l1, "l2": l2}
GRADIENT_LIMITS: Final[dict[str, GradientLimit]] = {
    "clip_value": clip_value,
    "clip_norm": clip_norm,
}
WEIGHT_LIMITS: Final[dict[str, WeightLimit]] = {"max_norm": max_norm}
AVERAGES: Final[dict[str, WeightAverage]] = {"ema": ema, "swa": swa}

_UNDECLARED = {*PENALTIES, *GRADIENT_LIMITS, *WEIGHT_LIMITS, *AVERAGES} - {
    name.removeprefix("regularize.") for name in BY_NAME
}
assert not _UNDECLARED, f"declare {_UNDECLARED} in config/knobs/training.py and conf/regularize/"
