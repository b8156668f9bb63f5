"""Fetching and verifying, whole or not at all. Servers are `file://` addresses."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import socket
import subprocess
import sys
from http.client import IncompleteRead
from urllib.response import addinfourl

import pytest
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from ablate import cli, data
from ablate.commands.data import fetch_and_verify
from ablate.data import fetch
from ablate.data.fetch import DownloadError
from ablate.data.registry import DATASETS
from ablate.errors import AblateError
from tests.files import (
    listing,
    write_cifar10,
    write_cifar100,
    write_folder,
    write_mnist,
    write_svhn,
)

IDX = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
WRITERS = {
    **{name: lambda root, f=folder: write_mnist(root, folder=f) for name, folder in IDX.items()},
    "cifar10": lambda root: write_cifar10(root, compressed=True),
    "cifar100": lambda root: write_cifar100(root, compressed=True),
    "svhn": write_svhn,
}
IMAGES = "train-images-idx3-ubyte.gz"
LAST = "t10k-labels-idx1-ubyte.gz"


class Server:
    """A folder that holds a tiny data set, and takes the place of the published one."""

    def __init__(self, name, folder, monkeypatch):
        self.name, self.folder = name, folder
        WRITERS[name](folder)
        sums = {path.name: calculate_md5(path) for path in folder.rglob("*") if path.is_file()}
        {
            **dict.fromkeys(IDX, self._publish_idx),
            "cifar10": self._publish_cifar,
            "cifar100": self._publish_cifar,
            "svhn": self._publish_svhn,
        }[name](sums, monkeypatch)

    def path(self, file):
        return next(self.folder.rglob(file))

    def _publish_idx(self, sums, monkeypatch):
        cls = getattr(datasets, IDX[self.name])
        raw = self.folder / IDX[self.name] / "raw"
        resources = [(file, sums[file]) for file, _ in cls.resources]
        monkeypatch.setattr(cls, "resources", resources)
        monkeypatch.setattr(cls, "mirrors", [f"{raw.as_uri()}/"])

    def _publish_cifar(self, sums, monkeypatch):
        cls = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[self.name]
        monkeypatch.setattr(cls, "url", (self.folder / cls.filename).as_uri())
        monkeypatch.setattr(cls, "tgz_md5", sums[cls.filename])

    def _publish_svhn(self, sums, monkeypatch):
        published = {
            part: [(self.folder / file).as_uri(), file, sums.get(file)]
            for part, (_, file, _) in datasets.SVHN.split_list.items()
        }
        monkeypatch.setattr(datasets.SVHN, "split_list", published)


@pytest.fixture(autouse=True)
def _file_addresses_tell_their_length(monkeypatch):
    """Returns the length, as real servers do; torchvision's progress bar relies on it."""
    length = property(lambda self: int(self.headers["Content-length"]))
    monkeypatch.setattr(addinfourl, "length", length, raising=False)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    return Server("mnist", tmp_path / "server", monkeypatch)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "some" / "place"


def failure(name, root):
    with pytest.raises(DownloadError) as caught:
        data.read({"name": name, "root": str(root)})
    return str(caught.value)


def to_download(name):
    return [file for file in DATASETS[name].published() if file.urls]


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


# -- what works -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_set_is_fetched_to_where_it_is_read(name, tmp_path, root, monkeypatch):
    server = Server(name, tmp_path / "server", monkeypatch)
    source = data.read({"name": name, "root": str(root)})
    assert contents(root) == contents(server.folder)
    assert source.digest == data.read({"name": name, "root": str(server.folder)}).digest


def test_the_addresses_are_torchvisions():
    for name, cls in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        (file,) = to_download(name)
        assert (file.urls, file.md5) == ((cls.url,), cls.tgz_md5)
    for name, folder in IDX.items():
        cls = getattr(datasets, folder)
        assert [file.md5 for file in to_download(name)] == [md5 for _, md5 in cls.resources]
        assert all(file.urls[0].startswith(cls.mirrors[0]) for file in to_download(name))
    assert {file.md5 for file in to_download("svhn")} == {
        datasets.SVHN.split_list[part][2] for part in ("train", "test")
    }


def test_only_what_is_missing_is_fetched(mnist, root):
    shutil.copytree(mnist.folder, root)
    for file in mnist.folder.rglob("*.gz"):
        if file.name != LAST:
            file.unlink()
    (root / "MNIST" / "raw" / LAST).unlink()
    before = listing(root / "MNIST" / "raw")
    data.read({"name": "mnist", "root": str(root)})
    after = listing(root / "MNIST" / "raw")
    assert set(after) - set(before) == {LAST}
    assert {name: after[name] for name in before} == before


def test_a_second_mirror_is_tried(mnist, root, monkeypatch):
    nowhere = (mnist.folder / "nowhere").as_uri()
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{nowhere}/", *datasets.MNIST.mirrors])
    data.read({"name": "mnist", "root": str(root)})
    assert contents(root) == contents(mnist.folder)


def test_what_is_there_is_never_fetched(mnist, monkeypatch):
    monkeypatch.setattr(fetch, "download", None)
    assert data.read({"name": "mnist", "root": str(mnist.folder)}).shape == (1, 28, 28)


class Terminal:
    """What is written, as to a terminal or as to a file."""

    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        """Nothing waits."""


@pytest.mark.parametrize("terminal", [True, False])
def test_addresses_are_shown_and_bars_on_a_terminal_only(terminal, mnist, root, monkeypatch):
    stderr = Terminal(terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    data.read({"name": "mnist", "root": str(root)})
    assert stderr.text.count("ablate: fetching file://") == 4
    assert ("100%" in stderr.text) == terminal


def test_the_patience_with_silent_servers_is_set_back(mnist, root):
    assert socket.getdefaulttimeout() is None
    data.read({"name": "mnist", "root": str(root)})
    assert socket.getdefaulttimeout() is None


# -- what fails leaves nothing --------------------------------------------------------------------


def test_a_missing_set_without_a_network_says_what_to_do(mnist, root, tmp_path):
    shutil.rmtree(mnist.folder)
    message = failure("mnist", root)
    assert f"data=mnist needs {IMAGES}, train-labels-idx1-ubyte.gz" in message
    assert str(root / "MNIST" / "raw") in message
    assert (mnist.folder / "MNIST" / "raw" / IMAGES).as_uri() in message
    assert [
        w for w in ("`ablate data mnist`", "data.root=", "ABLATE_DATA") if w not in message
    ] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", [IMAGES, LAST])
def test_a_wrong_checksum_names_the_file_and_leaves_nothing(file, mnist, root, tmp_path):
    mnist.path(file).write_bytes(b"something else")
    assert mnist.path(file).as_uri() in failure("mnist", root)
    assert [path.name for path in tmp_path.iterdir()] == ["server"]


@pytest.mark.parametrize(
    "error", [IncompleteRead(b"half"), ConnectionResetError("reset"), TimeoutError("timed out")]
)
def test_a_download_that_breaks_off_leaves_nothing(error, mnist, root, tmp_path, monkeypatch):
    def half(url, filename, chunk_size=None):
        with open(filename, "wb") as file:
            file.write(mnist.path(LAST).read_bytes()[:10])
        raise error

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", half)
    assert IMAGES in failure("mnist", root)
    assert [path.name for path in tmp_path.iterdir()] == ["server"]


def test_an_interrupted_download_leaves_nothing(mnist, root, tmp_path, monkeypatch):
    def interrupt(url, filename, chunk_size=None):
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.read({"name": "mnist", "root": str(root)})
    assert [path.name for path in tmp_path.iterdir()] == ["server"]


def test_a_failed_download_leaves_what_was_there(mnist, root):
    (root / "MNIST" / "raw").mkdir(parents=True)
    (root / "MNIST" / "raw" / IMAGES).write_bytes(b"mine")
    (root / "notes.txt").write_text("mine too")
    mnist.path(LAST).unlink()
    before = listing(root / "MNIST" / "raw")
    failure("mnist", root)
    assert listing(root / "MNIST" / "raw") == before
    assert (root / "notes.txt").read_text() == "mine too"


def test_a_place_that_cannot_be_made_is_a_download_error(mnist, tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in failure("mnist", tmp_path / "file" / "below")


# -- `ablate data` --------------------------------------------------------------------------------


def run(arguments, monkeypatch):
    """Run the command line, and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["ablate", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@pytest.mark.parametrize("name", WRITERS)
def test_the_command_fetches_and_tells_what_there_is(name, tmp_path, root, monkeypatch, capsys):
    server = Server(name, tmp_path / "server", monkeypatch)
    assert run(["data", name, "--root", root], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert contents(root) == contents(server.folder)
    assert data.read({"name": name, "root": str(root)}).digest in shown
    assert ("1 × 28 × 28" if name in IDX else "3 × 32 × 32") in shown
    assert f"{len(to_download(name))} files by checksum" in shown


def test_the_command_reads_the_place_that_the_environment_names(mnist, monkeypatch, capsys):
    monkeypatch.setenv("ABLATE_DATA", str(mnist.folder))
    assert run(["data", "mnist"], monkeypatch) == 0
    # 120 training images, a twelfth of them for validation, and 60 test images.
    assert "110 train, 10 val, 60 test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "file"), [("mnist", IMAGES), ("svhn", "test_32x32.mat"), ("cifar10", "test_batch")]
)
def test_a_sound_file_that_is_not_the_published_one_is_named(
    name, file, tmp_path, monkeypatch, capsys
):
    {**WRITERS, "cifar10": write_cifar10}[name](tmp_path)
    before = listing(tmp_path)
    assert run(["data", name, "--root", tmp_path], monkeypatch) == 2
    shown = capsys.readouterr().err
    assert f"{next(tmp_path.rglob(file))} does not have the published file's checksum" in shown
    assert listing(tmp_path) == before


def test_the_names_of_the_classes_are_verified_too(tmp_path):
    write_cifar10(tmp_path)
    meta = tmp_path / "cifar-10-batches-py" / "batches.meta"
    assert fetch.checksums(DATASETS["cifar10"], tmp_path)[meta] is False


def test_a_failed_download_exits_with_one(mnist, root, monkeypatch, capsys):
    shutil.rmtree(mnist.folder)
    assert run(["data", "mnist", "--root", root], monkeypatch) == 1
    assert "data=mnist needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits", ["nothing to fetch for 'digits'", "inside scikit-learn"]),
        ("folder", ["nothing to fetch for 'folder'", "your own"]),
        ("mnits", ["no such data set", "mnist, fashion_mnist", "did you mean 'mnist'?"]),
    ],
)
def test_what_cannot_be_fetched_is_told(name, words, tmp_path):
    with pytest.raises(AblateError) as caught:
        fetch_and_verify(name, str(tmp_path))
    assert [word for word in words if word not in str(caught.value)] == []
    assert list(tmp_path.iterdir()) == []


def test_a_place_with_brackets_in_its_name_is_shown_as_it_is(mnist, tmp_path, monkeypatch, capsys):
    place = tmp_path / "[red]"
    shutil.copytree(mnist.folder, place)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    assert fetch_and_verify("mnist", "[red]") == 0
    assert "mnist in [red]" in capsys.readouterr().out


# -- what is read is what is verified -------------------------------------------------------------


@pytest.fixture
def unpacked(mnist, root, monkeypatch):
    """Put all four files unpacked beside the published ones."""
    shutil.copytree(mnist.folder, root)
    for path in sorted(root.rglob("*.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    return root / "MNIST" / "raw"


def test_an_unpacked_file_is_compared_with_the_packed_one(unpacked, root, monkeypatch, capsys):
    assert run(["data", "mnist", "--root", root], monkeypatch) == 0
    assert "8 files by checksum" in capsys.readouterr().out
    path = unpacked / LAST.removesuffix(".gz")
    path.write_bytes(path.read_bytes()[:-1] + b"\x03")
    assert run(["data", "mnist", "--root", root], monkeypatch) == 2
    assert f"{path} differs from the published {LAST} beside it" in capsys.readouterr().err


def test_an_unpacked_file_alone_is_told_to_be_unverified(unpacked, root, monkeypatch, capsys):
    (unpacked / LAST).unlink()
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["data", "mnist", "--root", root], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "not verified" in shown
    assert LAST.removesuffix(".gz") in shown


def test_the_place_may_be_given_as_in_a_run(mnist, monkeypatch, capsys):
    assert run(["data", "mnist", f"data.root={mnist.folder}"], monkeypatch) == 0
    assert "110 train" in capsys.readouterr().out
    assert run(["data", "mnist", "data.image_size=8"], monkeypatch) == 2
    assert "only data.root can be set" in capsys.readouterr().err
    assert run(["data", "mnist", "data.root=a", "--root", "b"], monkeypatch) == 2
    assert "data.root is given 2 times" in capsys.readouterr().err


def test_a_folder_called_by_a_number_is_a_folder(mnist, tmp_path, monkeypatch):
    shutil.copytree(mnist.folder, tmp_path / "2024")
    monkeypatch.chdir(tmp_path)
    assert data.read({"name": "mnist", "root": 2024}).shape == (1, 28, 28)


def test_what_a_killed_download_left_is_deleted(mnist, root):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    raw = root / "MNIST" / "raw"
    left = raw / f".fetch-{os.uname().nodename}-{dead.pid}-x"
    other = raw / f".fetch-elsewhere-{dead.pid}-x"
    for folder in (left, other):
        folder.mkdir(parents=True)
    data.read({"name": "mnist", "root": str(root)})
    assert not left.exists()
    assert other.exists(), "another machine may be at it"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "it may not be written")],
)
def test_a_place_without_room_or_rights_is_told(number, words, mnist, root, monkeypatch):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", refuse)
    monkeypatch.setattr(fetch, "_first_that_works", refuse)
    message = failure("mnist", root)
    assert words in message
    assert "data.root=DIR" in message
    assert "network" not in message


def test_a_file_that_may_not_be_read_is_told(mnist, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_file", refuse)
    with pytest.raises(AblateError, match=r"may not be read .* check its permissions"):
        data.read({"name": "mnist", "root": str(mnist.folder)})


def test_the_cache_of_decoded_images_is_cleared(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_folder(tmp_path / "photos")
    data.read({"name": "folder", "root": str(tmp_path / "photos"), "image_size": 8})
    assert run(["data", "--clear-cache"], monkeypatch) == 0
    assert "GB of decoded images" in capsys.readouterr().out
    assert not (tmp_path / "cache" / "ablate" / "images").exists()
    assert run(["data", "--clear-cache"], monkeypatch) == 0
    assert run(["data"], monkeypatch) == 2
