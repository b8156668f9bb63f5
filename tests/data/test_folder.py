"""Folders of the user's own images: what is found, how it is decoded, what is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from ablate import data
from ablate.data import discovery
from ablate.errors import AblateError
from tests.files import draw, listing, write_folder, write_image

ADAPTIVE = Image.Palette.ADAPTIVE
GREEN = np.full((3, 8, 8), [[[10]], [[200]], [[30]]], np.uint8)


def read(root, image_size=8, **settings):
    config = {"name": "folder", "root": str(root), "image_size": image_size}
    return data.read(config | settings)


def refused(root, *words):
    before = listing(root) if root.is_dir() else None
    with pytest.raises(AblateError) as caught:
        read(root)
    assert [word for word in words if word not in str(caught.value)] == []
    assert (listing(root) if root.is_dir() else None) == before


def decoded(root, image, ending="png", size=8, **options):
    """Save one image beside coloured ones, and return what is read."""
    write_folder(root, classes=("a", "b"))
    image.save(root / "a" / f"0.{ending}", **options)
    return read(root, size).parts["train"].images[0]


# -- what is found --------------------------------------------------------------------------------


def test_images_are_labelled_by_their_directory_as_torchvision_does(tmp_path):
    written = write_folder(tmp_path)
    source, theirs = read(tmp_path), ImageFolder(str(tmp_path))
    np.testing.assert_array_equal(source.parts["train"].images, written["train"].images)
    np.testing.assert_array_equal(source.parts["train"].labels, theirs.targets)
    assert list(source.classes) == theirs.classes
    pixels = np.stack([np.moveaxis(np.asarray(image), -1, 0) for image, _ in theirs])
    np.testing.assert_array_equal(source.parts["train"].images, pixels)


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val", "test")])
def test_a_split_of_the_users_own_is_kept(parts, tmp_path):
    written = write_folder(tmp_path, parts=parts)
    source = read(tmp_path)
    assert set(source.parts) == set(parts)
    for part in parts:
        np.testing.assert_array_equal(source.parts[part].images, written[part].images)
        np.testing.assert_array_equal(source.parts[part].labels, written[part].labels)


def test_every_ending_that_torchvision_reads_is_read():
    assert set(IMG_EXTENSIONS) <= set(discovery.EXTENSIONS)


@pytest.mark.parametrize("ending", ["png", "bmp", "ppm", "tif", "tiff", "PNG", "TiFF", "gif"])
def test_a_lossless_format_is_read_exactly(ending, tmp_path):
    write_folder(tmp_path, classes=("a", "b"))
    write_image(tmp_path / "a" / f"0.{ending}", GREEN)
    np.testing.assert_array_equal(read(tmp_path).parts["train"].images[0], GREEN)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "webp", "JPG"])
def test_a_lossy_format_is_read_closely(ending, tmp_path):
    write_folder(tmp_path, classes=("a", "b"))
    write_image(tmp_path / "a" / f"0.{ending}", GREEN)
    np.testing.assert_allclose(read(tmp_path).parts["train"].images[0].astype(int), GREEN, atol=6)


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    write_folder(tmp_path, classes=("a", "b"), images=6)
    expected = read(tmp_path).digest
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "a", again / "a")
    shutil.copytree(tmp_path / "b", again / "b")
    for place in ("a/._0000.png", ".thumbnails/0.png", "a/.checkpoints/0.png", "b/notes.txt"):
        (again / place).parent.mkdir(exist_ok=True)
        (again / place).write_text("not an image")
    assert read(again).digest == expected


def test_images_in_directories_within_a_class_belong_to_it(tmp_path):
    write_folder(tmp_path, classes=("a", "b"), images=6)
    write_image(tmp_path / "b" / "more" / "yet more" / "0.png", GREEN)
    np.testing.assert_array_equal(read(tmp_path).parts["train"].labels, [0, 0, 0, 1, 1, 1, 1])


def test_links_to_images_and_directories_are_followed_once(tmp_path):
    write_folder(tmp_path / "store", classes=("a", "b"), images=6)
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "b").symlink_to(tmp_path / "store" / "b")
    (root / "a" / "linked").symlink_to(tmp_path / "store" / "a")
    (root / "a" / "again").symlink_to(root / "a")
    (root / "a" / "one.png").symlink_to(tmp_path / "store" / "b" / "0001.png")
    (root / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    np.testing.assert_array_equal(read(root).parts["train"].labels, [0, 0, 0, 0, 1, 1, 1])


def test_names_beyond_ascii_are_kept(tmp_path):
    names = ("Käfer und Bienen", "猫", "🐕")
    write_folder(tmp_path / "größe", classes=names)
    assert read(tmp_path / "größe").classes == names


def test_a_class_may_be_missing_from_the_test_split(tmp_path):
    write_folder(tmp_path, parts=("train", "test"))
    shutil.rmtree(tmp_path / "test" / "dogs")
    source = read(tmp_path)
    assert source.classes == ("cats", "dogs", "eels")
    assert set(source.parts["test"].labels.tolist()) == {0, 2}


def test_a_class_may_be_called_train(tmp_path):
    write_folder(tmp_path, classes=("car", "train"))
    assert read(tmp_path).classes == ("car", "train")


# -- how it is decoded ----------------------------------------------------------------------------


def test_grey_images_have_one_channel(tmp_path):
    written = write_folder(tmp_path, shape=(1, 8, 8))
    np.testing.assert_array_equal(read(tmp_path).parts["train"].images, written["train"].images)


def test_grey_images_among_coloured_ones_have_three_equal_channels(tmp_path):
    grey = draw(1, (1, 8, 8), 2).images[0]
    pixels = decoded(tmp_path, Image.fromarray(grey[0]))
    np.testing.assert_array_equal(pixels, np.repeat(grey, 3, axis=0))


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
@pytest.mark.parametrize("coloured", [True, False])
def test_sixteen_bits_of_grey_keep_their_upper_eight(ending, coloured, tmp_path):
    values = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    write_folder(tmp_path, shape=(3 if coloured else 1, 8, 8))
    Image.fromarray(values).save(tmp_path / "cats" / f"0.{ending}")
    found = read(tmp_path).parts["train"].images[0]
    assert found.shape == (3 if coloured else 1, 8, 8)
    np.testing.assert_array_equal(found, np.broadcast_to(values // 256, found.shape))


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK"])
def test_other_modes_are_read_as_colours(mode, tmp_path):
    image = Image.fromarray(np.moveaxis(GREEN, 0, -1)).convert(mode, palette=ADAPTIVE)
    ending = "tif" if mode == "CMYK" else "png"
    np.testing.assert_allclose(decoded(tmp_path, image, ending).astype(int), GREEN, atol=1)


def test_transparency_is_dropped_as_it_was_where_a_record_names_no_background(tmp_path):
    image = Image.fromarray(np.moveaxis(GREEN, 0, -1)).convert("RGBA")
    image.putalpha(0)
    np.testing.assert_array_equal(decoded(tmp_path, image), GREEN)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    image = Image.fromarray(np.moveaxis(GREEN, 0, -1)).quantize(4)
    pixels = decoded(tmp_path, image, transparency=bytes([0, 255, 128, 7]))
    np.testing.assert_allclose(pixels.astype(int), GREEN, atol=1)


def test_one_bit_and_translucent_grey_are_grey(tmp_path):
    write_folder(tmp_path, shape=(1, 8, 8))
    halves = np.repeat([[0] * 8, [255] * 8], 4, axis=0).astype(np.uint8)
    Image.fromarray(halves).convert("1").save(tmp_path / "cats" / "0.png")
    Image.fromarray(halves).convert("LA").save(tmp_path / "cats" / "00.png")
    images = read(tmp_path).parts["train"].images
    np.testing.assert_array_equal(images[0, 0], halves)
    np.testing.assert_array_equal(images[1, 0], halves)


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    top = np.zeros((8, 8, 3), np.uint8)
    top[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the stored image is to be turned clockwise
    pixels = decoded(tmp_path, Image.fromarray(top), exif=exif)
    right = np.zeros((3, 8, 8), np.uint8)
    right[:, :, 4:] = 255
    np.testing.assert_array_equal(pixels, right)


def test_the_middle_of_an_oblong_image_is_kept(tmp_path):
    stripes = np.repeat([[[255, 0, 0]] * 8 + [[0, 255, 0]] * 8 + [[0, 0, 255]] * 8], 8, axis=0)
    pixels = decoded(tmp_path, Image.fromarray(stripes.astype(np.uint8)))
    np.testing.assert_array_equal(pixels[1], np.full((8, 8), 255))
    assert pixels[0].max() == pixels[2].max() == 0


@pytest.mark.parametrize("size", [1, 5, 32])
def test_every_image_is_brought_to_the_image_size(size, tmp_path):
    write_folder(tmp_path)
    write_image(tmp_path / "cats" / "wide.png", np.full((3, 2, 90), 77, np.uint8))
    source = read(tmp_path, size)
    assert source.shape == (3, size, size)
    wide = source.parts["train"].images[10]  # after the ten cats that have numbers
    np.testing.assert_array_equal(wide, np.full((3, size, size), 77))


def test_reading_writes_nothing(tmp_path):
    write_folder(tmp_path)
    before = listing(tmp_path)
    read(tmp_path)
    assert listing(tmp_path) == before


# -- what is refused ------------------------------------------------------------------------------


def test_a_directory_that_is_not_there_is_named(tmp_path):
    refused(tmp_path / "photos", f"data.root={tmp_path / 'photos'} is not there", "a directory")
    assert not (tmp_path / "photos").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", f"data.root={tmp_path / 'file'} is a file")


def test_a_folder_without_classes_is_refused(tmp_path):
    refused(tmp_path, f"{tmp_path} holds no images below class directories", ".jpg")
    write_image(tmp_path / "loose.png", GREEN)
    refused(tmp_path, f"{tmp_path} holds no images below class directories")


def test_a_single_class_is_named(tmp_path):
    write_folder(tmp_path, classes=("cats",))
    refused(tmp_path, "single class 'cats'")


def test_an_empty_class_is_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "bears").mkdir()
    refused(tmp_path, f"{tmp_path / 'bears'} holds no image")


def test_an_empty_class_of_a_given_training_split_is_named(tmp_path):
    write_folder(tmp_path, parts=("train", "test"))
    (tmp_path / "train" / "bears").mkdir()
    refused(tmp_path, f"{tmp_path / 'train' / 'bears'} holds no image")


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_an_empty_part_is_named(part, tmp_path):
    write_folder(tmp_path, parts=("train", "val", "test"))
    for path in (tmp_path / part).rglob("*.png"):
        path.unlink()
    refused(tmp_path, f"{tmp_path / part} holds no images")


def test_a_class_of_the_test_split_alone_is_named(tmp_path):
    write_folder(tmp_path, parts=("train", "test"))
    write_image(tmp_path / "test" / "owls" / "0.png", GREEN)
    refused(
        tmp_path, str(tmp_path / "test" / "owls"), "no training images", str(tmp_path / "train")
    )


@pytest.mark.parametrize(
    "parts", [("train", "val"), ("train", "test", "extra"), ("train", "valid")]
)
def test_parts_are_never_taken_for_classes(parts, tmp_path):
    write_folder(tmp_path, parts=parts)
    refused(tmp_path, ", ".join(sorted(parts)), "data.splits=")


def truncated(path):
    write_image(path, draw(1, (3, 64, 64), 2).images[0])
    path.write_bytes(path.read_bytes()[:900])


def floating(path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(path, format="tiff")


def thirty_two_bits(path):
    Image.fromarray(np.full((8, 8), 2**20, np.int32)).save(path, format="tiff")


BROKEN = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("this is no image"), "is not an image that Pillow knows"),
    "truncated": (truncated, "is cut off"),
    "floating": (floating, "has floating-point pixels"),
    "thirty_two_bits": (thirty_two_bits, "has signed pixels, or pixels of 32 bits"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_that_does_not_decode_is_named(kind, channels, tmp_path):
    write_folder(tmp_path, shape=(channels, 8, 8))
    BROKEN[kind][0](tmp_path / "dogs" / "broken.png")
    refused(tmp_path, f"{tmp_path / 'dogs' / 'broken.png'} {BROKEN[kind][1]}")


def test_the_first_few_broken_images_are_named_together(tmp_path):
    write_folder(tmp_path)
    for number in range(9):
        (tmp_path / "dogs" / f"broken{number}.png").write_bytes(b"")
    with pytest.raises(AblateError) as caught:
        read(tmp_path)
    named = [fault.split(" is empty")[0] for fault in caught.value.faults]
    assert named == [str(tmp_path / "dogs" / f"broken{number}.png") for number in range(5)]
