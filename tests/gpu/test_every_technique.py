"""Every technique on a GPU, as far as a device that computes nothing tells.

Each trains, evaluates, takes a state, goes on from it and finishes, fused and alone, without an
error, a warning, or a wait inside a captured step; where steps repeat, they are captured. Images of
28 × 28 × 1 lie channels last, which those of digits are too small to show.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from tests.files import write_mnist
from tests.gpu.fake.running import on_fake_gpu
from tests.gpu.techniques_on_gpu import faults_of_all
from tests.techniques import TECHNIQUES

pytestmark = [pytest.mark.fakegpu, pytest.mark.slow]

KINDS = [
    (data, precision) for data in ("digits", "mnist") for precision in ("fp32", "bf16", "fp64")
]


@pytest.fixture(scope="session")
def faults(shared_folder: Path):
    """Give a function that trains all techniques on some data, once for all pytest's workers."""

    def found(data: str, precision: str) -> dict[str, list[str]]:
        path = shared_folder / f"{data}-{precision}.json"
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                root = shared_folder / f"{data}-{precision}"
                write_mnist(root, images=200)
                told = on_fake_gpu(faults_of_all, data, precision, ABLATE_DATA=str(root))
                path.write_text(json.dumps(told), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    return found


@pytest.mark.parametrize("name", TECHNIQUES)
@pytest.mark.parametrize("way", ["fused", "alone"])
@pytest.mark.parametrize(
    ("data", "precision"),
    [
        pytest.param(*k, marks=[] if k == KINDS[0] else pytest.mark.long, id="-".join(k))
        for k in KINDS
    ],
)
def test_it_trains_and_resumes_on_a_gpu(data, precision, way, name, faults):
    assert faults(data, precision)[f"{way} {name}"] == []
