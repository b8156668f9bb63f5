"""The learning-rate range test: finds rates at which training works, before tuning.

*sweep*: one short run in which the rate rises exponentially; it ends when the smoothed loss exceeds
four times its best value. *grid*: constant rates, all at once as one stack, each trained for the
same number of steps. A grid is slower, but each rate starts from initial weights, while the late
rates of a sweep act on weights that the earlier ones have trained.

When it helps: before a comparison, so that no arm is trained at a learning rate ten times too high
or too low, and to see which arms tolerate larger rates (batch norm does). Settings that work: 100
steps from 1e-6 to 10. Start from half of the steepest rate, or from a tenth of the rate with the
lowest loss. If the two modes disagree, trust the grid. The curve of a sweep lags behind, since
smoothing averages over about the last 1/(1 - smoothing) steps.

Source: Smith 2017, arXiv:1506.01186, section 3.3; the smoothing and the minimum over ten are
S. Gugger's, "How do you find a good learning rate", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Step = Callable[[int, Tensor, Sequence[bool]], Tensor]
Numbers = NDArray[np.float64]

TOO_HIGH = 4.0  # above this factor of the best (sweep) or first (grid) loss, a run has diverged


@dataclass(frozen=True)
class Curve:
    """Loss against learning rate, for one arm.

    Attributes:
        name: The arm.
        lr: Rates, rising, [N].
        loss: Loss of one step at each rate (sweep), or at the end of each run (grid), [N], nats;
            NaN where training had diverged.
        smoothed: The loss that suggestions use, [N]: smoothed in a sweep, as it is in a grid.
        diverged: The lowest rate at which training diverged, or None.
    """

    name: str
    lr: Numbers
    loss: Numbers
    smoothed: Numbers
    diverged: float | None

    @property
    def lowest(self) -> float | None:
        """The rate with the lowest loss, or None if all diverged."""
        return None if np.isnan(self.smoothed).all() else float(self.lr[self._argmin])

    @property
    def over_ten(self) -> float | None:
        """A tenth of the rate with the lowest loss."""
        return None if self.lowest is None else self.lowest / 10

    @property
    def steepest(self) -> float | None:
        """The rate where the loss falls fastest per decade; None if it never falls."""
        if self.lowest is None:
            return None
        # The slope spans a twentieth of the rates to each side, since noise dominates between
        # neighbours. The first tenth of a sweep is skipped: smoothing has little to average yet.
        reach = max(len(self.lr) // 20, 1)
        first = 0 if self.smoothed is self.loss else len(self.lr) // 10
        part = slice(first, self._argmin + 1)
        x, loss = np.log10(self.lr[part]), self.smoothed[part]
        if len(x) <= 2 * reach:
            return None
        slope = (loss[2 * reach :] - loss[: -2 * reach]) / (x[2 * reach :] - x[: -2 * reach])
        at = int(np.nanargmin(slope))
        return float(self.lr[part][reach + at]) if slope[at] < 0 else None

    @property
    def _argmin(self) -> int:
        return int(np.nanargmin(self.smoothed))


# -- the core: any loss, over the run axis ---------------------------------------------------------


def rising(low: float, high: float, count: int) -> Tensor:
    """Space rates evenly on a logarithmic scale, float64 [count], both ends included."""
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)


def smooth(loss: Numbers, share: float) -> Numbers:
    """Compute an exponential moving average with bias correction.

    Args:
        loss: Losses, [N].
        share: How much of the average is kept at each step, in [0, 1).

    Returns:
        [N]; NaN from the first NaN on.

    Source: Kingma & Ba 2015, arXiv:1412.6980, section 3 (the correction).
    """
    average, found = 0.0, []
    for count, value in enumerate(loss, start=1):
        average = share * average + (1 - share) * float(value)
        found.append(average / (1 - share**count))
    return np.array(found)


def sweep(step: Step, lr_T: Tensor, runs: int = 1, smoothing: float = 0.9) -> Numbers:
    """Raise the rate from step to step, until every run has diverged or the rates are used up.

    Args:
        step: Does a step, given its number, learning rates float64 [R], and which runs still count;
            returns the loss [R] before the step.
        lr_T: The rates, [T].
        runs: Number of runs R.
        smoothing: `share` of `smooth`.

    Returns:
        Losses [T, R]; NaN after the step at which a run's smoothed loss was not finite, or above
        `TOO_HIGH` times its best.
    """
    average_R, best_R = np.zeros(runs), np.full(runs, math.inf)

    def goes_on(number: int, loss_R: Numbers) -> NDArray[np.bool_]:
        nonlocal average_R, best_R
        average_R = smoothing * average_R + (1 - smoothing) * loss_R
        now_R = average_R / (1 - smoothing ** (number + 1))
        best_R = np.fmin(best_R, now_R)
        kept: NDArray[np.bool_] = now_R <= TOO_HIGH * best_R
        return kept

    return _follow(step, lr_T[:, None].expand(-1, runs), goes_on)


def grid(step: Step, lr_R: Tensor, steps: int) -> tuple[Numbers, Numbers]:
    """Train one run at each rate.

    Args:
        step: As in `sweep`.
        lr_R: The rates, one for each run.
        steps: Steps T of each run.

    Returns:
        The final loss of each run, [R]: the mean over its last tenth of steps; NaN if it diverged
        (a loss was not finite, or the mean is above `TOO_HIGH` times the first loss). Then all
        losses, [T, R].
    """
    loss_TR = _follow(step, lr_R.expand(steps, -1), lambda number, loss_R: np.isfinite(loss_R))
    with np.errstate(over="ignore", invalid="ignore"):
        end_R = loss_TR[-max(steps // 10, 1) :].mean(0)
        return np.where(end_R <= TOO_HIGH * np.abs(loss_TR[0]), end_R, math.nan), loss_TR


def _follow(
    step: Step, lr_TR: Tensor, goes_on: Callable[[int, Numbers], NDArray[np.bool_]]
) -> Numbers:
    """Do steps while any run goes on; return the finite losses of each run until it ended."""
    alive_R = np.ones(lr_TR.shape[1], dtype=bool)
    loss_TR = np.full(lr_TR.shape, math.nan)
    for number, lr_R in enumerate(lr_TR):
        loss_R = step(number, lr_R, alive_R.tolist()).detach().double().cpu().numpy()
        alive_R &= np.isfinite(loss_R)
        loss_TR[number, alive_R] = loss_R[alive_R]
        alive_R &= goes_on(number, np.where(alive_R, loss_R, math.nan))
        if not alive_R.any():
            break
    return loss_TR
