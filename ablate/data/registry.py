"""All data sets by name.

To add one:

1. Write a file beside this one that reads it into a `Source` and ends in its `Dataset`.
2. List that `Dataset` below.
3. Write `conf/data/NAME.yaml`, the knobs that it has; the file's name makes `data=NAME` legal.

Tests go through this table; a set that can be downloaded is tried against a copy of itself that
`tests/files.py` writes.
"""

from __future__ import annotations

from typing import Final

from ablate.data import cifar, digits, folder, idx, own, svhn
from ablate.data.dataset import Dataset

DATASETS: Final[dict[str, Dataset]] = {
    dataset.name: dataset
    for dataset in (
        digits.DIGITS,
        idx.MNIST,
        idx.FASHION_MNIST,
        idx.KMNIST,
        cifar.CIFAR10,
        cifar.CIFAR100,
        svhn.SVHN,
        folder.FOLDER,
        own.CUSTOM,
    )
}
