"""Every technique on a GPU, as far as a device that computes nothing can show.

Each trains, evaluates, saves a state, resumes from it and finishes, fused and alone, without an
error, a warning, or a wait inside a captured step; steps that repeat are captured. MNIST is there
because its images are stored channels last, which those of digits are too small for.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.files import write_mnist
from tests.gpu.techniques_on_gpu import faults_of_all
from tests.techniques import TECHNIQUES

pytestmark = [pytest.mark.fakegpu, pytest.mark.slow]

KINDS = [
    pytest.param(data, precision, marks=[] if usual else pytest.mark.long, id=f"{data}-{precision}")
    for data in ("digits", "mnist")
    for precision in ("fp32", "bf16", "fp64")
    for usual in [(data, precision) == ("digits", "fp32")]
]


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_mnist(folder, images=200)
    return folder


@pytest.mark.parametrize("name", TECHNIQUES)
@pytest.mark.parametrize("way", ["fused", "alone"])
@pytest.mark.parametrize(("data", "precision"), KINDS)
def test_a_technique_trains_and_resumes_on_a_gpu(data, precision, way, name, told_once, mnist):
    faults = told_once(faults_of_all, data, precision, ABLATE_DATA=str(mnist))
    assert faults[f"{way} {name}"] == []
