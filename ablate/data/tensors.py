"""A data set on the device: uint8 images, gathered and normalized on the fly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate.data.order import by_content
from ablate.data.source import Part

_BLOCK = 2**25  # bytes of images to read at a time

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}  # of the weights


@dataclass(frozen=True)
class Split:
    """Images of one split.

    They are on the device, or in a file mapped into memory: then the split keeps its row numbers in
    the file, and images are fetched from there when asked for.

    Attributes:
        stored: uint8 (or float32) [M, C, H, W], channels last in memory: the layout in which
            convolution and pooling are fastest on a CPU.
        labels: int64 [N], on the device.
        rows: int64 [N], on the device of `stored`: which of the M are its images; None for all, in
            order.
    """

    stored: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where it is computed with."""
        return self.labels.device

    @property
    def images(self) -> Tensor:
        """All images, on the device."""
        return self.stored if self.rows is None else self._fetched(self.rows)

    def largest_class(self) -> float | None:
        """Return the share of the most frequent class; None if there are no images."""
        return float(self.labels.cpu().bincount().max() / len(self)) if len(self) else None

    @cached_property
    def order(self) -> Tensor:
        """An order that does not depend on the file's (`order.by_content`), int64 [N]."""
        return by_content(self.blocks(), self.labels)

    def blocks(self) -> Iterator[Tensor]:
        """Yield all images in order, in blocks."""
        each = max(1, _BLOCK // max(1, self.stored[:1].nbytes))
        for start in range(0, len(self), each):
            yield self.between(start, start + each)

    def between(self, start: int, stop: int) -> Tensor:
        """Take images by their places in the split, channels last in memory."""
        if self.rows is None:
            return self.stored[start:stop]
        return self._fetched(self.rows[start:stop])

    def at(self, index_N: Tensor) -> Tensor:
        """Gather images, channels last in memory."""
        if self.rows is None:
            return _gathered(self.stored, index_N)
        return self._fetched(self.rows.index_select(0, index_N.to(self.rows.device)))

    def _fetched(self, rows: Tensor) -> Tensor:
        return _gathered(self.stored, rows).to(self.device)


def _gathered(images: Tensor, index: Tensor) -> Tensor:
    return images.movedim(1, -1).index_select(0, index).movedim(-1, 1)


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
        channels, height, width = self.train.stored.shape[1:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """Where it is computed with."""
        return self.train.device

    @property
    def is_fetched(self) -> bool:
        """Whether training images are moved to the device batch by batch."""
        return self.train.stored.device != self.device

    def normalized(self, images: Tensor) -> Tensor:
        """Bring stored images [..., C, H, W] to mean 0 and variance 1 over the training split."""
        # Always a copy, so that images stored in this type are not changed in place.
        return images.to(self.dtype, copy=True).sub_(self.mean).div_(self.std)

    def gathered(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Gather training images.

        Args:
            index: int64 [...].

        Returns:
            Images [..., C, H, W] as they are stored, channels last in memory, and labels [...].
        """
        flat, (channels, height, width) = index.reshape(-1), self.shape
        rows = self.train.at(flat).movedim(1, -1)
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
    room: int | None = None,
) -> Tensors:
    """Move the splits to a device and compute the training split's statistics.

    Args:
        parts: ``train``, ``val`` and ``test``.
        classes: Number of classes K.
        image_size: Height and width to resize images to; None keeps theirs.
        device: Where they go.
        dtype: Type of normalized images.
        room: The most bytes of images to put on a device with its own memory; beyond that, mapped
            images are fetched batch by batch. None: no limit.
    """
    wanted = {name: _wanted_size(part, image_size) for name, part in parts.items()}
    everything = sum(part.images[:1].nbytes * len(part.labels) for part in parts.values())
    # On a CPU the mapped file is as good as any memory.
    stays = device.type == "cpu" or (room is not None and everything > room)
    splits = {name: _split(part, wanted[name], device, stays) for name, part in parts.items()}
    mean, std = (each.to(device) for each in _statistics(splits["train"]))
    return Tensors(**splits, mean=mean.to(dtype), std=std.to(dtype), classes=classes, dtype=dtype)


def _statistics(split: Split) -> tuple[Tensor, Tensor]:
    """Compute each channel's mean and standard deviation, float64 [C, 1, 1]; 1 if constant."""
    if split.stored.dtype == torch.uint8:  # exact from the histogram, without a copy in float64
        counts = sum(map(_histogram, split.blocks()))
        assert isinstance(counts, Tensor), "there is an image to train on"
        levels = torch.arange(256, dtype=torch.float64, device=counts.device)
        share = counts.double() / counts[0].sum()
        mean = share @ levels
        std = (share * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    elif split.rows is None:
        std, mean = torch.std_mean(split.stored.double(), dim=(0, 2, 3), correction=0)
    else:
        mean = _mean(split, lambda x_NCHW: x_NCHW)
        std = _mean(split, lambda x_NCHW: (x_NCHW - mean[:, None, None]) ** 2).sqrt()
    std[std == 0] = 1
    return mean[:, None, None], std[:, None, None]


def _histogram(images: Tensor) -> Tensor:
    """Count the values in each channel, int64 [C, 256]."""
    channels = images.movedim(1, 0).reshape(images.shape[1], -1)
    return torch.stack([channel.bincount(minlength=256) for channel in channels])


def _mean(split: Split, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Average a function of the images per channel, block by block, float64 [C]."""
    total = sum(of(block.double()).sum((0, 2, 3)) for block in split.blocks())
    assert isinstance(total, Tensor), "there is an image to train on"
    return total / (len(split) * prod(split.stored.shape[2:]))


def _wanted_size(part: Part, image_size: int | None) -> tuple[int, int] | None:
    """Return the size to resize images to; None if they have it."""
    if image_size is None or len(part.labels) == 0:
        return None
    size = (image_size, image_size)
    return None if part.images.shape[-2:] == size else size


def _split(part: Part, size: tuple[int, int] | None, device: torch.device, stays: bool) -> Split:
    labels = torch.tensor(part.labels).to(device)
    if part.mapped and size is None:
        # A view of the file: nothing is read yet.
        stored = torch.from_numpy(part.images)
        rows = torch.arange(len(labels)) if part.rows is None else torch.tensor(part.rows)
        split = Split(stored, labels, rows)
        return split if stays else Split(_moved(split), labels)
    images = torch.tensor(part.images if part.rows is None else part.images[part.rows])
    if size is not None:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    images = images.movedim(1, -1).contiguous().movedim(-1, 1)
    return Split(images.to(device), labels)


def _moved(split: Split) -> Tensor:
    """Move all images to the device, without a full copy in main memory."""
    (count, (channels, height, width)) = len(split), split.stored.shape[1:]
    shape = (count, height, width, channels)
    images = torch.empty(shape, dtype=split.stored.dtype, device=split.device).movedim(-1, 1)
    start = 0
    for block in split.blocks():
        images[start : start + len(block)] = block
        start += len(block)
    return images
