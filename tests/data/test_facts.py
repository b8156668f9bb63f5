"""What planning knows about a data set: cached while its files stay the same, else read again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ablate
from ablate import data
from ablate.data import fact_cache
from ablate.data.registry import DATASETS
from ablate.errors import AblateError
from tests.files import (
    write_cifar10,
    write_cifar100,
    write_folder,
    write_image,
    write_mnist,
    write_svhn,
)

WRITERS: dict[str, Callable[..., Any]] = {
    "mnist": write_mnist,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "folder": write_folder,
}
LONG_AGO = 1_600_000_000
PIXEL = ("MNIST/raw/train-images-idx3-ubyte", 16)  # the file, and the place of the first in it

Config = dict[str, Any]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the file of an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data.forget()
    yield tmp_path / "cache" / "ablate" / "facts.json"
    data.forget()


@pytest.fixture
def mnist(tmp_path: Path, cache: Path) -> Config:
    """Write an unpacked data set whose files have not changed for long."""
    write_mnist(tmp_path / "data", compressed=False)
    return aged({"name": "mnist", "root": str(tmp_path / "data")})


def aged(config: Config) -> Config:
    for path in Path(config["root"]).rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return config


def entries(cache: Path) -> dict[str, Any]:
    found = json.loads(cache.read_text()) if cache.exists() else {}
    assert isinstance(found, dict)
    return found


def later() -> None:
    """Start like a new process."""
    data.forget()


def no_reading(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make reading a data set fail."""

    def refuse(*_: object) -> None:
        pytest.fail("images are read")

    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], read=refuse))


def change_first_pixel(config: Config) -> None:
    """Change a pixel in place; the file's size stays."""
    path = Path(config["root"]) / PIXEL[0]
    with path.open("r+b") as file:
        file.seek(PIXEL[1])
        old = file.read(1)[0]
        file.seek(PIXEL[1])
        file.write(bytes([old ^ 1]))


def forge(config: Config) -> None:
    """Change a pixel without changing the state of the file."""
    path = Path(config["root"]) / PIXEL[0]
    before = path.stat()
    change_first_pixel(config)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )


# -- what is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_facts_are_those_of_the_images_and_are_read_once(
    name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = WRITERS[name](tmp_path / "data")
    config = aged({"name": name, "root": str(tmp_path / "data"), "image_size": 8})
    first, source = data.facts(config), data.read(config)
    assert first.counts == {part: len(images) for part, (images, _) in written.items()}
    assert first.shape == written["train"].images.shape[1:]
    assert (first.digest, first.classes) == (source.digest, source.classes)
    later()
    no_reading(monkeypatch, name)
    assert data.facts(config) == first


def test_digits_are_kept_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data.facts({"name": "digits"})
    assert (first.shape, first.counts) == ((1, 8, 8), {"train": 1797})
    later()
    no_reading(monkeypatch, "digits")
    assert data.facts({"name": "digits"}) == first


def test_a_lookup_imports_nothing_that_is_slow(mnist: Config, tmp_path: Path, cache: Path) -> None:
    write_folder(tmp_path / "photos")
    photos = aged({"name": "folder", "root": str(tmp_path / "photos"), "image_size": 8})
    configs = [mnist, photos, {"name": "digits"}]
    for config in configs:
        data.facts(config)
    assert len(entries(cache)) == len(configs)
    code = (
        "import sys, ablate.plan.resolve; from ablate import data;"
        f" [data.facts(config) for config in {configs}];"
        " slow = {'torch', 'torchvision', 'sklearn', 'scipy', 'PIL', 'pandas'};"
        " print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_run_that_is_finished_reads_no_images(
    mnist: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = ablate.run(request(mnist))
    assert first["status"] == "finished"
    no_reading(monkeypatch, "mnist")
    assert ablate.run(request(mnist)) == first


def request(config: Config) -> list[str]:
    small = ["model=mlp", "model.hidden=[4]", "epochs=1", "batch_size=20", "device=cpu"]
    return [*small, f"data={config['name']}", f"data.root={config['root']}"]


# -- what is read anew -----------------------------------------------------------------------------


def replaced(config: Config) -> None:
    """Replace the file by another one of the same size and time."""
    path = Path(config["root"]) / PIXEL[0]
    shutil.copy2(path, path.with_name("copy"))
    change_first_pixel(config)
    os.utime(path, (LONG_AGO, LONG_AGO))
    changed = path.read_bytes()
    path.with_name("copy").write_bytes(changed)
    os.utime(path.with_name("copy"), (LONG_AGO, LONG_AGO))
    os.replace(path.with_name("copy"), path)


def grown(config: Config) -> None:
    write_mnist(Path(config["root"]), images=140, compressed=False)
    aged(config)


def packed(config: Config) -> None:
    """Have the same images compressed, and others."""
    shutil.rmtree(config["root"])
    write_mnist(Path(config["root"]), images=140)
    aged(config)


@pytest.mark.parametrize("change", [change_first_pixel, replaced, grown, packed])
def test_a_changed_file_is_read_anew_and_kept_again(
    change: Callable[[Config], None],
    mnist: Config,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = data.facts(mnist)
    change(mnist)
    later()
    after = data.facts(mnist)
    assert after.digest != before.digest
    assert after == fact_cache.facts_of(data.read(mnist))
    aged(mnist)  # even to the old time: what was kept of that is gone
    later()
    data.facts(mnist)
    later()
    no_reading(monkeypatch, "mnist")
    assert data.facts(mnist) == after


def one_more(root: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(root / "dogs" / "zz.png")


def one_less(root: Path) -> None:
    next((root / "dogs").iterdir()).unlink()


def another_name(root: Path) -> None:
    (root / "dogs").rename(root / "wolves")


@pytest.mark.parametrize("change", [one_more, one_less, another_name])
def test_a_folder_is_read_anew_when_its_images_change(
    change: Callable[[Path], None], tmp_path: Path, cache: Path
) -> None:
    write_folder(tmp_path / "photos")
    config = aged({"name": "folder", "root": str(tmp_path / "photos"), "image_size": 8})
    before = data.facts(config)
    assert len(entries(cache)) == 1
    change(tmp_path / "photos")
    later()
    after = data.facts(aged(config))
    assert after != before
    assert after == fact_cache.facts_of(data.read(config))
    assert len(entries(cache)) == 1, "the old entry is replaced"


def test_a_folder_at_two_sizes_is_two_data_sets(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "photos")
    small = aged({"name": "folder", "root": str(tmp_path / "photos"), "image_size": 4})
    large = small | {"image_size": 8}
    found = [data.facts(config) for config in (small, large)]
    assert [facts.shape for facts in found] == [(3, 4, 4), (3, 8, 8)]
    later()
    no_reading(monkeypatch, "folder")
    assert [data.facts(config) for config in (small, large)] == found


def test_a_folder_that_no_longer_suits_is_refused_as_when_it_is_read(
    tmp_path: Path, cache: Path
) -> None:
    write_folder(tmp_path / "photos", parts=("train", "test"))
    config = aged({"name": "folder", "root": str(tmp_path / "photos"), "image_size": 8})
    data.facts(config)
    write_image(tmp_path / "photos" / "notes" / "0.png", np.zeros((3, 8, 8), np.uint8))
    later()
    with pytest.raises(AblateError, match="no other folder may be beside splits"):
        data.facts(config)


@pytest.mark.parametrize("age", [0, 1, -3600])
def test_a_file_that_was_written_a_moment_ago_is_not_trusted(
    age: float, mnist: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = LONG_AGO + 10_000.0
    monkeypatch.setattr("time.time_ns", lambda: int(now * 1e9))
    os.utime(Path(mnist["root"]) / PIXEL[0], (now - age, now - age))
    data.facts(mnist)
    assert entries(cache) == {}


def test_the_state_is_that_of_before_the_reading(
    mnist: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = DATASETS["mnist"].read

    def interfered(*arguments: Any) -> data.Source:
        source = read(*arguments)
        change_first_pixel(mnist)
        return source

    with monkeypatch.context() as patch:
        patch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], read=interfered))
        old = data.facts(mnist)
    later()
    new = data.facts(mnist)
    assert new.digest != old.digest
    assert new.digest == data.read(mnist).digest


def test_a_class_of_the_users_is_always_read(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "facts_of_mine.py").write_text(
        "import numpy as np\n"
        "grey = [0]\n"
        "class Squares:\n"
        "    def __len__(self): return 20\n"
        "    def __getitem__(self, i): return np.full((4, 4), i + grey[0], np.uint8), i % 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    config = {"name": "custom", "_target_": "facts_of_mine.Squares"}
    before = data.facts(config)
    sys.modules["facts_of_mine"].grey[0] = 1
    later()
    assert data.facts(config).digest != before.digest
    assert not cache.exists()


# -- the file --------------------------------------------------------------------------------------


def spoiled(entry: dict[str, Any]) -> Iterator[Any]:
    """Make entries that say too little or the wrong thing."""
    facts = entry["facts"]
    for part in ("digest", "shape", "classes", "counts"):
        yield entry | {"facts": {k: v for k, v in facts.items() if k != part}}
        yield entry | {"facts": facts | {part: None}}
    yield entry | {"facts": facts | {"shape": [1, 28]}}
    yield entry | {"facts": facts | {"shape": ["a", "b", "c"]}}
    yield entry | {"facts": facts | {"counts": {}}}
    yield entry | {"facts": facts | {"more": 1}}
    yield entry | {"facts": []}
    yield {k: v for k, v in entry.items() if k != "facts"}
    yield from (None, [], "text", {})


def test_an_entry_that_is_damaged_is_read_anew(
    mnist: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = data.facts(mnist)
    ((name, entry),) = entries(cache).items()
    for damaged in spoiled(entry):
        cache.write_text(json.dumps({name: damaged}))
        later()
        assert data.facts(mnist) == found
        assert entries(cache) == {name: entry}, damaged


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"facts"', b"\xff\xfe{}", b"[" * 9]
)
def test_a_file_that_is_damaged_is_written_anew(content: bytes, mnist: Config, cache: Path) -> None:
    found = data.facts(mnist)
    sound = entries(cache)
    cache.write_bytes(content)
    later()
    assert data.facts(mnist) == found
    assert entries(cache) == sound


def test_a_cache_that_cannot_be_written_is_no_error(
    mnist: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert data.facts(mnist).counts == {"train": 120, "test": 60}


def test_a_user_without_a_home_needs_no_cache(
    mnist: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert data.facts(mnist).counts == {"train": 120, "test": 60}


def test_a_write_that_fails_leaves_the_file_as_it_was(
    mnist: Config, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.facts(mnist)
    before = cache.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    data.facts({"name": "digits"})
    assert cache.read_bytes() == before
    assert list(cache.parent.iterdir()) == [cache]


def test_entries_whose_files_are_gone_are_dropped(
    mnist: Config, tmp_path: Path, cache: Path
) -> None:
    shutil.copytree(mnist["root"], tmp_path / "other")
    for config in (mnist, aged({"name": "mnist", "root": str(tmp_path / "other")})):
        data.facts(config)
    assert [str(tmp_path / "other") in name for name in entries(cache)] == [False, True]
    shutil.rmtree(mnist["root"])
    data.facts({"name": "digits"})
    assert [name.split()[0] for name in entries(cache)] == ["mnist", "digits"]
    assert str(tmp_path / "other") in next(iter(entries(cache)))


def test_the_latest_entries_are_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fact_cache, "_MOST", 3)
    write_folder(tmp_path / "photos")
    config = aged({"name": "folder", "root": str(tmp_path / "photos")})
    for size in range(1, 6):
        data.facts(config | {"image_size": size})
    assert [entry["facts"]["shape"] for entry in entries(cache).values()] == [
        [3, size, size] for size in (3, 4, 5)
    ]


def test_processes_that_write_at_once_leave_a_whole_file(tmp_path: Path, cache: Path) -> None:
    written = [{name: {"place": str(tmp_path), "facts": name * 5000}} for name in "ab"]
    code = "from ablate.data import fact_cache\nfor _ in range(100): fact_cache._write({})"
    commands = [[sys.executable, "-c", code.format(one)] for one in written]
    processes = [subprocess.Popen(command) for command in commands]
    while any(process.poll() is None for process in processes):
        assert entries(cache) in ({}, *written)
    assert [process.returncode for process in processes] == [0, 0]
    assert entries(cache) in written
    assert list(cache.parent.iterdir()) == [cache]


def test_a_place_whose_name_is_no_text_is_read_each_time(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / os.fsdecode(b"photos \xff")
    write_folder(root)
    config = aged({"name": "folder", "root": str(root), "image_size": 8})
    assert data.facts(config).counts == {"train": 30}
    assert entries(cache) == {}


# -- what the state of a file does not tell --------------------------------------------------------


def test_images_that_are_not_those_of_the_plan_are_not_loaded(mnist: Config, cache: Path) -> None:
    planned = data.facts(mnist)
    forge(mnist)
    later()
    assert data.facts(mnist) == planned, "nothing tells that the file has changed"
    config = {"data": mnist, "device": "cpu", "precision": "fp32"}
    with pytest.raises(AblateError, match="images have changed since") as caught:
        data.load(config, planned.digest)
    read = data.read(mnist).digest
    assert planned.digest in str(caught.value)
    assert read in str(caught.value)
    assert entries(cache) == {}, "the wrong entry is dropped"
    assert data.facts(mnist).digest == read
    assert len(data.load(config, read).train) == 110


def test_no_run_trains_under_the_key_of_other_images(
    mnist: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data.facts(mnist)
    forge(mnist)
    first = ablate.run(request(mnist), check=False)
    assert first["status"] == "failed"
    assert "images have changed since" in first["reason"]
    second = ablate.run(request(mnist))
    assert second["status"] == "finished"
    assert second["key"] != first["key"]
    assert second["environment"]["data"]["digest"] == data.read(mnist).digest


def test_a_process_that_read_the_old_images_reads_the_new_ones(
    mnist: Config, tmp_path: Path
) -> None:
    """A worker lives longer than a request, and the next one is planned elsewhere."""
    data.read(mnist)
    change_first_pixel(mnist)
    shutil.copytree(mnist["root"], tmp_path / "as it is now")
    digest = data.read({"name": "mnist", "root": str(tmp_path / "as it is now")}).digest
    config = {"data": mnist, "device": "cpu", "precision": "fp32"}
    assert len(data.load(config, digest).train) == 110
