"""Checks on the pixels of a whole data set: that they vary, and fill the range they are read in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.data.decode_many import Place
from ablate.data.decoding import glance
from ablate.data.discovery import listing
from ablate.data.source import Array, Part
from ablate.errors import AblateError

_AT_ONCE = 256  # images
_FEW = 64  # levels of 256: images of more than 8 bits with fewer fill less than a quarter
_DEEP = {".png", ".apng", ".tif", ".tiff", ".pgm", ".pnm", ".jp2", ".j2k", ".jpx"}


def check_levels(levels: Sequence[float] | None) -> None:
    """Check that `data.levels` is a range.

    Raises:
        AblateError: It is not two rising numbers.
    """
    if levels is not None and not (len(levels) == 2 and levels[0] < levels[1]):
        text = ",".join(f"{level:g}" for level in levels)
        raise AblateError(
            f"data.levels=[{text}] is not legal: it takes two numbers, one for black and a larger"
            " one for white"
        )


def constant(images: Array) -> list[str]:
    """List the channels that have one value in every pixel.

    Args:
        images: Training images [N, C, H, W].

    Raises:
        AblateError: All channels do.
    """
    first = images[0, :, 0, 0]
    alike = [c for c, value in enumerate(first) if _is_all(images[:, c], value)]
    if len(alike) == len(first):
        values = ", ".join(f"{value:g}" for value in first)
        raise AblateError(
            f"every pixel of all {len(images):,} training images is {values}: there is nothing to"
            " learn from; was something lost when they were saved?"
        )
    return [f"channel {c} is {first[c]:g} in every training image" for c in alike]


def _is_all(images: Array, value: Any) -> bool:
    """Tell whether every pixel has this value; for most data sets the first block says no."""
    starts = range(0, len(images), _AT_ONCE)
    return all((images[start : start + _AT_ONCE] == value).all() for start in starts)


def refuse_wrong_range(
    parts: Mapping[str, Part],
    places: Mapping[str, Sequence[Place]],
    levels: Sequence[float] | None,
    root: Path,
) -> None:
    """Refuse images of more than 8 bits that fill little of the range, as 12 bits stored in 16 do.

    Args:
        parts: Decoded images.
        places: Their files.
        levels: `data.levels`; if given, only checked to have an effect.
        root: Their folder.

    Raises:
        AblateError: All images of more than 8 bits are within a quarter of the range, or `levels`
            is given and there are none.
    """
    wide: list[Path] = []
    narrow: list[tuple[Path, Array]] = []
    for part, files in places.items():
        for number, place in enumerate(files):
            if os.path.splitext(name := str(place))[1].lower() in _DEEP:
                path, image = Path(name), parts[part].images[number]
                few = int(image.max()) - int(image.min()) < _FEW
                narrow.append((path, image)) if few else wide.append(path)
    if levels is not None:
        if not any(_is_deep(path) for path in (*(path for path, _ in narrow), *wide)):
            raise AblateError("data.levels touches nothing: no grey image has more than 8 bits")
    else:
        _refuse_if_narrow(
            [(path, image) for path, image in narrow if _is_deep(path)],
            lambda: any(map(_is_deep, wide)),
            "say what is black and what is white, with data.levels=[0,{white}] for one ([0,65535]"
            " takes them as they are)",
            root,
        )
    _refuse_if_narrow(
        [(path, image) for path, image in narrow if _is_deep_colour(path)],
        lambda: any(map(_is_deep_colour, wide)),
        "of colours, the upper 8 bits are read: save them with 8 bits, scaled to the whole range",
        root,
    )


def _refuse_if_narrow(
    deep: Sequence[tuple[Path, Array]], others_fill: Callable[[], bool], advice: str, root: Path
) -> None:
    """Refuse images of 16 bits that together fill less than a quarter of the range."""
    if not deep or others_fill():
        return
    low = min(int(image.min()) for _, image in deep)
    high = max(int(image.max()) for _, image in deep)
    if high - low < _FEW:
        raise AblateError(
            f"the {len(deep):,} images of 16 bits ({listing([path for path, _ in deep], root)}) lie"
            f" between {low * 256:,} and {high * 256 + 255:,}, so only {high - low + 1} of 256"
            f" levels would be left: {advice.format(white=_white(high))}"
        )


def _white(highest: int) -> int:
    """Return the largest value of the fewest bits that hold a level of 256."""
    return int(2 ** (highest * 256 + 255).bit_length()) - 1


def _is_deep(path: Path) -> bool:
    seen = glance(path)
    return seen is not None and seen.deep


def _is_deep_colour(path: Path) -> bool:
    seen = glance(path)
    return seen is not None and seen.deep_colour
