"""Every part of `scripts/bench_gpu.py`, as a dry run on a device that computes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.files import write_cifar10, write_mnist
from tests.gpu.fake.running import ROOT, environment

pytestmark = [pytest.mark.fakegpu, pytest.mark.long]


@pytest.mark.parametrize("part", ["check", "profile", "sweep", "step", "convolutions", "cifar94"])
def test_every_piece_of_a_part_runs(part: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, images=400)
    write_cifar10(tmp_path, images=500)
    script = [sys.executable, str(ROOT / "scripts" / "bench_gpu.py"), "--part", part, "--dry"]
    done = subprocess.run(
        [*script, "--out", str(tmp_path)],
        env=environment(ABLATE_DATA=str(tmp_path)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / f"gpu_{part}.json").read_text())
    assert "fake" in found["about"]["card"]
