"""Augmentation: training images are changed at random, in ways that leave their labels true.

Stored images are moved (flip, crop, shift), warped (rotate, scale, shear) and lit (brightness,
contrast) on their own scale of 0 to 255, then normalized; cutout blanks normalized pixels to 0, the
mean; a function of the user's comes last. Each image gets numbers of its own at each step. In
evaluation images stay as they are, unless `augment.test_views` asks for an average over views.

When it helps: wherever images are few, more than any penalty of the weights: it says what does not
matter. It hurts where it does matter (a mirrored digit is another sign), and in trainings too short
to fit what is harder to fit.
Settings: shift of 2 pixels or affine for digits; flip 0.5 with crop 4 pixels for CIFAR; more epochs
with stronger changes.
Source: Simard, Steinkraus & Platt 2003, ICDAR, section 2; Krizhevsky, Sutskever & Hinton 2012, NIPS
25, section 4.1 (also the average over views).

A transformation's numbers come from the stream `augment/<name>` of the run, at the step; so arms
that share a seed see the same shifts, and adding a transformation changes no other. Whole batches
are changed on the device, each run by its own strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ablate import rng
from ablate.axis import Step, sliced
from ablate.config import schema
from ablate.config.targets import made
from ablate.data import transforms
from ablate.data.strength import IN_PIXELS, pixels
from ablate.data.tensors import Tensors
from ablate.errors import AblateError

Config = Mapping[str, Any]

_WARPS = ("rotate", "scale", "shear")
_LIGHTS = ("brightness", "contrast")
_LARGEST = 255.0  # value of a stored pixel


@dataclass(frozen=True)
class Moment:
    """The batch that random numbers are drawn for.

    Attributes:
        site: Prefix of the streams' names: ``augment``, or ``augment/test`` for test views.
        step: The step, or the number of the view; a step may be on the device (`ablate.axis`).
        part: Which batch of the step, if it has several.
        parity: 0 and 1 in turn, by epoch or by view.
        index_RB: The images' indices, so that alternating flips start differently for each image;
            None starts them all alike.
    """

    site: str
    step: Step
    part: int = 0
    parity: Step = 0
    index_RB: Tensor | None = None


class Augmentation:
    """The transformations of R runs.

    Args:
        configs: Their configurations.
        seeds_R: Their seeds of augmentation, int64.
        data: Their data set.

    Attributes:
        names: The transformations that at least one run uses.
    """

    def __init__(self, configs: Sequence[Config], seeds_R: Tensor, data: Tensors) -> None:
        self._seeds_R, self._data = seeds_R, data
        self._device = data.device
        parts = [config["augment"] for config in configs]
        self._alternates_R = torch.tensor(
            [part["flip"] == "alternating" for part in parts], device=self._device
        )
        self._keys: dict[str, Tensor] = {}
        self._strength_R: dict[str, Tensor] = {}
        for name in ("flip", *IN_PIXELS, *_WARPS, *_LIGHTS):
            if any(part[name] for part in parts):
                self._strength_R[name] = self._strengths(name, [part[name] for part in parts])
        self._own = own(configs[0])
        self.names = (*self._strength_R, *(["own"] if self._own else []))

    def _strengths(self, name: str, values: Sequence[Any]) -> Tensor:
        side = min(self._data.shape[1:])
        numbers = [
            0.5 if v == "alternating" else pixels(v, side) if name in IN_PIXELS else v
            for v in values
        ]
        dtype = torch.int64 if name in IN_PIXELS else torch.float64
        return torch.tensor(numbers, dtype=dtype, device=self._device)

    def of(self, runs: slice) -> Augmentation:
        """Give the transformations of some of the runs."""
        if len(self._seeds_R[runs]) == len(self._seeds_R):
            return self
        some = copy(self)
        some._seeds_R, some._alternates_R = self._seeds_R[runs], self._alternates_R[runs]
        some._keys = sliced(self._keys, runs)
        some._strength_R = sliced(self._strength_R, runs)
        return some

    def __call__(self, images_RBCHW: Tensor, moment: Moment) -> Tensor:
        """Augment and normalize stored images; returns them in the type of training."""
        x = self._lit(self._warped(self._moved(images_RBCHW, moment), moment), moment)
        x = self._data.normalized(x)
        if (side_R := self._strength_R.get("cutout")) is not None:
            x = transforms.cutout(x, side_R, *self._draw("cutout", moment, x, 2))
        return x if self._own is None else self._by_the_user(x, moment)

    def _moved(self, x: Tensor, moment: Moment) -> Tensor:
        if "flip" in self._strength_R:
            x = transforms.flip(x, self._mirrored(x, moment))
        for name, move in (("crop", transforms.crop), ("shift", transforms.shift)):
            if (pixels_R := self._strength_R.get(name)) is not None:
                x = move(x, pixels_R, *self._draw(name, moment, x, 2))
        return x

    def _mirrored(self, x: Tensor, moment: Moment) -> Tensor:
        """Choose the images to mirror: by chance, or every other time."""
        chance_R1 = self._strength_R["flip"][:, None]
        by_chance_RB = self._draw("flip", moment, x, 1)[0] < chance_R1
        first_RB = torch.zeros_like(by_chance_RB)
        if moment.index_RB is not None:
            key_R1 = self._key("flip", moment.site)[:, None]
            first_RB = (rng.fold(key_R1, moment.index_RB) & 1).bool()
        by_turns_RB = first_RB ^ (moment.parity == 1)
        return torch.where(self._alternates_R[:, None], by_turns_RB, by_chance_RB)

    def _warped(self, x: Tensor, moment: Moment) -> Tensor:
        if not any(name in self._strength_R for name in _WARPS):
            return x
        none_R = torch.zeros(len(self._seeds_R), dtype=torch.float64, device=self._device)
        strengths = [self._strength_R.get(name, none_R) for name in _WARPS]
        draws = [self._draw(name, moment, x, 1)[0] for name in _WARPS]
        return transforms.affine(x.to(self._data.dtype), *strengths, *draws)

    def _lit(self, x: Tensor, moment: Moment) -> Tensor:
        high = None if self._data.train.stored.is_floating_point() else _LARGEST
        for name, light in (
            ("brightness", transforms.brightness),
            ("contrast", transforms.contrast),
        ):
            if (strength_R := self._strength_R.get(name)) is not None:
                (u_RB,) = self._draw(name, moment, x, 1)
                x = light(x.to(self._data.dtype), strength_R, u_RB, high)
        return x

    def _by_the_user(self, x_RBCHW: Tensor, moment: Moment) -> Tensor:
        assert self._own is not None, "asked for before"
        each = []
        for key, x_BCHW in zip(self._at("own", moment), x_RBCHW, strict=True):
            with rng.seeded(int(key)):
                each.append(self._own(x_BCHW))
        return torch.stack(each)

    def _draw(self, name: str, moment: Moment, x: Tensor, count: int) -> list[Tensor]:
        """Draw numbers on (0, 1), [R, B] each."""
        key_R = self._at(name, moment)
        return [transforms.numbers(rng.fold(key_R, n), x.shape[1]) for n in range(count)]

    def _at(self, name: str, moment: Moment) -> Tensor:
        return rng.fold(rng.fold(self._key(name, moment.site), moment.step), moment.part)

    def _key(self, name: str, site: str) -> Tensor:
        stream = f"{site}/{name}"
        if stream not in self._keys:
            self._keys[stream] = rng.stream(self._seeds_R, stream).to(self._device)
        return self._keys[stream]


def own(config: Config) -> Callable[[Tensor], Tensor] | None:
    """Make the user's augmentation, with a check of what it returns; None if there is none.

    Raises:
        AblateError: It cannot be imported or constructed.
    """
    target = config["augment"].get("_target_")
    if not target:
        return None
    function = made(target, "augment._target_", schema.arguments(config, "augment"))

    def augment(x_BCHW: Tensor) -> Tensor:
        out = function(x_BCHW.clone())  # it may work in place
        if isinstance(out, Tensor) and out.device != x_BCHW.device:
            raise AblateError(
                f"augment._target_={target} gives images on {out.device} for some on"
                f" {x_BCHW.device}"
            )
        if isinstance(out, Tensor) and out.shape == x_BCHW.shape and out.is_floating_point():
            return out.to(x_BCHW.dtype)
        got = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise AblateError(
            f"augment._target_={target} gives {got} for images {list(x_BCHW.shape)}: images of the"
            " same shape are needed"
        )

    return augment
