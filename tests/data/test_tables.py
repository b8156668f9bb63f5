"""Images in tables and archives: parquet, npz and csv, as people download them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ablate
from ablate import data
from ablate.config import files
from ablate.errors import AblateError
from tests.files import Written, draw, write_image

NAMES = ["cat", "dog", "eel"]
DRAWN = draw(12, (3, 8, 8), 3)


def config(name: str, root: Path, **settings: Any) -> dict[str, Any]:
    size = {} if name == "npz" else {"image_size": 8}
    return {**files.option("data", name), "root": str(root), **size, **settings}


def refused(name: str, root: Path, *words: str, **settings: Any) -> None:
    with pytest.raises(AblateError) as caught:
        data.read(config(name, root, **settings))
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message


# -- parquet ---------------------------------------------------------------------------------------


def encoded(pixels: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(
    path: Path, drawn: Written, labels: list[Any] | None = None, names: list[str] | None = NAMES
) -> None:
    """Write images as Hugging Face's library does, in row groups of five."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded(pixels), "path": "a.png"} for pixels in drawn.images]
    table = pa.table(
        {"image": images, "label": drawn.labels.tolist() if labels is None else labels}
    )
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    if names is not None:
        told = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(told)
    pq.write_table(table, path, row_group_size=5)


def test_parquet_files_tell_their_part_by_their_names(tmp_path: Path) -> None:
    parts = {"train": draw(12, (3, 8, 8), 3), "validation": draw(6, (3, 8, 8), 3, 1)}
    parts["test"] = draw(7, (3, 8, 8), 3, 2)
    for part, drawn in parts.items():
        write_parquet(tmp_path / "data" / f"{part}-00000-of-00001.parquet", drawn)
    source = data.read(config("parquet", tmp_path))
    assert source.classes == tuple(NAMES)
    for part, drawn in parts.items():
        found = source.parts[{"validation": "val"}.get(part, part)]
        np.testing.assert_array_equal(found.images, drawn.images)
        np.testing.assert_array_equal(found.labels, drawn.labels)


def test_a_set_in_several_parquet_files_is_joined_in_their_order(tmp_path: Path) -> None:
    for number in range(2):
        half = Written(DRAWN.images[6 * number :][:6], DRAWN.labels[6 * number :][:6])
        write_parquet(tmp_path / f"train-0000{number}-of-00002.parquet", half)
    source = data.read(config("parquet", tmp_path))
    np.testing.assert_array_equal(source.parts["train"].images, DRAWN.images)


def test_texts_are_classes_in_their_order(tmp_path: Path) -> None:
    words = [{0: "zebra", 1: "ant", 2: "cow"}[label] for label in DRAWN.labels.tolist()]
    write_parquet(tmp_path / "all.parquet", DRAWN, words, names=None)
    source = data.read(config("parquet", tmp_path / "all.parquet"))
    assert source.classes == ("ant", "cow", "zebra")
    assert source.parts["train"].labels.tolist()[:3] == [2, 0, 1]


def test_a_part_without_labels_is_left_out_and_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", DRAWN)
    write_parquet(tmp_path / "test.parquet", DRAWN, [-1] * 12)
    source = data.read(config("parquet", tmp_path))
    assert set(source.parts) == {"train"}
    assert any("test have no labels" in note for note in source.notes)


@pytest.mark.parametrize(
    ("columns", "settings", "words"),
    [
        ({"image": [b"x"], "fine": [0], "coarse": [1]}, {}, ["data.label_column=NAME", "fine"]),
        ({"a": [b"x"], "b": [b"y"], "label": [0]}, {}, ["data.image_column=NAME", "a or b"]),
        ({"image": [b"x"], "label": [0]}, {"label_column": "lable"}, ["did you mean 'label'?"]),
        ({"image": [b"x", b"y"], "label": [0, 1]}, {}, ["image 0 of row group 0", "not an image"]),
    ],
)
def test_a_table_that_cannot_be_used_is_told(
    columns: dict[str, Any], settings: dict[str, str], words: list[str], tmp_path: Path
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    refused("parquet", tmp_path, "a.parquet", *words, **settings)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and then nothing")
    refused("parquet", tmp_path, str(tmp_path / "train.parquet"), "damaged parquet file")
    refused("parquet", tmp_path / "none", "is not there")


# -- npz -------------------------------------------------------------------------------------------


def medmnist(drawn: Written, **more: Any) -> dict[str, Any]:
    """Name arrays as MedMNIST does: channels last, labels [N, 1]."""
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = np.moveaxis(drawn.images, 1, -1)
        arrays[f"{part}_labels"] = drawn.labels[:, None].astype(np.uint8)
    return arrays | more


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_medmnists_layout_is_read(write: Any, tmp_path: Path) -> None:
    write(tmp_path / "pathmnist.npz", **medmnist(DRAWN))
    source = data.read(config("npz", tmp_path))
    assert set(source.parts) == {"train", "val", "test"}
    np.testing.assert_array_equal(source.parts["val"].images, DRAWN.images)
    np.testing.assert_array_equal(source.parts["test"].labels, DRAWN.labels)


def test_kerass_layout_is_read_and_grey_images_get_their_channel(tmp_path: Path) -> None:
    grey = DRAWN.images[:, 0]
    both = {"x_train": grey, "y_train": DRAWN.labels, "x_test": grey, "y_test": DRAWN.labels}
    np.savez(tmp_path / "mnist.npz", **both)
    source = data.read(config("npz", tmp_path / "mnist.npz"))
    np.testing.assert_array_equal(source.parts["train"].images, grey[:, None])
    assert set(source.parts) == {"train", "test"}


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("last", [True, False])
def test_channels_are_found_on_either_side_of_the_pixels(
    channels: int, last: bool, tmp_path: Path
) -> None:
    images = np.random.RandomState(0).rand(12, channels, 8, 8)
    stored = np.moveaxis(images, 1, -1) if last else images
    np.savez(tmp_path / "a.npz", images=stored, labels=DRAWN.labels)
    found = data.read(config("npz", tmp_path)).parts["train"].images
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, images.astype(np.float32))


def test_blocks_of_an_array_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablate.data.npz._BLOCK", 5 * 3 * 8 * 8)
    np.savez_compressed(tmp_path / "a.npz", x=DRAWN.images, y=DRAWN.labels)
    source = data.read(config("npz", tmp_path))
    np.testing.assert_array_equal(source.parts["train"].images, DRAWN.images)


class Harmful:
    """Leaves a file behind if it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harm"),)


def test_an_array_of_objects_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([Harmful()] * 12, dtype=object)
    np.savez(tmp_path / "a.npz", images=DRAWN.images, labels=objects)
    refused("npz", tmp_path, "labels holds Python objects", "may run code")
    assert not Path("harm").exists()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": DRAWN.images}, ["holds the arrays a", "train_images"]),
        ({"x": DRAWN.images, "y": DRAWN.labels[:5]}, ["5 labels for the 12 images"]),
        ({"x": np.zeros((12, 8, 8, 8)), "y": DRAWN.labels}, ["[12, 8, 8, 8]", "fewer channels"]),
        ({"x": DRAWN.images, "y": np.eye(3)[DRAWN.labels]}, ["one-hot"]),
        ({"x": np.full((12, 8, 8), np.nan), "y": DRAWN.labels}, ["not finite"]),
        ({"x": np.full((12, 8, 8), "a"), "y": DRAWN.labels}, ["numbers are needed"]),
    ],
)
def test_arrays_that_cannot_be_used_are_told(
    arrays: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    refused("npz", tmp_path, str(tmp_path / "a.npz"), *words)


def test_a_file_that_is_no_npz_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing of the kind")
    refused("npz", tmp_path, "a.npz is a damaged .npz file")
    refused("npz", tmp_path / "b.npz", "b.npz does not exist")


def test_a_model_trains_on_twelve_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.RandomState(0).rand(60, 12, 16, 16).astype(np.float32)
    images[np.arange(60) % 2 == 1, 7] += 1  # one band tells the class
    np.savez("bands.npz", images=images, labels=np.arange(60) % 2)
    request = ["data=npz", "data.root=bands.npz", "model.channels=[4]", "epochs=1", "batch_size=12"]
    found = ablate.run([*request, "augment=flip_crop", "augment.brightness=0.1", "device=cpu"])
    told = found["environment"]["data"]
    assert told["shape"] == [12, 16, 16]
    assert len(told["mean"]) == len(told["std"]) == 12
    assert told["mean"][7] == pytest.approx(1, abs=0.05)
    with pytest.raises(AblateError, match=r"augment\.contrast=0\.1 makes no sense"):
        ablate.run([*request, "augment.contrast=0.1"])


# -- csv -------------------------------------------------------------------------------------------


def write_images(root: Path) -> list[str]:
    names = [f"{NAMES[label]}/{number}.png" for number, label in enumerate(DRAWN.labels)]
    for name, pixels in zip(names, DRAWN.images, strict=True):
        write_image(root / name, pixels)
    return names


def write_table(path: Path, header: str, *columns: list[Any]) -> None:
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")


def labels_of() -> list[str]:
    return [NAMES[label] for label in DRAWN.labels]


def test_a_table_names_files_and_labels(tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", "file,label", write_images(tmp_path), labels_of())
    for root in (tmp_path, tmp_path / "labels.csv"):
        source = data.read(config("csv", root))
        assert source.classes == tuple(NAMES)
        np.testing.assert_array_equal(source.parts["train"].images, DRAWN.images)
        np.testing.assert_array_equal(source.parts["train"].labels, DRAWN.labels)


def test_ids_without_an_ending_in_a_folder_beside_the_table_are_found(tmp_path: Path) -> None:
    ids = [name.removesuffix(".png") for name in write_images(tmp_path / "images")]
    write_table(tmp_path / "train.csv", "id,breed", ids, labels_of())
    source = data.read(config("csv", tmp_path))
    np.testing.assert_array_equal(source.parts["train"].images, DRAWN.images)


def test_a_column_may_tell_the_parts(tmp_path: Path) -> None:
    words = ["train"] * 6 + ["valid"] * 3 + ["test"] * 3
    columns = (words, write_images(tmp_path), DRAWN.labels.tolist())
    write_table(tmp_path / "a.csv", "split,path,class", *columns)
    source = data.read(config("csv", tmp_path))
    counts = {part: len(found.labels) for part, found in source.parts.items()}
    assert counts == {"train": 6, "val": 3, "test": 3}
    np.testing.assert_array_equal(source.parts["test"].images, DRAWN.images[9:])


def test_a_table_a_part_is_read(tmp_path: Path) -> None:
    names = write_images(tmp_path)
    write_table(tmp_path / "train.csv", "path,label", names[:6], labels_of()[:6])
    write_table(tmp_path / "test.csv", "path,label", names[6:], labels_of()[6:])
    counts = {part: len(p.labels) for part, p in data.read(config("csv", tmp_path)).parts.items()}
    assert counts == {"train": 6, "test": 6}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("file,label,label", ["row 2 has 2 values, but the header has 3"]),
        ("file", ["two columns"]),
    ],
)
def test_a_table_of_another_form_is_told(header: str, words: list[str], tmp_path: Path) -> None:
    columns = [write_images(tmp_path), labels_of()][: 1 if header == "file" else 2]
    write_table(tmp_path / "a.csv", header, *columns)
    refused("csv", tmp_path, "a.csv", *words)


def test_columns_that_are_not_clear_are_asked_for(tmp_path: Path) -> None:
    names = write_images(tmp_path)
    write_table(tmp_path / "a.csv", "file,colour,animal", names, ["red"] * 12, labels_of())
    refused("csv", tmp_path, "colour or animal", "data.label_column=NAME")
    refused("csv", tmp_path, "did you mean 'animal'?", label_column="animals")
    assert data.read(config("csv", tmp_path, label_column="animal")).classes == tuple(NAMES)
    write_table(tmp_path / "a.csv", "file,label", ["x.png"] * 12, labels_of())
    refused("csv", tmp_path, "data.image_column=NAME", "x.png, cat")


def test_images_that_are_not_there_are_refused_or_left_out(tmp_path: Path) -> None:
    names = write_images(tmp_path)
    write_table(tmp_path / "a.csv", "file,label", names, labels_of())
    (tmp_path / names[5]).unlink()
    refused("csv", tmp_path, "1 of 12 images", names[5], "data.on_bad=skip")
    source = data.read(config("csv", tmp_path, on_bad="skip"))
    assert len(source.parts["train"].labels) == 11
    assert "1 images named in the table do not exist" in source.notes


def test_an_image_without_a_label_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", "file,label", write_images(tmp_path), ["", *labels_of()[1:]])
    refused("csv", tmp_path, "has no label")
