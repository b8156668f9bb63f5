"""One image decoded: pure, quiet, and with the reason where it is refused."""

from __future__ import annotations

import builtins
import errno
import pickle
import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablate.data import decoding, discovery
from ablate.data.decoding import DecodingError, decode, glance
from ablate.errors import AblateError
from tests.files import draw, write_folder, write_image

HOW = {"size": 8, "channels": 3, "background": "white"}


def png(pixels=None, **options):
    stream = BytesIO()
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8) if pixels is None else pixels)
    image.save(stream, format="PNG", **options)
    return stream.getvalue()


def test_bytes_and_their_file_decode_alike(tmp_path):
    (pixels,) = draw(1, (3, 8, 8), 2).images
    write_image(tmp_path / "a.png", pixels)
    for file in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        np.testing.assert_array_equal(decode(file, size=None, channels=3), pixels)


def test_without_a_size_an_image_keeps_its_own():
    content = png(np.zeros((5, 9, 3), np.uint8))
    assert decode(content, size=None, channels=3).shape == (3, 5, 9)
    assert decode(content, size=None, channels=1).shape == (1, 5, 9)


def test_half_transparent_is_half_of_the_ground():
    image = np.full((8, 8, 4), [0, 0, 0, 51], np.uint8)  # a fifth black
    white = decode(png(image), size=8, channels=3, background="white")
    black = decode(png(image), size=8, channels=3, background="black")
    np.testing.assert_array_equal(white, np.full((3, 8, 8), 204))
    np.testing.assert_array_equal(black, np.zeros((3, 8, 8)))


def test_a_glance_tells_grey_from_colour_and_8_bits_from_more():
    grey = decoding.Glance(True, deep=False, deep_colour=False, translucent=False, size=(8, 6))
    assert glance(png(np.zeros((6, 8), np.uint8))) == grey
    assert glance(png(np.zeros((6, 8), np.uint16))) == replace(grey, deep=True)
    assert glance(png()) == replace(grey, grey=False, size=(8, 8))
    assert glance(b"no image") is None


def test_an_error_names_the_image_the_reason_and_its_kind():
    with pytest.raises(DecodingError) as caught:
        decode(b"", **HOW, name="row 5 of x.parquet")
    error = caught.value
    assert str(error).startswith("row 5 of x.parquet is empty")
    assert (error.file, error.kind) == ("row 5 of x.parquet", "empty")
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "no permission",
            "check its permissions",
        ),
        (OSError(errno.EIO, "Input/output error"), "not readable", "Input/output error"),
        (MemoryError(), "out of memory", "does not fit into memory"),
    ],
)
def test_what_the_system_refuses_is_not_called_damaged(raised, kind, words, tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", np.zeros((3, 8, 8), np.uint8))

    def refuse(*arguments, **options):
        raise raised

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DecodingError) as caught:
        decode(tmp_path / "a.png", **HOW)
    assert caught.value.kind == kind
    assert str(caught.value).startswith(str(tmp_path / "a.png"))
    assert words in str(caught.value)


@pytest.mark.parametrize("factor", [1.5, 3])  # Pillow warns from 1 on, and refuses from 2 on
@pytest.mark.parametrize("ending", ["PNG", "JPEG"])
def test_images_beyond_pillows_limit_are_read_without_a_warning(factor, ending, monkeypatch):
    stream = BytesIO()
    Image.fromarray(np.full((60, 60, 3), 90, np.uint8)).save(stream, format=ending, quality=100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(3600 / factor))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode(stream.getvalue(), size=8, channels=3)
    np.testing.assert_allclose(found.astype(int), 90, atol=2)


def test_images_far_beyond_it_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 63)
    with pytest.raises(DecodingError, match="declares 8 × 8 pixels, but at most 63 are read"):
        decode(png(), size=8, channels=3)


def test_nothing_of_what_pillow_warns_of_is_printed_raw():
    palette = Image.fromarray(np.zeros((8, 8), np.uint8)).convert("P")
    stream = BytesIO()
    palette.save(stream, format="PNG", transparency=bytes([0, 255, 7]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(stream.getvalue(), size=8, channels=3)


def test_a_folder_that_may_not_be_opened_is_refused_or_left_out(tmp_path, monkeypatch):
    write_folder(tmp_path, classes=("a", "b"))
    (tmp_path / "a" / "shut").mkdir()
    scan = discovery.os.scandir

    def scandir(path):
        if Path(path).name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(path)

    monkeypatch.setattr(discovery.os, "scandir", scandir)
    with pytest.raises(AblateError, match="a/shut may not be opened: check the permissions"):
        discovery.discover(tmp_path)
    found = discovery.discover(tmp_path, on_bad="skip")
    assert found.notes == ("left out: 1 × a folder that may not be opened (a/shut)",)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "seg_train", "trainSet", "TRAIN", "x-trn")
        ),
        *((name, "val") for name in ("val", "valid", "Validation", "val2017", "images_val")),
        *((name, "test") for name in ("test", "Testing", "test_set", "testdata")),
        *((name, None) for name in ("constraint", "contest", "trains", "invalid", "attestation")),
        ("train_test", None),
        ("seg_pred", "unlabelled"),
    ],
)
def test_a_split_is_a_word_of_the_name(name, role):
    assert discovery.role(name) == role
