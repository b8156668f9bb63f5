"""Decodes one image: a file, or its bytes, to uint8 [C, H, W].

`decode` is a pure function of its arguments, so images can be decoded in any order and in any
process. (Not in several threads of one process: they share Python's warning filter.) What would
come out wrong is refused, with the reason, rather than guessed:

    transparency        laid on white or black (`data.background`)
    EXIF orientation    turned; refused if the EXIF block is too damaged to tell
    palette, 1 bit      their colours; black and white
    CMYK, YCbCr         converted to RGB by Pillow, without colour profiles
    16 bits of grey     the upper eight, or `data.levels`
    32 bits, floating   `data.levels`; refused without it, since nothing says what is white
    several frames      refused, except the second picture that some cameras append to a JPEG
    over 179 megapixels read, up to `MOST_PIXELS`
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ablate.data import plain_jpeg
from ablate.data.discovery import shown
from ablate.data.source import Array
from ablate.errors import AblateError

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 10**9  # per image; 4 GB while it is decoded
_GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
_COLOURED = {"RGB", "RGBA", "CMYK", "LA"}
_TRANSLUCENT = {"RGBA", "RGBa", "LA", "La", "PA"}
USUAL_GROUND: Final = "white"
_GROUNDS = {"white": (255, 255, 255, 255), "black": (0, 0, 0, 255)}
_SIGNED, _SAMPLE_FORMAT = 2, 339  # in a TIFF
_ORIENTATION = 0x0112
_MEND = "repair or remove it; data.on_bad=skip leaves out files that do not decode"
_SKIP = "data.on_bad=skip leaves such files out"
_LEVELS = "say what is black and what is white with data.levels=[LOW,HIGH]"


class DecodingError(AblateError):
    """An image that does not decode, or would not decode to what it shows.

    Args:
        file: Its name.
        kind: The reason in a few words, for counting such files.
        reason: The reason and what to do, as a clause that follows the name.
    """

    def __init__(self, file: str, kind: str, reason: str) -> None:
        self.file, self.kind, self.reason = file, kind, reason
        super().__init__(f"{file} {reason}")

    def __reduce__(self) -> tuple[type[DecodingError], tuple[str, str, str]]:
        return type(self), (self.file, self.kind, self.reason)


class _UnfitError(Exception):
    """An image that decodes, but cannot be used: kind and reason, as in `DecodingError`."""


@dataclass(frozen=True)
class Glance:
    """What the header of an image says.

    Attributes:
        grey: Whether it has no colour. (A palette counts as colour.)
        deep: Whether its pixels are grey and have more than 8 bits.
        deep_colour: Whether its colours have 16 bits each, of which Pillow reads the upper 8.
        translucent: Whether it may have transparent parts.
        size: Width and height, before it is turned as its EXIF block says.
    """

    grey: bool
    deep: bool
    deep_colour: bool
    translucent: bool
    size: tuple[int, int]


def decode(
    file: str | os.PathLike[str] | bytes,
    *,
    size: int | None,
    channels: int,
    background: str | None = USUAL_GROUND,
    levels: Sequence[float] | None = None,
    name: str | None = None,
) -> Array:
    """Decode one image.

    Args:
        file: Its path, or the whole file's content.
        size: Height and width: the shorter side is resized to it, and the middle is kept. None
            keeps the image's own size.
        channels: 1 for grey, 3 for RGB.
        background: What transparent parts are laid on, ``white`` or ``black``. None drops the
            transparency and keeps the colours below it, as in recorded runs without this knob.
        levels: Which values become black and white, for pixels with more than 8 bits; values
            beyond are clipped. None takes 0 and 65535 for 16 bits.
        name: What to call it in an error; None takes its path.

    Returns:
        uint8 [C, H, W].

    Raises:
        DecodingError: It does not decode, or would come out wrong.
    """
    if isinstance(file, bytes) and (plain := plain_jpeg.decoded(file)) is not None:
        return _fitted(plain, size, channels)
    called = name or (shown(file) if not isinstance(file, bytes) else "an image")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")  # Pillow's name no file; those that matter are used below
        try:
            with _opened(file, size) as image:
                return _pixels(image, heard, size, channels, background, levels)
        # Pillow's decoders raise many kinds of error for a broken file.
        except Exception as error:
            kind, reason = _told(error, file)
            raise DecodingError(called, kind, reason) from error


def glance(file: str | os.PathLike[str] | bytes) -> Glance | None:
    """Read the header of an image; None if it does not open (`decode` reports the reason).

    Args:
        file: As in `decode`.
    """
    if isinstance(file, bytes) and (plain := plain_jpeg.header(file)) is not None:
        return Glance(plain.mode == "L", False, False, False, plain.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _opened(file, None) as image:
                return Glance(
                    image.mode in _GREY,
                    image.mode[0] in "IF",
                    image.mode in _COLOURED and ";16" in _stored_as(image),
                    image.has_transparency_data,
                    image.size,
                )
        # Pillow's decoders raise many kinds of error for a broken file.
        except Exception:
            return None


def _stored_as(image: Image.Image) -> str:
    """Give Pillow's name for how pixels lie in the file, such as ``RGB;16B``."""
    tiles = getattr(image, "tile", None)  # of an image that is not decoded yet
    return str(tiles[0].args) if tiles else ""


# -- opening ---------------------------------------------------------------------------------------


def _opened(file: str | os.PathLike[str] | bytes, size: int | None) -> Image.Image:
    from PIL import Image  # here, since planning imports this module and must start fast

    source = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        return Image.open(source)
    except Image.DecompressionBombError:
        return _large(source, size)


def _large(source: Any, size: int | None) -> Image.Image:
    """Open an image that is beyond Pillow's size limit, which is meant against attacks."""
    from PIL import Image

    in_memory = isinstance(source, io.BytesIO)
    content = source.getvalue() if in_memory else Path(source).read_bytes()
    for factory, accept in Image.OPEN.values():
        if accept is None or accept(content[:16]) is not True:
            continue
        image: Image.Image = factory(io.BytesIO(content), "")
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise _UnfitError(
                "too large",
                f"declares {width:,} × {height:,} pixels, but at most {MOST_PIXELS:,} are read:"
                f" make it smaller, or remove it; {_SKIP}",
            )
        if size is not None:
            image.draft(None, (2 * size, 2 * size))  # a JPEG decodes to a fraction of its size
        return image
    raise _UnfitError("no image", f"is not an image that Pillow knows; {_MEND}")


# -- decoding --------------------------------------------------------------------------------------


def _pixels(
    image: Image.Image,
    heard: Sequence[warnings.WarningMessage],
    size: int | None,
    channels: int,
    background: str | None,
    levels: Sequence[float] | None,
) -> Array:
    _refuse_frames(image)
    image.load()
    if image.mode == "LAB":
        raise _UnfitError("Lab colours", f"has its colours in Lab: save it as RGB; {_SKIP}")
    return _fitted(
        _on_ground(_eight_bits(_upright(image, heard), levels), background), size, channels
    )


def _fitted(flat: Image.Image, size: int | None, channels: int) -> Array:
    """Convert an opaque image of 8 bits to the wanted channels and size."""
    wanted = "L" if channels == 1 else "RGB"
    flat = flat if flat.mode == wanted else flat.convert(wanted)
    if size is not None and flat.size != (size, size):
        from PIL import Image, ImageOps

        flat = ImageOps.fit(flat, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(flat, np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _refuse_frames(image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        what = "pages" if image.format == "TIFF" else "frames"
        raise _UnfitError(
            f"several {what}",
            f"holds {frames} {what}: save those that you want as separate images; {_SKIP}",
        )


def _upright(image: Image.Image, heard: Sequence[warnings.WarningMessage]) -> Image.Image:
    """Turn an image as its EXIF block says."""
    if image.format == "JPEG" and not image.info.keys() & {"exif", "xmp"}:
        return image  # most are like this, and reading the block takes a tenth of the time
    try:
        orientation = image.getexif().get(_ORIENTATION)
    # A block with odd offsets or types fails in many ways.
    except Exception as error:
        raise _UnfitError(*_odd_exif(error)) from error
    if orientation == 1:
        return image
    about = [h.message for h in heard if "exif" in str(h.message).lower()]
    if orientation is None and about:
        raise _UnfitError(*_odd_exif(about[-1]))
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _odd_exif(error: object) -> tuple[str, str]:
    return (
        "odd EXIF block",
        f"has an EXIF block that cannot be read ({_brief(error)}), so it is not known which way is"
        f" up: save it without one (exiftool -all= FILE); {_SKIP}",
    )


def _on_ground(image: Image.Image, background: str | None) -> Image.Image:
    """Lay an image with translucent parts on a background."""
    if not image.has_transparency_data:
        return image
    from PIL import Image

    if background is None:
        return image.convert("RGBA") if image.mode == "P" else image
    if image.mode in _TRANSLUCENT or "transparency" in image.info:
        if image.mode in ("La", "PA"):
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, _GROUNDS[background])
        return Image.alpha_composite(ground, image)
    return image


def _eight_bits(image: Image.Image, levels: Sequence[float] | None) -> Image.Image:
    """Bring pixels of more than 8 bits to 8, which `convert` would clip."""
    if image.format == "TIFF" and image.mode == "L" and _is_signed(image):
        raise _UnfitError(
            "signed pixels",
            "has signed pixels of 8 bits, where -1 would be read as white: save it unsigned;"
            f" {_SKIP}",
        )
    if image.mode[0] not in "IF":
        return image
    if "transparency" in image.info:
        raise _UnfitError(
            "deep and transparent",
            "has pixels of 16 bits and a transparent colour: save it with 8 bits",
        )
    from PIL import Image

    values = np.asarray(image)
    if levels is not None:
        return Image.fromarray(_between(values, *levels))
    if image.mode == "F":
        raise _UnfitError(
            "floating point",
            f"has floating-point pixels, {_range(values)}, of no known range: {_LEVELS}",
        )
    # A 16-bit PGM opens as 32 bits; a TIFF that opens so has 32 bits, or 16 signed ones.
    if image.mode == "I" and image.format == "TIFF":
        raise _UnfitError(
            "signed or 32 bits",
            f"has signed pixels, or pixels of 32 bits, {_range(values)}, of no known range:"
            f" {_LEVELS}",
        )
    return Image.fromarray((values.astype(np.int64) >> 8).astype(np.uint8))


def _is_signed(image: Any) -> bool:
    found = image.tag_v2.get(_SAMPLE_FORMAT) if hasattr(image, "tag_v2") else None
    return found is not None and _SIGNED in tuple(np.atleast_1d(found))


def _between(values: Array, low: float, high: float) -> Array:
    """Map [low, high] to [0, 255], rounded, and clip what lies beyond; NaN becomes black."""
    share = (np.nan_to_num(values.astype(np.float64), nan=low) - low) / (high - low)
    levels: Array = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
    return levels


def _range(values: Array) -> str:
    return f"from {values.min():g} to {values.max():g}"


# -- reasons ---------------------------------------------------------------------------------------


def _told(error: Exception, file: str | os.PathLike[str] | bytes) -> tuple[str, str]:
    """Say why an image does not decode: kind and reason."""
    if isinstance(error, _UnfitError):
        kind, reason = error.args
        return kind, reason
    if isinstance(error, MemoryError):
        return "out of memory", (
            "does not fit into memory while it is decoded: make it smaller, or give more memory"
        )
    if isinstance(error, PermissionError):
        return "no permission", f"may not be read ({error.strerror}): check its permissions"
    # Pillow's own errors are OSErrors, too, but have no errno.
    if isinstance(error, OSError) and error.errno is not None:
        return "not readable", f"cannot be read ({error.strerror}): check the disk and the file"
    return _of_content(error, file if isinstance(file, bytes) else Path(file))


def _of_content(error: Exception, file: bytes | Path) -> tuple[str, str]:
    from PIL import UnidentifiedImageError

    size = len(file) if isinstance(file, bytes) else file.stat().st_size
    if size == 0:
        return "empty", f"is empty; {_MEND}"
    if not isinstance(error, UnidentifiedImageError):
        cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
        kind = "cut off" if cut else "damaged"
        return kind, f"is {kind}: it does not decode ({_brief(error)}); {_MEND}"
    head = file[:64] if isinstance(file, bytes) else _head(file)
    if head.startswith(b"version https://git-lfs"):
        return "Git LFS pointer", "is a Git LFS pointer, not an image: `git lfs pull` fetches it"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "web page", f"is a web page, not an image: the download went wrong; {_MEND}"
    return "no image", f"is not an image that Pillow knows: it begins with {head[:12]!r}; {_MEND}"


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(64)


def _brief(error: object, most: int = 120) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= most else f"{text[:most]}..."
