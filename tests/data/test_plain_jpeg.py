"""JPEGs decoded without opening them first: the pixels that Pillow gives, or none."""

from __future__ import annotations

import itertools
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ablate.data import plain_jpeg
from ablate.data.decoding import DecodingError, decode, glance
from tests.files import draw

SIZES = ((1, 1), (7, 5), (8, 8), (64, 48))
OPTIONS = (
    {},
    {"quality": 5},
    {"subsampling": 0},  # 4:4:4
    {"subsampling": 1},  # 4:2:2
    {"progressive": True},
    {"optimize": True},
    {"restart_marker_blocks": 1},
    {"comment": b"two\xff\xd9words"},
)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # a quarter turn
UNUSUAL = {
    "an EXIF block": {"exif": EXIF},
    "a colour profile": {"icc_profile": b"not a real one"},
    "no JFIF, but Adobe's colours": {"mode": "CMYK"},
}


def jpeg(mode="RGB", size=(12, 9), **options):
    width, height = size
    channels = len(mode)
    (pixels,) = draw(1, (channels, height, width), 2, seed=len(options)).images
    shaped = pixels[0] if channels == 1 else np.moveaxis(pixels, 0, -1)
    stream = BytesIO()
    Image.fromarray(shaped, mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def opened(raw):
    with Image.open(BytesIO(raw)) as image:
        return image.mode, np.asarray(image)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pixels_are_those_of_an_opened_file(options):
    for mode, size in itertools.product(("L", "RGB"), SIZES):
        raw = jpeg(mode, size, **options)
        image = plain_jpeg.decoded(raw)
        assert plain_jpeg.header(raw) == plain_jpeg.Header(mode, size)
        assert image is not None
        expected_mode, expected = opened(raw)
        assert image.mode == expected_mode
        np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("what", UNUSUAL)
def test_the_unusual_is_left_to_decoding(what):
    raw = jpeg(**UNUSUAL[what])
    assert plain_jpeg.header(raw) is None
    assert plain_jpeg.decoded(raw) is None


def test_other_files_and_large_ones_are_left_to_decoding(monkeypatch):
    stream = BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    for raw in (b"", b"\xff\xd8\xff", b"no image", stream.getvalue()):
        assert plain_jpeg.decoded(raw) is None
    monkeypatch.setattr(plain_jpeg, "_MOST_PIXELS", 12 * 9)
    assert plain_jpeg.decoded(jpeg(size=(12, 9))) is not None
    assert plain_jpeg.decoded(jpeg(size=(12, 10))) is None


def test_a_file_that_is_cut_off_anywhere_is_refused_as_before():
    raw = jpeg(size=(64, 48))
    for length in range(0, len(raw) - 2, 7):  # the end marker alone may be missing
        assert plain_jpeg.decoded(raw[:length]) is None
    with pytest.raises(DecodingError, match="is cut off"):
        decode(raw[: len(raw) // 2], size=None, channels=3)


def test_damage_is_never_decoded_to_other_pixels_than_pillow_gives():
    raw, random = jpeg(size=(32, 24)), np.random.default_rng(0)
    for place in random.integers(0, len(raw), 400):
        damaged = raw[:place] + bytes(random.integers(0, 256, 1, np.uint8)) + raw[place + 1 :]
        image = plain_jpeg.decoded(damaged)
        if image is not None:
            np.testing.assert_array_equal(np.asarray(image), opened(damaged)[1])


def test_a_glance_needs_no_opening():
    for mode in ("L", "RGB"):
        raw = jpeg(mode)
        seen = glance(raw)
        assert seen is not None
        assert (seen.grey, seen.size) == (mode == "L", (12, 9))
        assert not any((seen.deep, seen.deep_colour, seen.translucent))
