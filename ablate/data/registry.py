"""All data sets by name.

To add one:

1. Write a file beside this one that reads it into a `Source`, and defines its `Dataset` at the end.
2. List that `Dataset` below.
3. Write `conf/data/NAME.yaml` with its knobs; the file's name makes `data=NAME` legal.

Tests go through this table; a set that can be downloaded is tested on a small imitation of its
files, which `tests/files.py` writes.
"""

from __future__ import annotations

from typing import Final

from ablate.data import cifar, csv_table, digits, folder, idx, npz, own, parquet, svhn
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
        parquet.PARQUET,
        npz.NPZ,
        csv_table.CSV,
        own.CUSTOM,
    )
}
