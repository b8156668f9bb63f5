"""Commands that inspect a network on a GPU, even one that was trained without.

Numbers are garbage, so tests check only that the commands finish and use the device.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.gpu.fake.log import counts_left_in
from tests.gpu.fake.running import command, environment, on_fake_gpu
from tests.gpu.garbage import accept_garbage

pytestmark = [pytest.mark.fakegpu, pytest.mark.long]

SMALL = [
    *("data.train_size=100", "data.val_size=60", "batch_size=20", "epochs=1", "save=weights"),
    *("model.channels=[4]", "model.hidden=[8]", "dropout.dense=0.5", "norm=batch"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was trained on the CPU."""
    folder = tmp_path_factory.mktemp("trained")
    done = command("run", *SMALL, "device=cpu", cwd=folder, env=environment())
    assert done.returncode == 0, done.stderr
    (run,) = (path.parent for path in folder.glob("results/*/*/record.json"))
    return run


def test_a_run_trained_on_the_cpu_is_evaluated_on_a_gpu(trained, tmp_path):
    env = environment(counts=tmp_path)
    few = ("samples=3", "draws=1", "device=cuda", "--debug")
    done = command("evaluate", str(trained), *few, cwd=trained, env=env)
    assert done.returncode == 0, done.stderr
    assert "as trained" in done.stdout
    assert (trained / "evaluate" / "predictions.csv").exists()
    assert counts_left_in(tmp_path)[0].kernels > 100


def test_the_learning_rate_range_is_tested_on_a_gpu(tmp_path):
    counts = tmp_path / "counts"
    counts.mkdir()
    env = environment(counts=counts)
    done = command("lr-find", *SMALL, "device=cuda", "--debug", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "learning-rate sweep" in done.stdout
    assert counts_left_in(counts)[0].kernels > 100


def inspect(*overrides: str) -> int:
    """Run the command in a process that accepts garbage; return its exit status."""
    from ablate.cli import main

    accept_garbage()
    sys.argv = ["ablate", "inspect", *overrides]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_run_trained_on_the_cpu_is_inspected_on_a_gpu(trained, tmp_path):
    overrides = (*SMALL, "device=cuda", f"out={trained.parents[1]}", "--debug")
    assert on_fake_gpu(inspect, *overrides, counts=tmp_path) == 0
    assert list((trained / "inspect").iterdir())
    assert counts_left_in(tmp_path)[0].kernels > 100
