"""Makes folders of images like those people have: odd splits, odd files, odd pixels, odd names.

`CASES` says how each is read. The code that makes them does not use ablate.

    python -m tests.odd_images    prints the table, as Markdown
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.files import draw, write_image

Array = Any
Maker = Callable[[Path], None]
GREEN = np.full((3, 8, 8), [[[10]], [[200]], [[30]]], np.uint8)
RAMP = np.arange(64).reshape(8, 8)
HALVES = np.repeat([[0] * 8, [255] * 8], 4, axis=0).astype(np.uint8)


@dataclass(frozen=True)
class Case:
    """A folder, and how it is read.

    Attributes:
        what: What is odd about it.
        make: Makes the folder.
        gives: Images of each part, only ``train`` if the split is drawn; None if it is refused.
        words: Words in the refusal, or else in the notes.
        settings: Knobs of `data`.
        classes: Names of the classes, if they matter.
        first: The pixels of the first training image, uint8 [C, 8, 8], if they matter.
        within: How far those pixels may be off.
    """

    what: str
    make: Maker
    gives: Mapping[str, int] | None
    words: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    first: Array | None = None
    within: int = 0


# -- makers ----------------------------------------------------------------------------------------


def _folder(*places: str, classes: tuple[str, ...] = ("a", "b"), images: int = 6) -> Maker:
    """Make a folder of classes at each place, with equally many distinct images."""

    def make(root: Path) -> None:
        for seed, place in enumerate(places):
            drawn = draw(images, (3, 8, 8), len(classes), seed)
            for number, (pixels, label) in enumerate(zip(*drawn, strict=True)):
                write_image(root / place / classes[label] / f"{number}.png", pixels)

    return make


def _and(*makers: Maker) -> Maker:
    def make(root: Path) -> None:
        for one in makers:
            one(root)

    return make


def _saved(image: Image.Image, name: str = "a/0.png", **options: Any) -> Maker:
    """Replace the first image."""

    def make(root: Path) -> None:
        (root / "a" / "0.png").unlink(missing_ok=True)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)

    return _and(_folder("."), make)


def _bytes(content: bytes, name: str = "a/0.png") -> Maker:
    def make(root: Path) -> None:
        (root / "a" / "0.png").unlink(missing_ok=True)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return _and(_folder("."), make)


def _beside(*names: str) -> Maker:
    """Add files that are not images."""

    def make(root: Path) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("no image")

    return make


def _images(*names: str, seed: int = 50) -> Maker:
    def make(root: Path) -> None:
        drawn = draw(len(names), (3, 8, 8), 2, seed)
        for name, pixels in zip(names, drawn.images, strict=True):
            write_image(root / name, pixels)

    return make


def _empty(*names: str) -> Maker:
    return lambda root: [(root / name).mkdir(parents=True) for name in names] and None


def _links(to: str, *names: str) -> Maker:
    def make(root: Path) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(root / to)

    return make


def _copies(source: str, *names: str) -> Maker:
    def make(root: Path) -> None:
        for name in names:
            shutil.copy(root / source, root / name)

    return make


def _rgb(pixels: Array = GREEN) -> Image.Image:
    return Image.fromarray(np.moveaxis(np.asarray(pixels, np.uint8), 0, -1))


def _logo(mode: str = "RGBA") -> Image.Image:
    """Return an image that is black in the upper half and transparent black in the lower."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 8, 4))
    return image.convert(mode)


def _palette_logo() -> Image.Image:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.paste(1, (0, 4, 8, 8))
    return image


def _every(images: Callable[[int], Image.Image], ending: str) -> Maker:
    """Make a folder in which every image has the same oddity."""

    def content(number: int) -> bytes:
        stream = BytesIO()
        images(number).save(stream, format=Image.registered_extensions()[f".{ending}"])
        return stream.getvalue()

    return _every_byte(content, ending)


def _every_byte(contents: Callable[[int], bytes], ending: str) -> Maker:
    def make(root: Path) -> None:
        for number in range(6):
            path = root / "ab"[number % 2] / f"{number}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents(number))

    return make


def _deep_colours(values: Array) -> bytes:
    """Write 16-bit colours as PNG, which Pillow can read but not write."""
    height, width = values.shape
    pixels = np.stack([values, values // 2, values], -1).astype(">u2")

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)  # unfiltered
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _tiff(values: Array, sample_format: int) -> bytes:
    """Write one channel as TIFF; sample format 1 is unsigned, 2 signed, 3 floating point."""
    data, (height, width) = values.tobytes(), values.shape
    bits = values.dtype.itemsize * 8
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def _turned(orientation: int) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return Image.fromarray(np.stack([HALVES] * 3, -1)), exif


def _odd_exif() -> bytes:
    """Write a JPEG whose EXIF block promises more entries than it holds."""
    stream = BytesIO()
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 900) + b"\x12\x01\x03"
    _rgb().save(stream, format="JPEG", exif=block)
    return stream.getvalue()


def _truncated() -> bytes:
    stream = BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8)).save(
        stream, format="PNG"
    )
    return stream.getvalue()[:900]


def _bomb() -> bytes:
    """Write a PNG whose header promises 60,000 × 60,000 pixels."""
    stream = BytesIO()
    _rgb().save(stream, format="PNG")
    content = bytearray(stream.getvalue())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def _frames(ending: str) -> bytes:
    stream = BytesIO()
    frames = [_rgb(pixels) for pixels in draw(3, (3, 8, 8), 2, seed=70).images]
    frames[0].save(stream, format=ending, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def _mpo() -> bytes:
    stream = BytesIO()
    _rgb().save(stream, format="MPO", save_all=True, append_images=[_rgb(GREEN // 2)], quality=95)
    return stream.getvalue()


def _foreign_class(root: Path) -> None:
    """Name a class in Latin-1, as old archives do."""
    folder = os.fsencode(root) + b"/caf\xe9"
    os.mkdir(folder)
    for number in range(3):
        shutil.copy(root / "a" / "0.png", folder + b"/%d.png" % number)
        write_image(root / "a" / "0.png", draw(1, (3, 8, 8), 2, seed=80 + number).images[0])


# -- cases -----------------------------------------------------------------------------------------

GREY_12 = (RAMP * 60).astype(np.uint16)
SIGNED = (RAMP * 100 - 3000).astype(np.int16)
UPPER = np.broadcast_to(HALVES, (3, 8, 8))

CASES = (
    # Splits.
    Case(
        "Training/ and Testing/",
        _folder("Training", "Testing"),
        {"train": 6, "test": 6},
        ("train is Training, test is Testing",),
    ),
    Case(
        "Train/, Valid/ and Test/",
        _folder("Train", "Valid", "Test"),
        {"train": 6, "val": 6, "test": 6},
        ("val is Valid",),
    ),
    Case(
        "seg_train/seg_train/, seg_test/seg_test/ and seg_pred/ without classes",
        _and(_folder("seg_train/seg_train", "seg_test/seg_test"), _images("seg_pred/9.png")),
        {"train": 6, "test": 6},
        ("train is seg_train/seg_train", "1 × a folder of images without labels"),
    ),
    Case(
        "train_set/, val_set/ and testSet/",
        _folder("train_set", "val_set", "testSet"),
        {"train": 6, "val": 6, "test": 6},
        ("train is train_set, val is val_set, test is testSet",),
    ),
    Case(
        "train2017/ and test2017/",
        _folder("train2017", "test2017"),
        {"train": 6, "test": 6},
        ("train is train2017, test is test2017",),
    ),
    Case(
        "archive/chest/train/ and archive/chest/test/",
        _folder("archive/chest/train", "archive/chest/test"),
        {"train": 6, "test": 6},
        ("train is archive/chest/train, test is archive/chest/test",),
    ),
    Case(
        "train/ alone",
        _folder("train"),
        {"train": 6},
        ("train is train; there is no test folder, so the split is drawn",),
    ),
    Case(
        "val/ and test/ without train/",
        _folder("val", "test"),
        None,
        ("no training folder", "data.splits="),
    ),
    Case(
        "train/ and val/ without test/", _folder("train", "val"), None, ("no test", "data.splits")
    ),
    Case(
        "the same, with data.splits",
        _folder("train", "val"),
        {"train": 6, "test": 6},
        settings={"splits": ["train:train", "test:val"]},
    ),
    Case(
        "train/ and Train/",
        _folder("train", "Train", "test"),
        None,
        ("both Train and train are named like train", "data.splits"),
    ),
    Case(
        "train/, test/ and another folder of classes",
        _folder("train", "test", "extra"),
        None,
        ("extra, test, train", "no other folder may be beside splits", "data.splits"),
    ),
    Case(
        "a copy of the whole inside itself (chest_xray/chest_xray/)",
        _folder("xray/train", "xray/test", "xray/xray/train", "xray/xray/test"),
        None,
        ("test, train, xray", "data.splits"),
    ),
    Case(
        "the same, with data.splits",
        _folder("xray/train", "xray/test", "xray/xray/train", "xray/xray/test"),
        {"train": 6, "test": 6},
        ("12 × an image outside the class folders",),
        settings={"splits": ["train:xray/train", "test:xray/test"]},
    ),
    Case(
        "train/ and test/ inside each class",
        _folder("cats", "dogs", classes=("train", "test")),
        None,
        ("splits inside one of 2 classes", "train/CLASS/IMAGE", "data.splits"),
    ),
    Case(
        "images in train/ and test/, no classes",
        _images("train/cat.0.png", "train/dog.0.png", "test/1.png"),
        None,
        ("hold images, not folders of classes",),
    ),
    Case(
        "Training/ and Testing/, data.splits=none",
        _folder("Training", "Testing"),
        {"train": 12},
        settings={"splits": "none"},
        classes=("Testing", "Training"),
    ),
    Case(
        "data.splits names what is not there",
        _folder("Training", "Testing"),
        None,
        ("there is no folder Trainin ", "did you mean 'Training'"),
        settings={"splits": ["train:Trainin", "test:Testing"]},
    ),
    Case(
        "classes called car and train",
        _folder(".", classes=("car", "train")),
        {"train": 6},
        ("train is a class, since it holds images",),
        classes=("car", "train"),
    ),
    Case(
        "classes called beaker and test tube",
        _folder(".", classes=("beaker", "test tube")),
        {"train": 6},
        ("test tube is a class, since it holds images",),
        classes=("beaker", "test tube"),
    ),
    Case(
        "classes called invalid and valid",
        _folder(".", classes=("invalid", "valid")),
        {"train": 6},
        ("valid is a class, since it holds images",),
        classes=("invalid", "valid"),
    ),
    Case(
        "a folder around the classes",
        _folder("download/images"),
        {"train": 6},
        ("the classes lie in download/images",),
    ),
    Case(
        "a class of the test folder alone",
        _and(_folder("train", "test"), _images("test/owls/9.png")),
        None,
        ("this class has no training images", "are a, b"),
    ),
    Case(
        "a class that test/ lacks",
        _and(_folder("train", classes=("a", "b", "c")), _folder("test")),
        {"train": 6, "test": 6},
        ("test has no image of c",),
    ),
    # What is left out.
    Case(
        ".jfif, .avif and .jp2",
        _and(_folder("."), _images("a/x.jfif", "a/y.avif", "a/z.jp2")),
        {"train": 9},
    ),
    Case(
        ".heic and .psd",
        _and(_folder("."), _beside("a/x.heic", "b/y.psd")),
        {"train": 6},
        ("2 × an image in a format that is not read (a/x.heic, b/y.psd)",),
    ),
    Case(
        "broken links",
        _and(_folder("."), _links("nowhere", "a/l1.png", "a/l2.png", "b/l3.png", "b/l4.png")),
        {"train": 6},
        ("4 × a broken link (a/l1.png, a/l2.png, b/l3.png, ...)",),
    ),
    Case(
        "nothing but broken links (git-annex)",
        _links("nowhere", "a/0.png", "b/0.png"),
        None,
        ("holds no images below class directories", "2 × a broken link"),
    ),
    Case(
        "hidden folders and images, and what file managers drop",
        _and(_folder("."), _beside(".git/x.png", "a/._0.png", "__MACOSX/a/0.png", "a/.DS_Store")),
        {"train": 6},
        ("3 × hidden (.git, __MACOSX, a/._0.png)",),
    ),
    Case(
        "images beside the class folders, and a text",
        _and(_folder("."), _images("sheet.png"), _beside("labels.csv")),
        {"train": 6},
        ("1 × an image outside the class folders (sheet.png)", "1 × not an image by its ending"),
    ),
    Case(
        "an empty class",
        _and(_folder("."), _empty("bears")),
        None,
        ("bears holds no image", "data.on_bad=skip leaves empty classes out"),
    ),
    Case(
        "an empty class, data.on_bad=skip",
        _and(_folder("."), _empty("bears")),
        {"train": 6},
        ("1 × a class without images (bears)",),
        settings={"on_bad": "skip"},
        classes=("a", "b"),
    ),
    Case(
        "a link that leads round in a circle", _and(_folder("."), _links(".", "a/l")), {"train": 6}
    ),
    Case(
        "a class name in Latin-1",
        _and(_folder("."), _foreign_class),
        {"train": 9},
        classes=("a", "b", "caf\\xe9"),
    ),
    # Pixels.
    Case(
        "a black logo on transparent ground",
        _saved(_logo()),
        {"train": 6},
        first=UPPER,
    ),
    Case(
        "the same, data.background=black",
        _saved(_logo()),
        {"train": 6},
        settings={"background": "black"},
        first=UPPER * 0,
    ),
    Case("the same in translucent grey", _saved(_logo("LA")), {"train": 6}, first=UPPER),
    Case(
        "a palette with a transparent colour",
        _saved(_palette_logo(), transparency=1),
        {"train": 6},
        first=UPPER,
    ),
    Case(
        "a transparent grey level (PNG's tRNS)",
        _saved(Image.fromarray(HALVES // 2), transparency=127),
        {"train": 6},
        first=UPPER,
    ),
    Case(
        "16 bits of full range",
        _every(lambda i: Image.fromarray((RAMP * 1000 + i * 500).astype(np.uint16)), "png"),
        {"train": 6},
        first=(RAMP * 1000 // 256)[None],
    ),
    Case(
        "12 bits stored in 16",
        _every(lambda i: Image.fromarray(GREY_12 + np.uint16(50 * i)), "png"),
        None,
        ("6 images of 16 bits", "16 of 256 levels would be left", "data.levels=[0,4095]"),
    ),
    Case(
        "the same, data.levels=[0,4095]",
        _every(lambda i: Image.fromarray(GREY_12 + np.uint16(50 * i)), "png"),
        {"train": 6},
        settings={"levels": [0, 4095]},
        first=np.rint(GREY_12 * 255.0 / 4095)[None],
    ),
    Case(
        "colours of 12 bits stored in 16",
        _every_byte(lambda i: _deep_colours(GREY_12 + np.uint16(50 * i)), "png"),
        None,
        ("6 images of 16 bits", "16 of 256 levels would be left", "save them with 8 bits"),
    ),
    Case(
        "colours of 16 bits",
        _every_byte(lambda i: _deep_colours((RAMP * 1000 + i * 500).astype(np.uint16)), "png"),
        {"train": 6},
        first=np.stack([RAMP * 1000 // 256, RAMP * 1000 // 512, RAMP * 1000 // 256]),
    ),
    Case(
        "int16",
        _bytes(_tiff(SIGNED, 2), "a/0.tif"),
        None,
        ("a/0.tif has signed pixels", "from -3000 to 3300", "data.levels=[LOW,HIGH]"),
    ),
    Case(
        "int16, data.levels=[-1000,400]",
        _bytes(_tiff(SIGNED, 2), "a/0.tif"),
        {"train": 6},
        settings={"levels": [-1000, 400]},
        first=np.broadcast_to(np.rint((SIGNED.clip(-1000, 400) + 1000.0) * 255 / 1400), (3, 8, 8)),
    ),
    Case(
        "int8",
        _bytes(_tiff((RAMP - 32).astype(np.int8), 2), "a/0.tif"),
        None,
        ("signed pixels of 8 bits", "save it unsigned"),
    ),
    Case(
        "32 bits of small range",
        _bytes(_tiff(RAMP.astype(np.int32), 2), "a/0.tif"),
        None,
        ("pixels of 32 bits, from 0 to 63", "data.levels"),
    ),
    Case(
        "floating point",
        _bytes(_tiff((RAMP / 63).astype(np.float32), 3), "a/0.tif"),
        None,
        ("floating-point pixels, from 0 to 1", "data.levels"),
    ),
    Case(
        "floating point, data.levels=[0,1]",
        _bytes(_tiff((RAMP / 63).astype(np.float32), 3), "a/0.tif"),
        {"train": 6},
        settings={"levels": [0, 1]},
        first=np.broadcast_to(np.rint((RAMP / 63).astype(np.float32) * 255.0), (3, 8, 8)),
    ),
    Case(
        "data.levels without an image of more than 8 bits",
        _folder("."),
        None,
        ("data.levels touches nothing",),
        settings={"levels": [0, 4095]},
    ),
    Case(
        "data.background without a transparent image",
        _folder("."),
        None,
        ("data.background touches nothing",),
        settings={"background": "black"},
    ),
    Case(
        "CMYK",
        _saved(_rgb().convert("CMYK"), "a/0.tif"),
        {"train": 6},
        first=GREEN,
        within=1,
    ),
    Case(
        "CMYK in a JPEG",
        _saved(_rgb().convert("CMYK"), "a/0.jpg", quality=100),
        {"train": 6},
        first=GREEN,
        within=6,
    ),
    Case("a palette", _saved(_rgb().quantize(4)), {"train": 6}, first=GREEN),
    Case("1 bit", _saved(Image.fromarray(HALVES).convert("1")), {"train": 6}, first=UPPER),
    Case(
        "Lab",
        _saved(Image.new("LAB", (8, 8)), "a/0.tif"),
        None,
        ("has its colours in Lab: save it as RGB",),
    ),
    *(
        Case(
            f"EXIF orientation {orientation}",
            _saved(_turned(orientation)[0], exif=_turned(orientation)[1]),
            {"train": 6},
            first=np.broadcast_to(turned, (3, 8, 8)),
        )
        # EXIF 2.32: where the first row and column of the stored image are displayed.
        for orientation, turned in (
            (1, HALVES),
            (3, HALVES[::-1]),
            (6, HALVES.T[:, ::-1]),
            (8, HALVES.T),
        )
    ),
    Case(
        "an odd EXIF block",
        _bytes(_odd_exif(), "a/0.jpg"),
        None,
        ("a/0.jpg has an EXIF block that cannot be read", "not known which way is up"),
    ),
    Case(
        "an animated GIF",
        _bytes(_frames("GIF"), "a/0.gif"),
        None,
        ("a/0.gif holds 3 frames: save those that you want",),
    ),
    Case("a TIFF of several pages", _bytes(_frames("TIFF"), "a/0.tif"), None, ("holds 3 pages",)),
    Case(
        "a camera's JPEG with a second picture (MPO)",
        _bytes(_mpo(), "a/0.jpg"),
        {"train": 6},
        first=GREEN,
        within=6,
    ),
    Case(
        "several sizes, data.image_size=null",
        _and(_folder("."), _saved(Image.new("RGB", (12, 9)), "a/wide.png")),
        None,
        ("they have 2 sizes: 5 of 8 × 8 (a/2.png), 1 of 12 × 9 (a/wide.png)",),
        settings={"image_size": None},
    ),
    Case(
        "every pixel the same",
        _every(lambda i: Image.new("L", (8, 8), 7), "png"),
        None,
        ("every pixel of all 6 training images is 7", "nothing to learn"),
    ),
    Case(
        "a channel that is the same everywhere",
        _every(lambda i: _rgb(np.stack([RAMP + i, RAMP, RAMP * 0])), "png"),
        {"train": 6},
        ("channel 2 is 0 in every training image",),
    ),
    # Files that are not what they say.
    Case("an empty file", _bytes(b""), None, ("a/0.png is empty", "repair or remove it")),
    Case(
        "a text called .png",
        _bytes(b"this is no image"),
        None,
        ("a/0.png is not an image that Pillow knows: it begins with b'this is no i'",),
    ),
    Case("a web page called .png", _bytes(b"<!DOCTYPE html><html>"), None, ("is a web page",)),
    Case(
        "a Git LFS pointer",
        _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        None,
        ("`git lfs pull` fetches it",),
    ),
    Case("an image that is cut off", _bytes(_truncated()), None, ("is cut off",)),
    Case(
        "3,600 megapixels by its header",
        _bytes(_bomb()),
        None,
        ("declares 60,000 × 60,000 pixels, but at most 1,000,000,000 are read",),
    ),
    Case(
        "four broken files, data.on_bad=skip",
        _and(
            _folder(".", images=12),
            lambda root: (
                [(root / "a" / f"{n}.png").write_bytes(b"") for n in (2, 4, 6, 8)] and None
            ),
            lambda root: (root / "b" / "1.png").write_bytes(_truncated()) and None,
        ),
        {"train": 7},
        ("4 × empty (a/2.png, a/4.png, a/6.png, ...); 1 × cut off (b/1.png)",),
        settings={"on_bad": "skip"},
    ),
    # Copies.
    Case(
        "copies within a class",
        _and(_folder("."), _copies("a/0.png", "a/8.png", "a/9.png")),
        {"train": 8},
        ("exact copies of other images in their split: 2 images (a/0.png = a/8.png)",),
    ),
    Case(
        "a copy in another format",
        _and(_folder("."), lambda root: Image.open(root / "a/0.png").save(root / "a/9.bmp")),
        {"train": 7},
        ("exact copies of other images in their split: 1 image (a/0.png = a/9.bmp)",),
    ),
    Case(
        "copies in two classes",
        _and(_folder("."), _copies("a/0.png", "b/0.png")),
        {"train": 7},
        ("at least one label is wrong: 1 image (a/0.png = b/0.png)",),
    ),
    Case(
        "copies in train/ and test/",
        _and(_folder("train", "test"), _copies("train/a/0.png", "test/a/8.png", "test/a/9.png")),
        {"train": 6, "test": 8},
        ("not held out: 2 images of the val or test folder (train/a/0.png = test/a/8.png)",),
    ),
)


def table() -> str:
    """Write how each case is read, as a Markdown table."""
    from ablate import data
    from ablate.config import files
    from ablate.errors import AblateError

    lines = ["| folder | gives | what is said |", "|---|---|---|"]
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "photos"
            case.make(root)
            config = files.option("data", "folder") | {"root": str(root), "image_size": 8}
            try:
                source = data.read(config | dict(case.settings))
                gives = ", ".join(f"{len(p.labels)} {name}" for name, p in source.parts.items())
                said = "; ".join(source.notes)
            except AblateError as error:
                gives, said = "refused", "; ".join(error.faults)
            lines.append(f"| {case.what} | {gives} | {said.replace(folder + '/', '')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
