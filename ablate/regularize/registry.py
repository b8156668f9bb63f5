"""The methods by kind. Training applies each table in order, and results depend on the order.

loss + penalties ─> gradient ─> gradient limits ─> optimizer ─> weight limits ─> average

To add a method of one of these kinds: write a file beside this one, with the functions of its kind;
add a line to its table; declare its knob in `config/knobs/training.py`; put its off value into the
files of conf/regularize/; add a case to `tests/techniques.py`. Then run
`scripts/write_conf_readme.py`, which writes the page of knobs.
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
        """Compute each run's penalty, [R], in the weights' type; differentiable."""

    def add_gradient(self, gradients: Stacked, weights: Stacked, strength_R: Tensor) -> Stacked:
        """Add the penalty's gradient; a run with strength 0 keeps its bits."""


class GradientLimit(Protocol):
    """A bound on the gradient, before the optimizer uses it."""

    def clip(self, gradients: Stacked, limit_R: Tensor) -> Stacked:
        """Bring each run's gradients within its limit; a run with limit ∞ keeps its bits."""


class WeightLimit(Protocol):
    """A bound on the weights, restored after each step."""

    def project(self, weights: Stacked, limit_R: Tensor) -> Tensor:
        """Bring weights within the limit, in place; return which runs were beyond it, bool [R]."""


class WeightAverage(Protocol):
    """An average of the weights over training, which is evaluated instead of the weights."""

    OFF: float  # strength of a run without it

    def weighting(self, strength_R: Tensor, steps: int) -> Weighting:
        """Return the weight of each step, given each run's strength and the number of steps."""


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
