"""Decodes JPEGs without the extras that need care: no EXIF block, no Adobe colours, one frame.

Most small images are of this kind, and for them Pillow spends as long on opening the file as on
decoding it. So the size is read from the header here, and Pillow's decoder gets the file at once.
Whatever is unusual is left to `decoding`, which also says what is wrong with a damaged file.

Source: ITU-T T.81 (1992), annex B, for markers and the frame header.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

_START: Final = b"\xff\xd8\xff"
_SCAN: Final = 0xDA
_FRAMES: Final = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, all with Huffman codes
_USUAL: Final = {*_FRAMES, 0xC4, 0xDB, 0xDD, 0xE0, 0xFE}  # tables, restarts, JFIF and comments
_MODES: Final = {1: "L", 3: "RGB"}
_MOST_PIXELS: Final = 1 << 20  # beyond, opening takes no time to speak of


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a plain JPEG says.

    Attributes:
        mode: ``L`` or ``RGB``.
        size: Width and height.
    """

    mode: str
    size: tuple[int, int]


def header(raw: bytes) -> Header | None:
    """Read the header of a plain JPEG of at most a megapixel; None for any other file.

    Args:
        raw: The whole file's content.
    """
    if not raw.startswith(_START):
        return None
    found, at = None, 2
    try:
        while (marker := raw[at + 1]) != _SCAN:
            if raw[at] != 0xFF or marker not in _USUAL:
                return None
            if marker in _FRAMES:
                bits, height, width, channels = struct.unpack_from(">BHHB", raw, at + 4)
                if bits != 8 or channels not in _MODES or not 0 < width * height <= _MOST_PIXELS:
                    return None
                found = Header(_MODES[channels], (width, height))
            at += 2 + (raw[at + 2] << 8 | raw[at + 3])
    except (IndexError, struct.error):  # it is cut off
        return None
    return found if raw[at] == 0xFF else None


def decoded(raw: bytes) -> Image.Image | None:
    """Decode a plain JPEG; None for any other file, and for one that is damaged.

    Args:
        raw: The whole file's content.

    Returns:
        The image in its own size, in mode ``L`` or ``RGB``.
    """
    from PIL import Image  # here, since planning imports this module and must start fast

    if (seen := header(raw)) is None:
        return None
    try:
        return Image.frombytes(seen.mode, seen.size, raw, "jpeg", seen.mode, "")
    except (ValueError, OSError, MemoryError):
        return None
