"""Mixup and CutMix in a stack: at each step a run mixes its batch in one of the two ways, or not.

If a run has both on, a fair coin chooses at each step, as usual since Touvron et al. 2021
(arXiv:2012.12877). Each image's partner comes from the same batch, by a permutation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ablate import rng
from ablate.axis import Step, box_mask, channels_last, row
from ablate.regularize import cutmix, mixup


class Mixing:
    """The mixing of R runs, drawn for the whole training.

    Args:
        configs: The `regularize` part of each run's configuration.
        seeds_R: Seed of each run, int64, on the CPU.
        steps: Number of steps T.
        shape: Channels, height and width of an image.
        device: Where the batches are.
    """

    def __init__(
        self,
        configs: Sequence[Mapping[str, Any]],
        seeds_R: Tensor,
        steps: int,
        shape: tuple[int, int, int],
        device: torch.device,
    ) -> None:
        _, self._height, self._width = shape
        self._partner_R = rng.stream(seeds_R, "mixing/partner").to(device)
        drawn = [_draw(c, seed, steps) for c, seed in zip(configs, seeds_R, strict=True)]
        cuts_TR, self._blend_TR, kept_TR, self._u_TR, self._v_TR = (
            torch.stack(column, 1).to(device) for column in zip(*drawn, strict=True)
        )
        self._high_TR = cutmix.sides(kept_TR, self._height) * cuts_TR
        self._wide_TR = cutmix.sides(kept_TR, self._width) * cuts_TR

    def at(self, step: Step, x_RBCHW: Tensor, y_RB: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mix the batches of a step.

        Args:
            step: Its number, from 0.
            x_RBCHW: Images.
            y_RB: Labels.

        Returns:
            Images, unchanged for runs without mixing; targets: ``y`` [R, B], ``other`` [R, B], the
            partners' labels, and ``share`` [R], float64, the weight of ``y``.
        """
        partner_RB = rng.permutation(rng.fold(self._partner_R, step), y_RB.shape[1])
        tables = (self._blend_TR, self._high_TR, self._wide_TR, self._u_TR, self._v_TR)
        blend_R, high_R, wide_R, u_R, v_R = (row(table, step) for table in tables)
        box_RHW = box_mask(u_R, v_R, high_R, wide_R, self._height, self._width)
        weight_RHW = blend_R[:, None, None] * ~box_RHW
        # The box may have been clipped, so weight labels by its actual area.
        area_R = box_RHW.sum((1, 2)).double() / (self._height * self._width)
        target = {"y": y_RB, "other": y_RB.gather(1, partner_RB), "share": blend_R * (1 - area_R)}
        return mix(x_RBCHW, partner_RB, weight_RHW), target


def mix(x_RBCHW: Tensor, partner_RB: Tensor, weight_RHW: Tensor) -> Tensor:
    """Take weight·x + (1 - weight)·(x's partner), pixel by pixel.

    Args:
        x_RBCHW: Images.
        partner_RB: For each image, its partner's index in the batch, int64.
        weight_RHW: Weight of the image itself, in [0, 1], float64; 1 leaves its bits as they are.
    """
    runs, batch = partner_RB.shape
    first_R = torch.arange(runs, device=x_RBCHW.device)[:, None] * batch
    rows = x_RBCHW.movedim(2, -1).flatten(0, 1).index_select(0, (first_R + partner_RB).flatten())
    other_RBCHW = rows.view(runs, batch, *rows.shape[1:]).movedim(-1, 2)
    weight = weight_RHW[:, None, None]
    rest = (1 - weight).to(x_RBCHW.dtype)
    weight = weight.to(x_RBCHW.dtype)
    mixed = torch.where(weight == 1, x_RBCHW, weight * x_RBCHW + rest * other_RBCHW)
    return channels_last(mixed)


def _draw(config: Mapping[str, Any], seed: Tensor, steps: int) -> tuple[Tensor, ...]:
    """Draw one run's numbers, [T] each.

    Returns:
        Whether the step uses CutMix; the image's weight outside a box; the share of the area
        outside the box; the two random numbers for the box's centre.
    """
    keep_T = torch.ones(steps, dtype=torch.float64)
    blend_T = kept_T = keep_T
    key = rng.stream(seed, "cutmix")
    u_T, v_T = (rng.uniform(rng.fold(key, part), torch.Size((steps,))) for part in (1, 2))
    cuts_T = torch.full((steps,), config["cutmix"] > 0)
    if config["cutmix"] > 0 and config["mixup"] > 0:
        cuts_T = rng.uniform(rng.stream(seed, "mixing/coin"), torch.Size((steps,))) < 0.5
    if config["cutmix"] > 0:
        kept_T = mixup.shares(config["cutmix"], rng.fold(key, 0), steps)
    if config["mixup"] > 0:
        shares_T = mixup.shares(config["mixup"], rng.stream(seed, "mixup"), steps)
        blend_T = torch.where(cuts_T, keep_T, shares_T)
    return cuts_T, blend_T, kept_T, u_T, v_T
