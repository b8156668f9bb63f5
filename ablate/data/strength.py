"""How strongly images are augmented: arithmetic without torch, since planning loads none."""

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
    """Say which limit a strength exceeds; None if it fits images of this size.

    A shift by the whole side leaves no pixel, and at most the side less one can be reflected. A
    square of side 2·side - 1 covers the image wherever in it its centre is. An image is never
    scaled to less than a pixel. Nor is it sheared until the rows next to its middle are outside:
    they are half a pixel from the middle, so they move by tan(shear)/2, which must be below the
    width.

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
    """List strengths that make no sense for an image, or leave nothing of it, a sentence each.

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
                f"augment.contrast={shown(bands)} makes no sense for images of {channels} channels:"
                " these have no common grey to move towards"
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
    """Write a number, rounded down to stay within a limit."""
    return f"{math.floor(number * 1000) / 1000:g}"
