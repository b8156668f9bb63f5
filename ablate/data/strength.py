"""How strongly images are augmented, by arithmetic alone: planning loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from ablate.config.schema import shown

IN_PIXELS: Final = ("shift", "crop", "cutout")
LIMITED: Final = (*IN_PIXELS, "scale", "shear")  # by the size of an image

_COLOURS: Final = 4  # channels of a picture, transparency included


def pixels(strength: float, side: int) -> int:
    """Turn a strength into whole pixels: below 1 it is a fraction of the image's side.

    Args:
        strength: At least 0.
        side: Of the image, in pixels.

    Returns:
        Rounded half up, and at least 1 unless the strength is 0.
    """
    if strength == 0:
        return 0
    return max(1, math.floor((strength * side if strength < 1 else strength) + 0.5))


def beyond(name: str, strength: float, height: int, width: int) -> str | None:
    """Say what limit a strength exceeds, or None if images of this size bear it.

    A shift by the side leaves no pixel, and there is no more to reflect than the side less one. A
    square of sides 2·side - 1 covers an image wherever its centre lies in it. An image is never
    scaled to less than a pixel, nor sheared until the rows beside its middle have left it: those
    are half a pixel from it, so that they move by tan(shear)/2, and are outside from the width on.

    Args:
        name: One of `LIMITED`.
        strength: Its value, at least 0.
        height: Of an image, in pixels.
        width: Likewise.
    """
    side = min(height, width)
    if name == "scale":
        return None if strength <= 1 - 1 / side else f"at most {_down(1 - 1 / side)}"
    if name == "shear":
        end = math.degrees(math.atan(2 * width))
        return None if strength < end else f"at most {_down(end)} degrees"
    most = 2 * max(height, width) - 2 if name == "cutout" else side - 1
    count = pixels(strength, side)
    if count <= most:
        return None
    return f"at most {most} pixel{'' if most == 1 else 's'}" + (
        f", and this is {count}" if strength < 1 else ""
    )


def excessive(strengths: Mapping[str, Any], channels: int, height: int, width: int) -> list[str]:
    """List strengths that make no sense of an image, or leave nothing of it, a sentence each.

    Args:
        strengths: Some of the group `augment`, by their names there; legal values.
        channels: Of an image.
        height: Of an image, in pixels.
        width: Likewise.
    """
    bands = channels > _COLOURS and strengths.get("contrast")
    return [
        *(
            [
                f"augment.contrast={shown(bands)} makes no sense of images of {channels} channels:"
                " these have no grey in common to move towards"
            ]
            if bands
            else []
        ),
        *_excessive(strengths, height, width),
    ]


def _excessive(strengths: Mapping[str, Any], height: int, width: int) -> list[str]:
    return [
        f"augment.{name}={shown(value)} is too much for images of {height} × {width} pixels: it"
        f" takes {limit}"
        for name in LIMITED
        if (value := strengths.get(name)) and (limit := beyond(name, value, height, width))
    ]


def _down(number: float) -> str:
    """Write a number, rounded down so that it lies within a limit."""
    return f"{math.floor(number * 1000) / 1000:g}"
