"""The benchmarks for a GPU, tried out at their smallest sizes where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.files import write_cifar10, write_mnist

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run(part, out, data):
    """Run one part; return what it prints and the figures it wrote."""
    command = [sys.executable, str(SCRIPTS / "bench_gpu.py"), "--part", part, "--out", str(out)]
    done = subprocess.run(
        [*command, "--device", "cpu", "--small"],
        env=os.environ | {"ABLATE_DATA": str(data), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / f"gpu_{part}.txt").read_text() == done.stdout
    return done.stdout, json.loads((out / f"gpu_{part}.json").read_text())


@pytest.mark.long
def test_all_that_must_hold_of_a_stack_is_tried(tmp_path):
    text, found = run("check", tmp_path, tmp_path)
    verdicts = [value["holds"] for name, value in found.items() if name != "about"]
    assert len(verdicts) > 30
    assert all(verdicts)
    assert "FAILS" not in text


@pytest.mark.slow
def test_steps_are_timed_by_width_and_convolutions_by_shape(tmp_path):
    write_mnist(tmp_path, images=400)
    text, found = run("step", tmp_path, tmp_path)
    steps = [value for name, value in found.items() if name.startswith("step, ")]
    assert len(steps) == 2
    assert all(step["ms"] > 0 for step in steps)
    ways = next(value for name, value in found.items() if name.startswith("convolution"))
    assert all(way["off"] < 1e-5 for way in ways.values())
    assert text.count("best") == 2  # in each of two types


@pytest.mark.long
def test_a_sweep_is_held_against_every_baseline(tmp_path):
    write_mnist(tmp_path, images=400)
    text, found = run("sweep", tmp_path, tmp_path)
    names = list(found["batch 32"])
    assert [name.split(")")[0] for name in names[:4]] == ["(i", "(ii", "(iii", "(iv"]
    assert sum(name.startswith("(v)") for name in names) == 2
    assert "extrapolated" in text


@pytest.mark.long
def test_cifar_trains_by_the_recipe_and_says_that_its_peer_is_not_here(tmp_path):
    write_cifar10(tmp_path, images=500)
    text, found = run("cifar", tmp_path, tmp_path)
    assert len(found["stacks of 2"]["accuracies"]) == 2
    assert "airbench94: not here" in text


def test_without_a_gpu_it_says_how_to_try_it_out():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, str(SCRIPTS / "bench_gpu.py"), "--part", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no GPU here; --device cpu --small" in done.stderr


def test_the_kernels_of_our_own_convolve_as_torch_does():
    """Under Triton's interpreter, which is chosen when a kernel is declared."""
    pytest.importorskip("triton")
    program = """
import torch
from gpu.convolutions import WAYS
for runs, batch, side, channels, out in ((2, 3, 5, 1, 4), (2, 1, 6, 33, 20)):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(runs, batch, side, side, channels, generator=draw).requires_grad_()
    w = torch.randn(runs, 3, 3, channels, out, generator=draw).requires_grad_()
    dy = torch.randn(runs, batch, side, side, out, generator=draw)
    found = [(y := way(x, w), *torch.autograd.grad(y, [x, w], dy)) for way in WAYS.values()]
    for other in found:
        print(max(float((a - b).abs().max()) for a, b in zip(other, found[0])))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(float(off) < 1e-4 for off in done.stdout.split())  # of sums near 10
    assert len(done.stdout.split()) == 2 * 4
