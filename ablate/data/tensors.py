"""A data set on the device: uint8 images, gathered and normalized on the fly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.data.order import by_content
from ablate.data.source import Part

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}  # of the weights


@dataclass(frozen=True)
class Split:
    """Images of one split.

    Attributes:
        images: uint8 (or float32) [N, C, H, W], channels last in memory: the layout in which
            convolution and pooling are fastest on a CPU.
        labels: int64 [N].
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def largest_class(self) -> float | None:
        """Return the share of the images that belong to the most frequent class; None of none."""
        return float(self.labels.bincount().max() / len(self)) if len(self) else None

    @cached_property
    def order(self) -> Tensor:
        """An order that does not depend on that of the file (`order.by_content`), int64 [N]."""
        return by_content(self.images, self.labels)

    def at(self, index_N: Tensor) -> Tensor:
        """Gather images, channels last in memory."""
        return self.images.movedim(1, -1).index_select(0, index_N).movedim(-1, 1)


@dataclass(frozen=True)
class Tensors:
    """All splits of a data set on a device, with the statistics of its training split.

    Attributes:
        train: Training images.
        val: Validation images; may be none.
        test: Test images.
        mean: Per channel, in the images' own unit, [C, 1, 1].
        std: Likewise; 1 where a channel is constant.
        classes: Number of classes K.
        dtype: Type of normalized images.
    """

    train: Split
    val: Split
    test: Split
    mean: Tensor
    std: Tensor
    classes: int
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def normalized(self, images: Tensor) -> Tensor:
        """Bring stored images [..., C, H, W] to mean 0 and variance 1 over the training split."""
        # A copy always: images that are stored in this type already stay as they are.
        return images.to(self.dtype, copy=True).sub_(self.mean).div_(self.std)

    def gathered(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Gather training images.

        Args:
            index: int64 [...].

        Returns:
            Images [..., C, H, W] as they are stored, channels last in memory, and labels [...].
        """
        flat, (channels, height, width) = index.reshape(-1), self.shape
        rows = self.train.images.movedim(-3, -1).index_select(0, flat)
        images = rows.view(*index.shape, height, width, channels).movedim(-1, -3)
        return images, self.train.labels.index_select(0, flat).view(index.shape)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Gather training images as `gathered` does, normalized."""
        images, labels = self.gathered(index)
        return self.normalized(images), labels


def to_device(
    parts: Mapping[str, Part],
    classes: int,
    image_size: int | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensors:
    """Move the splits to a device and take the training split's statistics.

    Args:
        parts: ``train``, ``val`` and ``test``.
        classes: Number of classes K.
        image_size: Height and width that images are brought to; None keeps theirs.
        device: Where they go.
        dtype: Type of normalized images.
    """
    splits = {name: _split(part, image_size, device) for name, part in parts.items()}
    mean, std = _statistics(splits["train"].images)
    return Tensors(**splits, mean=mean.to(dtype), std=std.to(dtype), classes=classes, dtype=dtype)


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Take mean and standard deviation of each channel, float64 [C, 1, 1]; 1 for a constant one."""
    if images.dtype == torch.uint8:  # exact from the histogram, without a copy in float64
        levels = torch.arange(256, dtype=torch.float64, device=images.device)
        channels = images.movedim(1, 0).reshape(images.shape[1], -1)
        counts = torch.stack([c.bincount(minlength=256) for c in channels])
        share = counts.double() / channels.shape[1]
        mean = share @ levels
        std = (share * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    else:
        std, mean = torch.std_mean(images.double(), dim=(0, 2, 3), correction=0)
    std[std == 0] = 1
    return mean[:, None, None], std[:, None, None]


def _split(part: Part, image_size: int | None, device: torch.device) -> Split:
    images = torch.tensor(part.images)
    if image_size is not None and len(images) and images.shape[-2:] != (image_size, image_size):
        size = (image_size, image_size)
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    images = images.movedim(1, -1).contiguous().movedim(-1, 1)
    return Split(images.to(device), torch.tensor(part.labels).to(device))
