"""The readers of the shipped data sets, against scikit-learn's and torchvision's own reading."""

from __future__ import annotations

import builtins
import gzip
import pickle
import pickletools
import re
import subprocess
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat
from sklearn.datasets import load_digits
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from ablate import data
from ablate.data.tensors import to_device
from ablate.errors import AblateError
from tests.files import (
    listing,
    write_cifar10,
    write_cifar100,
    write_idx,
    write_mnist,
    write_svhn,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RAW = "MNIST/raw"
BATCHES = "cifar-10-batches-py"
WRITERS = {
    "mnist": write_mnist,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
}


def read(name, root):
    return data.read({"name": name, "root": str(root)})


def same(part, images, labels):
    np.testing.assert_array_equal(part.images, images)
    np.testing.assert_array_equal(part.labels, labels)
    return part.images.dtype == np.uint8 and part.labels.dtype == np.int64


def cut(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def refused(name, root, path, *words):
    """Read, and check that the error names the file and the reason, and that no file changed."""
    before = listing(root)
    with pytest.raises(AblateError) as caught:
        read(name, root)
    message = str(caught.value)
    assert f"{path} is damaged" in message
    assert "delete it and it is downloaded again" in message
    assert [word for word in words if word not in message] == []
    assert listing(root) == before


# -- digits ---------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    theirs = load_digits()
    source = data.read({"name": "digits"})
    assert same(
        source.parts["train"],
        np.floor(theirs.images * 255 / 16)[:, None],
        theirs.target,
    )
    assert source.shape == (1, 8, 8)
    assert source.classes == tuple("0123456789")


def test_digits_are_read_without_importing_scikit_learn():
    code = (
        "import sys; from ablate import data; data.read({'name': 'digits'});"
        " print(sorted({'sklearn', 'torch', 'PIL', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture
def bare_sklearn(tmp_path, monkeypatch):
    """A package of that name without its data; returns the place of the missing file."""
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text("")
    spec = spec_from_file_location("sklearn", tmp_path / "sklearn" / "__init__.py")
    monkeypatch.setattr("ablate.data.digits.find_spec", lambda name: spec)
    data.forget()
    yield tmp_path / "sklearn" / "datasets" / "data" / "digits.csv.gz"
    data.forget()


def test_digits_that_scikit_learn_came_without_are_told_with_their_place(bare_sklearn):
    with pytest.raises(AblateError, match="is not there") as caught:
        data.read({"name": "digits"})
    assert str(bare_sklearn) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"a,b\n", mtime=0), gzip.compress(b"", mtime=0)],
    ids=["empty", "no gzip", "words", "empty gzip"],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_damaged_digits_are_told_with_their_place(content, bare_sklearn):
    bare_sklearn.parent.mkdir(parents=True)
    bare_sklearn.write_bytes(content)
    with pytest.raises(AblateError, match="cannot be read") as caught:
        data.read({"name": "digits"})
    assert str(bare_sklearn) in str(caught.value)


def test_digits_without_scikit_learn_are_told(monkeypatch):
    monkeypatch.setattr("ablate.data.digits.find_spec", lambda name: None)
    data.forget()
    with pytest.raises(AblateError, match="scikit-learn, which is not installed"):
        data.read({"name": "digits"})


def test_digits_need_no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "nowhere"))
    assert len(data.read({"name": "digits"}).parts["train"].labels) == 1797
    assert list(tmp_path.iterdir()) == []


# -- what is written is what is read, and what torchvision reads ----------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_images_and_labels_come_back_as_they_were_written(name, tmp_path):
    written = WRITERS[name](tmp_path)
    source = read(name, tmp_path)
    assert set(source.parts) == {"train", "test"}
    assert all(same(source.parts[part], *written[part]) for part in written)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("mnist", datasets.MNIST),
        ("fashion_mnist", datasets.FashionMNIST),
        ("kmnist", datasets.KMNIST),
    ],
)
def test_idx_files_read_as_torchvision_reads_them(name, cls, tmp_path):
    write_mnist(tmp_path, compressed=False, folder=cls.__name__)
    source = read(name, tmp_path)
    for part in ("train", "test"):
        theirs = cls(tmp_path, train=part == "train")
        assert same(source.parts[part], theirs.data[:, None], theirs.targets)


@pytest.mark.parametrize(
    ("name", "cls"), [("fashion_mnist", datasets.FashionMNIST), ("kmnist", datasets.KMNIST)]
)
def test_classes_are_named_as_torchvision_names_them(name, cls, tmp_path):
    write_mnist(tmp_path, folder=cls.__name__)
    theirs = [label.lower().split("/")[0] for label in cls.classes]
    assert [label.lower() for label in read(name, tmp_path).classes] == theirs


@pytest.mark.parametrize(
    ("name", "cls"), [("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)]
)
def test_cifar_files_read_as_torchvision_reads_them(name, cls, tmp_path, monkeypatch):
    WRITERS[name](tmp_path)
    monkeypatch.setattr(cls, "_check_integrity", lambda self: True)
    meta = tmp_path / cls.base_folder / cls.meta["filename"]
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": calculate_md5(meta)})
    source = read(name, tmp_path)
    for part in ("train", "test"):
        theirs = cls(tmp_path, train=part == "train")
        assert same(source.parts[part], np.moveaxis(theirs.data, -1, 1), theirs.targets)
    assert list(source.classes) == theirs.classes


def test_svhn_files_read_as_torchvision_reads_them(tmp_path, monkeypatch):
    write_svhn(tmp_path)
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    source = read("svhn", tmp_path)
    for part in ("train", "test"):
        theirs = datasets.SVHN(tmp_path, split=part)
        assert same(source.parts[part], theirs.data, theirs.labels)


def test_cifar_files_of_the_published_form_are_read(tmp_path):
    """The published pickles name numpy's old module."""
    written = write_cifar10(tmp_path)
    for path in (tmp_path / BATCHES).iterdir():
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multi", b"numpy.core.multi"))
    assert b"numpy.core.multiarray" in (tmp_path / BATCHES / "test_batch").read_bytes()
    assert same(read("cifar10", tmp_path).parts["test"], *written["test"])


def repacked(root, change, protocol=5):
    """Pickle all batches again, as people do who make their own set in this format."""
    for path in (root / BATCHES).iterdir():
        batch = pickle.loads(path.read_bytes())
        path.write_bytes(pickle.dumps(change(batch), protocol))


@pytest.mark.parametrize("module", [b"numpy._core.numeric", b"numpy.core.numeric"])
def test_cifar_pickles_of_protocol_5_are_read(module, tmp_path):
    written = write_cifar10(tmp_path)
    repacked(tmp_path, lambda batch: batch)
    for path in (tmp_path / BATCHES).iterdir():
        raw = path.read_bytes()
        new = b"\x8c" + bytes([len(module)]) + module
        # numpy 2 moved its core, and this numpy writes one of the two names.
        path.write_bytes(re.sub(rb"\x8c.numpy\._?core\.numeric", new, unframed(raw)))
    assert module in (tmp_path / BATCHES / "test_batch").read_bytes()
    source = read("cifar10", tmp_path)
    assert same(source.parts["train"], *written["train"])
    assert same(source.parts["test"], *written["test"])


def unframed(raw):
    """Remove the frames of a pickle, whose lengths would be wrong after a change."""
    return pickletools.optimize(raw) if raw[2:3] != b"\x95" else raw[:2] + raw[11:]


def test_cifar_images_with_their_channels_last_are_read(tmp_path):
    written = write_cifar10(tmp_path)

    def channels_last(batch):
        if "data" not in batch:
            return batch
        return batch | {"data": np.moveaxis(batch["data"].reshape(-1, 3, 32, 32), 1, -1).copy()}

    repacked(tmp_path, channels_last, protocol=2)
    assert same(read("cifar10", tmp_path).parts["train"], *written["train"])


@pytest.mark.parametrize("shape", [(-1, 32, 96), (-1, 3, 1024), (-1, 64, 48)])
def test_cifar_images_of_another_shape_are_told(shape, tmp_path):
    write_cifar10(tmp_path)
    repacked(tmp_path, lambda b: b | {"data": b["data"].reshape(shape)} if "data" in b else b)
    path = tmp_path / BATCHES / "data_batch_1"
    refused("cifar10", tmp_path, path, "its images have the shape")


def test_missing_class_names_are_numbers(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / BATCHES / "batches.meta").unlink()
    assert read("cifar10", tmp_path).classes == tuple("0123456789")


# -- in place -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_the_digest_is_the_same_compressed_or_not(name, tmp_path):
    for kind in (True, False):
        WRITERS[name](tmp_path / str(kind), compressed=kind)
    packed, plain = read(name, tmp_path / "True"), read(name, tmp_path / "False")
    assert packed.digest == plain.digest
    assert re.fullmatch("[0-9a-f]{16}", packed.digest)
    assert packed.classes == plain.classes


def test_the_digest_tells_one_pixel_and_one_label_apart(tmp_path):
    for name in ("as it is", "a pixel", "a label"):
        written = write_mnist(tmp_path / name, compressed=False)
    images, labels = written["test"]
    images[3, 0, 5, 5] ^= 1
    write_idx(tmp_path / "a pixel" / RAW / "t10k-images-idx3-ubyte", images[:, 0])
    labels[3] += 1
    write_idx(tmp_path / "a label" / RAW / "t10k-labels-idx1-ubyte", labels)
    digests = {read("mnist", root).digest for root in tmp_path.iterdir()}
    assert len(digests) == 3


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("compressed", [True, False])
def test_reading_writes_nothing(name, compressed, tmp_path):
    WRITERS[name](tmp_path, **({} if name == "svhn" else {"compressed": compressed}))
    before = listing(tmp_path)
    read(name, tmp_path)
    assert listing(tmp_path) == before


def test_an_unpacked_file_is_read_beside_compressed_ones(tmp_path):
    written = write_mnist(tmp_path)
    path = tmp_path / RAW / "t10k-labels-idx1-ubyte.gz"
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    assert same(read("mnist", tmp_path).parts["test"], *written["test"])


def test_an_incomplete_folder_gives_way_to_the_archive(tmp_path):
    written = write_cifar10(tmp_path, compressed=True)
    write_cifar10(tmp_path, images=60)
    (tmp_path / BATCHES / "data_batch_3").unlink()
    assert same(read("cifar10", tmp_path).parts["train"], *written["train"])


def test_the_same_relative_root_in_another_directory_is_another_place(tmp_path, monkeypatch):
    found = []
    for name, images in (("one", 120), ("two", 60)):
        write_mnist(tmp_path / name / "here", images)
        monkeypatch.chdir(tmp_path / name)
        found.append(len(read("mnist", "here").parts["train"].labels))
    assert found == [120, 60]


# -- where data lie -------------------------------------------------------------------------------


def test_the_root_wins_over_the_environment_which_wins_over_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ABLATE_DATA", raising=False)
    assert data.home(None) == tmp_path / "cache" / "ablate"
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "environment"))
    assert data.home(None) == tmp_path / "environment"
    assert data.home("root") == Path("root")


def test_the_usual_cache_folder_is_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ABLATE_DATA", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data.home(None) == tmp_path / ".cache" / "ablate"
    assert data.home("~/sets") == tmp_path / "sets"
    assert data.home("~nobody-of-this-name/sets") == Path("~nobody-of-this-name/sets")


def test_data_are_read_from_the_place_that_the_environment_names(tmp_path, monkeypatch):
    written = write_mnist(tmp_path)
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    assert same(data.read({"name": "mnist"}).parts["test"], *written["test"])


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AblateError, match=r"data\.root=.*file is a file"):
        read("cifar10", tmp_path / "file")


# -- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_truncated_idx_file_is_named(stem, ending, tmp_path):
    write_mnist(tmp_path, compressed=bool(ending))
    path = tmp_path / RAW / f"{stem}{ending}"
    cut(path)
    refused("mnist", tmp_path, path, "does not decompress" if ending else "bytes expected")


def idx_of(values, type_code=8, header=True):
    start = bytes([0, 0, type_code, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return (start if header else b"") + values.tobytes()


LABELS = np.arange(60, dtype=np.uint8) % 10


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not an idx file"),
        (b"\0\0\x08\x01\0\0", "it is not an idx file"),
        (b"<html>not found</html>", "it is not an idx file"),
        (idx_of(LABELS, type_code=9), "it is not an idx file"),
        (idx_of(LABELS[:, None]), "it is not an idx file"),
        (idx_of(LABELS) + b"\0", "68 bytes expected, 69 found"),
        (idx_of(LABELS[:59]), "59 labels for 60 images"),
        (idx_of(np.minimum(LABELS, 1) * 10), "the label 10"),
    ],
    ids=["empty", "short", "page", "type", "dimensions", "long", "counts", "label"],
)
def test_a_wrong_idx_file_is_named_with_the_reason(content, reason, tmp_path):
    write_mnist(tmp_path, compressed=False)
    path = tmp_path / RAW / "t10k-labels-idx1-ubyte"
    path.write_bytes(content)
    refused("mnist", tmp_path, path, reason)


@pytest.mark.parametrize(
    ("part", "shape", "reason"),
    [("train", (0, 28, 28), "it is empty"), ("train", (4, 0, 28), "0 × 28 pixels")],
)
def test_idx_files_that_hold_nothing_are_refused(part, shape, reason, tmp_path):
    write_mnist(tmp_path, compressed=False)
    write_idx(tmp_path / RAW / f"{part}-images-idx3-ubyte", np.zeros(shape))
    write_idx(tmp_path / RAW / f"{part}-labels-idx1-ubyte", np.zeros(shape[0]))
    with pytest.raises(AblateError, match=reason):
        read("mnist", tmp_path)


def test_training_and_test_images_of_two_sizes_are_refused(tmp_path):
    write_mnist(tmp_path, compressed=False)
    write_idx(tmp_path / RAW / "t10k-images-idx3-ubyte", np.zeros((60, 8, 8)))
    with pytest.raises(AblateError, match="MNIST: training and test images differ in size"):
        read("mnist", tmp_path)


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_truncated_pickle_is_named(file, tmp_path):
    write_cifar10(tmp_path)
    cut(tmp_path / BATCHES / file)
    refused("cifar10", tmp_path, tmp_path / BATCHES / file, "it does not unpickle")


class Malicious:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("call", [builtins.open, builtins.exec, np.save, torch.save])
@pytest.mark.parametrize("file", ["data_batch_1", "batches.meta"])
def test_a_malicious_pickle_runs_nothing(call, file, tmp_path):
    write_cifar10(tmp_path)
    mark = tmp_path.parent / "mark"
    arguments = {
        builtins.open: (str(mark), "w"),
        builtins.exec: (f"open({str(mark)!r}, 'w')",),
        np.save: (str(mark), 1),
        torch.save: (1, str(mark)),
    }
    path = tmp_path / BATCHES / file
    path.write_bytes(pickle.dumps({"data": Malicious(call, *arguments[call])}, protocol=2))
    refused("cifar10", tmp_path, path, "it asks for", call.__name__)
    assert list(tmp_path.parent.glob("mark*")) == []


PIXELS = np.zeros((60, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1, 2], "not a batch of CIFAR images"),
        ({}, "not a batch of CIFAR images"),
        ({"data": PIXELS, "labels": [0] * 59}, "not a batch of CIFAR images"),
        ({"data": PIXELS[:, :9], "labels": [0] * 60}, "not a batch of CIFAR images"),
        ({"data": None, "labels": [0] * 60}, "not a batch of CIFAR images"),
        ({"data": PIXELS, "labels": None}, "not a batch of CIFAR images"),
        ({"data": PIXELS.astype(np.int64) + 300, "labels": [0] * 60}, "int64, bytes expected"),
        ({"data": PIXELS, "labels": [10] * 60}, "from 0 to 9"),
        ({"data": PIXELS, "labels": [-1] * 60}, "from 0 to 9"),
        ({"data": PIXELS, "labels": [0.5] * 60}, "from 0 to 9"),
        ({"data": PIXELS, "labels": [[0]] * 60}, "from 0 to 9"),
        ({"data": [], "labels": []}, "not a batch of CIFAR images"),
    ],
)
def test_a_pickle_of_something_else_is_named_with_the_reason(content, reason, tmp_path):
    write_cifar10(tmp_path)
    path = tmp_path / BATCHES / "test_batch"
    path.write_bytes(pickle.dumps(content, protocol=2))
    refused("cifar10", tmp_path, path, reason)


def test_a_label_of_one_hundred_is_too_many_for_cifar100(tmp_path):
    write_cifar100(tmp_path)
    path = tmp_path / "cifar-100-python" / "test"
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    content["fine_labels"][7] = 100
    path.write_bytes(pickle.dumps(content, protocol=2))
    refused("cifar100", tmp_path, path, "from 0 to 99")


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_archive_is_named(share, tmp_path):
    write_cifar10(tmp_path, compressed=True)
    path = tmp_path / "cifar-10-python.tar.gz"
    cut(path, share)
    refused("cifar10", tmp_path, path, "does not unpack")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_an_archive_with_garbled_bytes_is_named(share, tmp_path):
    write_cifar10(tmp_path, compressed=True)
    path = tmp_path / "cifar-10-python.tar.gz"
    content = bytearray(path.read_bytes())
    middle = int(len(content) * share)
    content[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    refused("cifar10", tmp_path, path)


def test_an_archive_without_a_batch_is_named_with_the_batch(tmp_path):
    write_cifar10(tmp_path / "wrong", compressed=True)
    path = tmp_path / "cifar-100-python.tar.gz"
    (tmp_path / "wrong" / "cifar-10-python.tar.gz").rename(path)
    refused("cifar100", tmp_path, path, "train in it: it is missing")


def test_class_names_that_are_no_list_are_ignored(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / BATCHES / "batches.meta").write_bytes(pickle.dumps({"label_names": 3}))
    assert read("cifar10", tmp_path).classes == tuple("0123456789")


@pytest.mark.parametrize("share", [0, 0.05, 0.6])
def test_a_truncated_matlab_file_is_named(share, tmp_path):
    write_svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    cut(path, share)
    refused("svhn", tmp_path, path, "cannot be read as a MATLAB file")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"X": np.zeros((32, 32, 3), np.uint8)}, "cannot be read as a MATLAB file of images"),
        ({"X": np.zeros((32, 32, 1, 60), np.uint8)}, "uint8 (1, 32, 32)"),
        ({"X": np.zeros((32, 32, 3, 60))}, "its images are float64"),
        ({"y": np.ones((59, 1), np.uint8)}, "59 labels for 60 images"),
        ({"y": np.full((60, 1), 11, np.uint8)}, "from 1 to 10"),
        ({"y": np.full((60, 1), 1.5)}, "from 1 to 10"),
        ({"y": np.full((60, 1), -1, np.int16)}, "from 1 to 10"),
    ],
)
def test_a_matlab_file_of_something_else_is_named_with_the_reason(changes, reason, tmp_path):
    write_svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    content = {name: values for name, values in loadmat(path).items() if name in ("X", "y")}
    savemat(path, content | changes)
    refused("svhn", tmp_path, path, reason)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_may_not_be_read_is_not_called_damaged(name, tmp_path, monkeypatch):
    WRITERS[name](tmp_path)

    def deny(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(AblateError, match=r"cannot be read \(Permission denied\)") as caught:
        read(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", f"{RAW}/train-labels-idx1-ubyte.gz"),
        ("cifar10", f"{BATCHES}/data_batch_5"),
        ("cifar100", "cifar-100-python/test"),
        ("svhn", "train_32x32.mat"),
    ],
)
def test_a_set_is_at_hand_when_every_file_is_there(name, file, tmp_path):
    config = {"name": name, "root": str(tmp_path / name)}
    assert not data.is_at_hand(config)
    WRITERS[name](tmp_path / name)
    assert data.is_at_hand(config)
    (tmp_path / name / file).unlink()
    assert not data.is_at_hand(config)


@pytest.mark.parametrize("config", [{"name": "digits"}, {"name": "folder", "root": "nowhere"}])
def test_a_set_that_nobody_publishes_never_waits_for_a_download(config):
    assert data.is_at_hand(config)


# -- on the device --------------------------------------------------------------------------------


def tensors(source, image_size=None, dtype=torch.float32, **sizes):
    counts = {name: len(part.labels) for name, part in source.parts.items()}
    parts = data.split(source, data.sizes("mnist", counts, **sizes))
    return to_device(parts, len(source.classes), image_size, torch.device("cpu"), dtype)


def test_images_stay_bytes_and_are_normalized_with_the_training_split_alone(tmp_path):
    write_svhn(tmp_path)
    held = tensors(read("svhn", tmp_path), train_size=50, val_size=30)
    assert held.train.images.dtype == held.test.images.dtype == torch.uint8
    assert (len(held.train), len(held.val), len(held.test)) == (50, 30, 60)
    pixels = held.train.images.numpy().astype(np.float64)
    index = torch.tensor([[4, 0], [7, 49]])
    images, labels = held.batch(index)
    expected = (pixels - pixels.mean((0, 2, 3), keepdims=True)) / pixels.std(
        (0, 2, 3), keepdims=True
    )
    np.testing.assert_allclose(images, expected[index], atol=1e-5)
    np.testing.assert_array_equal(labels, held.train.labels.numpy()[index])


def test_a_channel_of_one_grey_normalizes_to_zero(tmp_path):
    write_mnist(tmp_path)
    blank = data.Source(
        {"train": data.Part(np.full((10, 1, 4, 4), 7, np.uint8), np.arange(10) % 2)}, ("a", "b")
    )
    held = tensors(blank)
    assert held.normalized(held.train.images).abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalizing_leaves_stored_images_alone(dtype):
    """Floating-point images of a user's set are stored in the type of normalized ones."""
    images = np.random.RandomState(0).rand(20, 1, 4, 4).astype(str(dtype).split(".")[1])
    source = data.Source({"train": data.Part(images, np.arange(20) % 2)}, ("a", "b"))
    held = tensors(source, dtype=dtype)
    before = held.test.images.clone()
    first = held.normalized(held.test.images[:2])
    assert torch.equal(held.test.images, before)
    assert torch.equal(held.normalized(held.test.images[:2]), first)


def test_shipped_images_are_brought_to_the_image_size(tmp_path):
    write_cifar10(tmp_path, images=20)
    held = tensors(read("cifar10", tmp_path), image_size=16, val_size=0)
    assert held.shape == (3, 16, 16)
    assert held.train.images.dtype == torch.uint8
    assert held.val.images.shape[0] == 0


def test_an_evenly_coloured_image_keeps_its_colour_at_any_image_size():
    colours = np.random.RandomState(0).randint(0, 256, (10, 3, 1, 1)).astype(np.uint8)
    images = np.broadcast_to(colours, (10, 3, 9, 9))
    source = data.Source({"train": data.Part(images, np.arange(10) % 2)}, ("a", "b"))
    for size in (4, 9, 32):
        held = tensors(source, image_size=size, val_size=0, train_size=8)
        assert held.shape == (3, size, size)
        assert (held.train.images == held.train.images[:, :, :1, :1]).all()
        known = {tuple(colour) for colour in colours[:, :, 0, 0].tolist()}
        assert {tuple(c) for c in held.train.images[:, :, 0, 0].tolist()} <= known


# -- the real ones, where they are there ----------------------------------------------------------

REAL = {
    # Training images of each digit, as counted for the published training set.
    "mnist": (RAW, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
    "cifar10": (BATCHES, [5000] * 10),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_real_data_hold_the_published_counts(name):
    place, counts = REAL[name]
    if not (SHARED / place).is_dir():
        pytest.skip(f"{SHARED / place} is not there")
    before = listing(SHARED / place)
    source = read(name, SHARED)
    np.testing.assert_array_equal(np.bincount(source.parts["train"].labels), counts)
    assert len(source.parts["test"].labels) == 10_000
    assert listing(SHARED / place) == before


@pytest.mark.slow
def test_the_real_mnist_has_the_mean_and_deviation_that_everyone_normalizes_with():
    """0.1307 and 0.3081 of white, over all 60,000 images, as in torch's own MNIST example."""
    if not (SHARED / RAW).is_dir():
        pytest.skip(f"{SHARED / RAW} is not there")
    source = read("mnist", SHARED)
    parts = source.parts | {"val": source.parts["test"]}
    held = to_device(parts, 10, None, torch.device("cpu"), torch.float32)
    assert held.mean.item() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert held.std.item() / 255 == pytest.approx(0.3081, abs=5e-5)
