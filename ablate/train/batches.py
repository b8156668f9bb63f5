"""Batch size: how many training images each step takes the mean gradient of.

Each epoch goes through the images in a new order; those that fill no batch at its end are left out.
`full` is one batch of all, which is also what lbfgs and newton take unless told otherwise. The
learning rate does not follow the batch size by itself.

When it helps: a large batch makes a steadier gradient and keeps a GPU busy; up to some size, twice
the batch needs half the steps. A small one takes more steps in as many epochs, and its noise
regularizes a little. Large batches hurt where epochs are fixed and the rate is not raised, small
ones in time, and below about 16 in a batch norm.
Settings: 32 to 128 for small networks; k times the batch with k times the rate for sgd and
momentum, with √k times for adam, and a warm-up from a few thousand images on.
Source: Goyal et al. 2017, arXiv:1706.02677, sections 2.1 and 2.2 (rate in proportion, warm-up);
Malladi et al. 2022, arXiv:2205.10287 (√k); Shallue et al. 2019, arXiv:1811.03600, section 4 (steps
against batch size); Masters & Luschi 2018, arXiv:1804.07612 (the best results between 2 and 32);
Keskar et al. 2017, arXiv:1609.04836, section 2 (large batches that generalize worse).

What a step sees of them, augmented, with noise and mixed, is drawn here for R runs at once from the
runs' own streams and computed on the device, outside the network, so that a fused and a looped
stack see the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ablate import rng
from ablate.axis import EVERY_RUN, Stacked, Step, row
from ablate.config.course import length_of
from ablate.data.augment import Augmentation, Moment
from ablate.data.tensors import Tensors
from ablate.regularize import input_noise
from ablate.regularize.mixing import Mixing
from ablate.train.strengths import strengths

Config = Mapping[str, Any]


def seed_of(config: Config, source: str) -> int:
    """Return the seed of one source of randomness: its own if it is pinned, else the run's."""
    pinned = config["seeds"][source]
    return int(config["seed"] if pinned is None else pinned)


class Batches:
    """The batches of R runs.

    Args:
        configs: Their configurations, alike in batch size and epochs.
        data: Their data set.

    Attributes:
        length: How long the training is. Images that do not fill a last batch are dropped, other
            ones each epoch.
        augmentation: The transformations.
    """

    def __init__(self, configs: Sequence[Config], data: Tensors) -> None:
        self._data, self._size = data, configs[0]["batch_size"]
        self.length = length_of(configs[0]["epochs"], len(data.train), self._size)
        device = data.device
        order_R, augment_R = (
            torch.tensor([seed_of(c, source) for c in configs], dtype=torch.int64)
            for source in ("order", "augment")
        )
        self._order_R = rng.stream(order_R, "order").to(device)
        self._epoch: int | None = None
        self._order_SRB = torch.empty(
            (self.length.epoch_steps, len(configs), self._size), dtype=torch.int64, device=device
        )
        self.augmentation = Augmentation(configs, augment_R, data)
        self._views: int = configs[0]["augment"]["test_views"]
        self._noise_R = strengths(configs, "input_noise", device)
        self._noise_keys_R = rng.stream(augment_R, "augment/input_noise").to(device)
        self._smoothing_R = strengths(configs, "label_smoothing", device)
        parts = [config["regularize"] for config in configs]
        self._mixing = (
            Mixing(parts, augment_R, self.length.steps, data.shape, device)
            if any(part["mixup"] or part["cutmix"] for part in parts)
            else None
        )

    def begin_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch, counted from 0, unless it was the last one drawn."""
        if epoch == self._epoch:
            return
        order_RN = rng.permutation(rng.fold(self._order_R, epoch), len(self._data.train))
        used_RN = order_RN[:, : self.length.epoch_steps * self._size]
        self._order_SRB.copy_(used_RN.view(-1, self.length.epoch_steps, self._size).transpose(0, 1))
        self._epoch = epoch

    def at(self, step: Step) -> tuple[Tensor, Stacked]:
        """Make the batches of a step.

        Args:
            step: Its number, from 0; a number on the device must be in the epoch begun last.

        Returns:
            Normalized images [R, B, C, H, W], and targets as `label_smoothing.cross_entropy` takes
            them, stacked.
        """
        if isinstance(step, int):
            self.begin_epoch(step // self.length.epoch_steps)
        index_RB = row(self._order_SRB, step % self.length.epoch_steps)
        parity = step // self.length.epoch_steps % 2
        images, y_RB = self._data.gathered(index_RB)
        x = self.augmentation(images, Moment("augment", step, 0, parity, index_RB))
        if self._noise_R is not None:
            x = input_noise.add(x, self._noise_R, rng.fold(self._noise_keys_R, step))
        target = {"y": y_RB}
        if self._mixing is not None:
            x, target = self._mixing.at(step, x, y_RB)
        if self._smoothing_R is not None:
            target["smoothing"] = self._smoothing_R
        return x, target

    def plain(self) -> Iterator[Tensor]:
        """Yield the training images as evaluation sees them, in batches of the training's size.

        Each batch is a sample of all images, however the file is sorted. A last, smaller batch is
        dropped.
        """
        for places in torch.split(self._data.train.order, self._size):
            if len(places) == self._size:
                yield self._data.normalized(self._data.train.at(places))

    def views(
        self, images_NCHW: Tensor, part: int, runs: slice = EVERY_RUN
    ) -> Iterator[tuple[Tensor, bool]]:
        """Yield what an evaluation sees of stored images.

        Args:
            images_NCHW: Some images of a split.
            part: Number of this part of the split.
            runs: The runs that see them.

        Yields:
            The images themselves, normalized [N, C, H, W], and False; then each further view
            [R, N, C, H, W], and True, since each run draws its own views.
        """
        width, augmentation = len(self._order_R[runs]), self.augmentation.of(runs)
        for number in range(self._views):
            if number == 0:
                yield self._data.normalized(images_NCHW), False
                continue
            moment = Moment("augment/test", number, part, number % 2)
            many = images_NCHW.expand(width, *images_NCHW.shape)
            yield augmentation(many, moment), True
