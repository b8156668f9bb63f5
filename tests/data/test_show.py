"""`ablate data PATH`: what would be trained on, and a sheet of it."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ablate.commands.data import is_folder
from ablate.commands.show_data import contact_sheet, show_folder
from ablate.data.source import Part
from ablate.errors import AblateError
from tests.files import listing, write_folder, write_image


@pytest.fixture
def photos(tmp_path, monkeypatch):
    root = tmp_path / "photos"
    write_folder(root, images=60, shape=(3, 8, 12))
    (root / "cats" / "notes.txt").write_text("")
    shutil.copy(root / "cats" / "0000.png", root / "cats" / "copy.png")
    monkeypatch.chdir(tmp_path)
    return root


def show(path, *settings, sheet=None):
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        assert show_folder(str(path), settings, sheet, console) == 0
        return console.export_text()


def row(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {name}")]
    return [part.strip() for part in line.strip(" │").split("│")]


def test_it_tells_classes_counts_sizes_copies_and_what_is_left_out(photos):
    before = listing(photos)
    text = show(photos, "data.image_size=8")
    assert row(text, "cats") == ["cats", "13", "4", "4"]
    assert row(text, "dogs") == ["dogs", "12", "4", "4"]
    assert row(text, "3 classes") == ["3 classes", "37", "12", "12"]
    assert "Images of 12 × 8 pixels in 1 size, trained on as 8 × 8, RGB; digest" in text
    assert "Left out: 1 × not an image by its ending (cats/notes.txt)" in text
    assert "Exact copies of other images in their split: 1 image" in text
    assert listing(photos) == before


def test_the_sheet_has_a_row_for_each_class(photos, tmp_path):
    text = show(photos, sheet=str(tmp_path / "sheet.png"))
    assert f"Sheet of training images: {tmp_path / 'sheet.png'}" in text
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (120 + 10 * 68, 3 * 68 + 4)
    show(photos)
    assert (tmp_path / "photos-images.png").exists()


def test_the_sheet_shows_images_of_the_class_as_they_are_trained_on():
    images = np.stack([np.full((1, 8, 8), 10), np.full((1, 8, 8), 200)]).astype(np.uint8)
    sheet = np.asarray(contact_sheet(Part(images, np.array([0, 1])), ("dark", "bright")))
    assert np.unique(sheet[4:68, 120:184]).tolist() == [10]
    assert np.unique(sheet[72:136, 120:184]).tolist() == [200]
    assert np.unique(sheet[4:68, 188:]).tolist() == [255]


def test_several_sizes_are_told_as_a_range(photos):
    write_image(photos / "dogs" / "large.png", np.zeros((3, 90, 100), np.uint8))
    assert "Images of 12 × 8 to 100 × 90 pixels in 2 sizes" in show(photos)


def test_settings_that_are_wrong_are_told_together(photos):
    with pytest.raises(AblateError) as caught:
        show(photos, "data.image_size=0", "data.imagesize=8", "epochs=3")
    first, second, third = caught.value.faults
    assert "data.image_size=0 is not legal" in first
    assert "did you mean 'data.image_size'" in second
    assert "there is no setting epochs" in third


def test_a_sheet_that_cannot_be_written_is_told(photos, tmp_path):
    with pytest.raises(AblateError, match="name another file with --sheet"):
        show(photos, sheet=str(tmp_path / "nowhere" / "sheet.png"))


def test_a_folder_is_told_from_a_data_set(photos, tmp_path):
    assert is_folder("photos")
    assert is_folder("./nowhere")
    assert not is_folder("mnist")
    assert not is_folder("minst")
