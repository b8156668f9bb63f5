"""Decoded images: kept once, shared by all processes, and always those that were planned."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ablate
from ablate import data, environment
from ablate.commands.requests import trained
from ablate.data import decode_many, image_cache, tensors
from ablate.data.file_state import file_state
from ablate.data.registry import DATASETS
from ablate.data.source import Digest, Part
from ablate.errors import AblateError
from ablate.plan.request import Request
from ablate.train.footprint import Images
from tests.files import draw, write_folder, write_image

LONG_AGO = 1_600_000_000
SIZE = (3, 8, 8)

Config = dict[str, Any]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of decoded images in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data.forget()
    yield tmp_path / "cache" / "ablate" / "images"
    data.forget()


@pytest.fixture
def photos(tmp_path: Path, cache: Path) -> Config:
    write_folder(tmp_path / "photos", images=60)
    return aged(
        {"name": "folder", "root": str(tmp_path / "photos"), "image_size": 8, "split_by": "content"}
    )


def aged(config: Config) -> Config:
    for path in Path(config["root"]).rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return config


def kept(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if not path.name.startswith(".")]


def later() -> None:
    """Start like a new process."""
    data.forget()


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("images are decoded")

    monkeypatch.setitem(DATASETS, "folder", replace(DATASETS["folder"], read=refuse))


def on_cpu(config: Config) -> Config:
    return {"data": config, "device": "cpu", "precision": "fp32"}


# -- kept once -------------------------------------------------------------------------------------


def test_a_folder_is_decoded_once_and_mapped_from_then_on(
    photos: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.read(photos)
    later()
    no_decoding(monkeypatch)
    again = data.read(photos)
    assert (again.digest, again.classes, again.notes) == (first.digest, first.classes, first.notes)
    for part, found in first.parts.items():
        np.testing.assert_array_equal(again.parts[part].images, found.images)
        np.testing.assert_array_equal(again.parts[part].labels, found.labels)
        np.testing.assert_array_equal(again.parts[part].content, found.content)
        assert found.content is not None
    assert again.parts["train"].mapped
    assert len(kept(cache)) == 1


def test_mapped_images_are_those_of_memory(photos: Config, cache: Path) -> None:
    mapped = data.load(on_cpu(photos))
    later()
    memory = data.load(on_cpu(photos | {"cache_gb": 0}))
    assert mapped.train.rows is not None
    assert memory.train.rows is None
    assert torch.equal(mapped.mean, memory.mean)
    assert torch.equal(mapped.std, memory.std)
    for name in ("train", "val", "test"):
        one, other = getattr(mapped, name), getattr(memory, name)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.order, other.order)
        assert torch.equal(one.between(2, 5), other.between(2, 5))
        assert one.between(2, 5).stride() == other.between(2, 5).stride()
    index = torch.tensor([[3, 1, 4], [1, 5, 9]])
    for one, other in zip(mapped.batch(index), memory.batch(index), strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_statistics_block_by_block_are_those_of_the_whole(
    dtype: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = (np.random.RandomState(0).rand(40, 5, 6, 7) * 255).astype(dtype)
    stored = torch.tensor(np.ascontiguousarray(np.moveaxis(images, 1, -1))).movedim(-1, 1)
    rows = torch.arange(39, 3, -2)
    monkeypatch.setattr(tensors, "_BLOCK", 4 * images[:1].nbytes)
    some = tensors.Split(stored, torch.zeros(len(rows), dtype=torch.int64), rows)
    mean, std = tensors._statistics(some)
    chosen = images[rows.numpy()].astype(np.float64)
    np.testing.assert_allclose(mean[:, 0, 0], chosen.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std[:, 0, 0], chosen.std((0, 2, 3)), rtol=1e-12)


def test_images_that_a_device_has_no_room_for_are_fetched_batch_by_batch(photos: Config) -> None:
    source = data.read(photos)
    parts = data.split(source, data.Sizes(36, 12, 12))
    device = torch.device("meta")  # any but the CPU; nothing can be read from it
    there = {name: tensors._split(part, None, device, stays=True) for name, part in parts.items()}
    assert {split.stored.device.type for split in there.values()} == {"cpu"}
    assert {split.device.type for split in there.values()} == {"meta"}
    everything = sum(len(part.labels) for part in parts.values()) * 3 * 8 * 8
    for memory, fetched in ((everything * 2, False), (everything * 2 - 2, True)):
        images = Images(SIZE, 3, data.Sizes(36, 12, 12), mapped=True)
        assert images.within(memory).fetched == fetched


def test_the_digest_is_that_of_images_in_memory_however_they_are_read(photos: Config) -> None:
    pixels, labels = draw(50, (3, 5, 7), 4)
    whole = Digest({"train": Part(pixels, labels)}).finished()
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(pixels, 1, -1)), -1, 1)
    running = Digest({"train": Part(last, labels)})
    for ready in (0, 13, 49, 50):
        running.advance(ready)
    assert running.finished() == whole


def test_a_run_trains_from_the_map_as_from_memory(
    photos: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = ["data=folder", f"data.root={photos['root']}", "data.image_size=8", "model=mlp"]
    request += ["model.hidden=[4]", "epochs=2", "batch_size=9", "device=cpu", "augment=flip_crop"]
    mapped = ablate.run(request)
    memory = ablate.run([*request, "data.cache_gb=0", "out=other"])
    assert mapped["key"] == memory["key"]
    assert mapped["metrics"] == memory["metrics"]
    assert mapped["history"] == memory["history"]


# -- over the cores --------------------------------------------------------------------------------


@pytest.fixture
def _in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small folders decoded by several processes."""
    monkeypatch.setattr(decode_many, "_FEW", 10)
    monkeypatch.setattr(decode_many, "_CHUNK", 3)
    monkeypatch.setattr(environment, "cores", lambda: 3)


@pytest.mark.slow
@pytest.mark.usefixtures("_in_parallel")
def test_several_processes_decode_what_one_does(photos: Config, cache: Path) -> None:
    several = data.read(photos)
    later()
    one = data.read(photos | {"cache_gb": 0})
    assert several.digest == one.digest
    np.testing.assert_array_equal(several.parts["train"].content, one.parts["train"].content)


@pytest.mark.slow
@pytest.mark.usefixtures("_in_parallel")
def test_a_process_that_is_killed_is_replaced(
    photos: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = decode_many._Helper._hand_over

    def killed(helper: Any, chunk: Any) -> bool:
        helper._process.kill()
        return hand_over(helper, chunk)

    monkeypatch.setattr(decode_many._Helper, "_hand_over", killed)
    several = data.read(photos)
    later()
    assert several.digest == data.read(photos | {"cache_gb": 0}).digest


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.slow
@pytest.mark.usefixtures("_in_parallel")
def test_what_does_not_decode_is_told_or_left_out_by_several_processes(
    skip: bool, photos: Config, cache: Path
) -> None:
    bad = sorted(Path(photos["root"], "dogs").iterdir())[3:5]
    for path in bad:
        path.write_bytes(b"")
    if skip:
        source = data.read(photos | {"on_bad": "skip"})
        assert len(source.parts["train"].labels) == 58
        assert any("does not decode" in note and "empty" in note for note in source.notes)
        return
    with pytest.raises(AblateError) as caught:
        data.read(photos)
    assert [fault.split(" is empty")[0] for fault in caught.value.faults] == list(map(str, bad))
    assert kept(cache) == []
    assert [path.name for path in cache.iterdir()] == [".read"], "nothing unfinished is left"


def test_colours_after_many_grey_images_are_kept(tmp_path: Path, cache: Path) -> None:
    write_folder(tmp_path / "photos", images=200, shape=(1, 8, 8), classes=("a", "b"))
    write_image(tmp_path / "photos" / "b" / "9999.png", np.full(SIZE, [[[9]], [[5]], [[1]]], "u1"))
    source = data.read({"name": "folder", "root": str(tmp_path / "photos"), "image_size": 8})
    assert source.shape == SIZE
    assert source.parts["train"].images[-1, :, 0, 0].tolist() == [9, 5, 1]


@pytest.mark.slow
def test_two_processes_that_start_at_once_decode_once(photos: Config, cache: Path) -> None:
    code = (
        "import sys; from ablate import data; from ablate.data import folder\n"
        "from dataclasses import replace; from ablate.data.registry import DATASETS\n"
        "read = DATASETS['folder'].read\n"
        "def slow(*a):\n"
        "    print('decoded'); sys.stdout.flush()\n"
        "    import time; time.sleep(1)\n"
        "    return read(*a)\n"
        "DATASETS['folder'] = replace(DATASETS['folder'], read=slow)\n"
        f"print(data.read({photos!r}).digest)"
    )
    commands = [[sys.executable, "-c", code]] * 2
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    processes = [subprocess.Popen(command, **pipes) for command in commands]
    lines = [line for process in processes for line in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert lines.count("decoded") == 1
    assert len({line for line in lines if line != "decoded"}) == 1


# -- changed meanwhile -----------------------------------------------------------------------------


def change(config: Config) -> Path:
    path = next(Path(config["root"], "eels").iterdir())
    write_image(path, np.full(SIZE, 77, np.uint8))
    return path


@pytest.mark.parametrize("same_process", [True, False])
def test_a_file_that_changes_between_plan_and_training_is_named(
    same_process: bool, photos: Config, cache: Path
) -> None:
    planned = data.facts(photos).digest
    path = change(photos)
    if not same_process:
        later()
    with pytest.raises(AblateError, match="images have changed since") as caught:
        data.load(on_cpu(photos), planned)
    assert f"{path} has changed" in str(caught.value)
    assert data.load(on_cpu(photos), data.facts(photos).digest).shape == SIZE


def test_files_that_come_and_go_are_named(photos: Config) -> None:
    planned = data.facts(photos).digest
    gone = next(Path(photos["root"], "cats").iterdir())
    gone.unlink()
    new = Path(photos["root"], "cats", "new.png")
    write_image(new, np.full(SIZE, 77, np.uint8))
    with pytest.raises(AblateError) as caught:
        data.load(on_cpu(photos), planned)
    assert f"{gone} is gone; {new} is new" in str(caught.value)


def test_files_that_were_only_touched_are_trained_on(photos: Config) -> None:
    planned = data.facts(photos).digest
    for path in Path(photos["root"]).rglob("*.png"):
        os.utime(path, (LONG_AGO + 60, LONG_AGO + 60))
    assert data.load(on_cpu(photos), planned).shape == SIZE


def test_a_published_file_that_changes_is_named(tmp_path: Path, cache: Path) -> None:
    from tests.files import write_mnist

    write_mnist(tmp_path / "data", compressed=False)
    config = aged({"name": "mnist", "root": str(tmp_path / "data")})
    planned = data.facts(config).digest
    path = tmp_path / "data/MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    later()
    with pytest.raises(AblateError) as caught:
        data.load(on_cpu(config), planned)
    assert f"{path} has changed" in str(caught.value)


def test_a_sweep_whose_images_change_meanwhile_is_refused_with_the_files_name(
    photos: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load, changed = data.load, []

    def interfered(*arguments: Any) -> Any:
        found = load(*arguments)
        if not changed:
            changed.append(change(photos))
        return found

    monkeypatch.setattr(data, "load", interfered)
    small = ["data=folder", f"data.root={photos['root']}", "data.image_size=8", "model=mlp"]
    small += ["model.hidden=[4]", "epochs=1", "batch_size=9", "device=cpu", "launch=inline"]
    trained(Request((*small, "stack.width=1", "seed=0,1"), multirun=True))
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/*/*/record.json")]
    by_status = {one["status"]: one["reason"] for one in records}
    assert set(by_status) == {"finished", "failed"}
    assert f"{changed[0]} has changed" in by_status["failed"]


# -- own data sets ---------------------------------------------------------------------------------


def test_workers_take_what_was_planned_of_an_own_data_set(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "counted_items.py").write_text(
        "import numpy as np\n"
        "made = []\n"
        "class Squares:\n"
        "    def __init__(self): made.append(1)\n"
        "    def __len__(self): return 20\n"
        "    def __getitem__(self, i): return np.full((4, 4), i, np.uint8), i % 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    config = {"name": "custom", "_target_": "counted_items.Squares"}
    planned = data.facts(config).digest
    later()
    assert len(data.load(on_cpu(config), planned).train) == 12
    assert len(sys.modules["counted_items"].made) == 1


# -- room ------------------------------------------------------------------------------------------


def test_what_was_used_longest_ago_makes_room(tmp_path: Path, cache: Path) -> None:
    configs = []
    for number in range(3):
        root = tmp_path / str(number)
        for pixels, _ in write_folder(root, images=30).values():
            write_image(root / "cats" / "zz.png", pixels[0] // (2 + number))
        configs.append({"name": "folder", "root": str(root), "image_size": 400})  # 14.9 MB
        data.read(configs[-1] | {"cache_gb": 1})
        newest = max(kept(cache), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (LONG_AGO + number,) * 2)
    later()
    place = min(kept(cache), key=lambda path: path.stat().st_mtime)
    each = sum(path.stat().st_size for path in place.iterdir())
    with image_cache.room(3 * each) as room:
        room.images("train", (10, 8, 8, 3))
        assert place not in kept(cache)
        assert len(kept(cache)) == 2


def test_images_beyond_the_limit_are_refused_before_they_are_decoded(photos: Config) -> None:
    with (
        image_cache.room(1000) as room,
        pytest.raises(AblateError, match=r"allows in .*: raise it, .*data\.image_size"),
    ):
        room.images("train", (60, 8, 8, 3))


def test_a_full_disk_says_what_to_do(
    photos: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(AblateError) as caught:
        data.read(photos)
    for word in ("no room on the disk", "--clear-cache", "XDG_CACHE_HOME", "data.cache_gb=0"):
        assert word in str(caught.value)
    assert kept(cache) == []


def test_a_cache_that_cannot_be_written_leaves_images_in_memory(
    photos: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    source = data.read(photos)
    assert not source.parts["train"].mapped
    assert len(source.parts["train"].labels) == 60


@pytest.mark.parametrize("file", ["train.images.npy", "parts.json", "train.labels.npy"])
def test_a_damaged_entry_is_decoded_anew(file: str, photos: Config, cache: Path) -> None:
    first = data.read(photos)
    digest, pixels = first.digest, np.array(first.parts["train"].images)
    (place,) = kept(cache)
    later()
    os.truncate(place / file, (place / file).stat().st_size // 2)
    again = data.read(photos)
    assert again.digest == digest
    np.testing.assert_array_equal(again.parts["train"].images, pixels)


def test_what_a_killed_process_left_is_swept_away(photos: Config, cache: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = cache / f".unfinished-{os.uname().nodename}-{dead.pid}-x"
    left.mkdir(parents=True)
    data.read(photos)
    assert not left.exists()


def test_images_in_use_outlive_the_cache(photos: Config, cache: Path) -> None:
    found = data.load(on_cpu(photos))
    before = found.train.images.clone()
    place, size = image_cache.clear()
    assert place == cache
    assert size > 60 * 3 * 8 * 8
    assert torch.equal(found.train.images, before)
    later()
    assert torch.equal(data.load(on_cpu(photos)).train.images, before)


def test_equal_images_of_other_files_are_kept_apart(tmp_path: Path, cache: Path) -> None:
    write_folder(tmp_path / "png", images=30)
    for path in sorted((tmp_path / "png").rglob("*.png")):
        other = tmp_path / "bmp" / path.relative_to(tmp_path / "png").with_suffix(".bmp")
        pixels = np.asarray(__import__("PIL.Image").Image.open(path))
        write_image(other, np.moveaxis(pixels, -1, 0))
    found = [
        data.read(
            {"name": "folder", "root": str(tmp_path / kind), "image_size": 8, "split_by": "content"}
        )
        for kind in ("png", "bmp")
    ]
    assert found[0].digest != found[1].digest
    contents = [source.parts["train"].content for source in found]
    assert not np.array_equal(*contents)


def test_the_state_of_files_names_what_has_changed(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths[:2]:
        path.write_text("x")
    before = file_state(paths[:2])
    assert before is not None
    assert before.changes(before) == []
    paths[1].write_text("yy")
    paths[2].write_text("z")
    after = file_state(paths[1:])
    assert before.changes(after) == [
        f"{paths[0]} is gone",
        f"{paths[1]} has changed",
        f"{paths[2]} is new",
    ]
