"""The GPU benchmarks, tried at their smallest sizes without a GPU."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import types
from functools import partial
from pathlib import Path

import bench_gpu
import pytest
import torch
from torch.autograd import DeviceType

from ablate.data import load
from contenders import as_graph, by_hand, configuration, network
from gpu import jobs
from gpu.apart import Apart
from gpu.bench import Bench
from gpu.profile import kernel_times
from gpu.results import Results
from tests.apart_work import ABOUT, BENCH, about, die, double, fail, given, hang, on_bench
from tests.files import write_cifar10, write_mnist

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(part, out, data):
    """Run one part on the CPU; return what it prints and the figures it wrote."""
    command = [sys.executable, str(SCRIPTS / "bench_gpu.py"), "--part", part, "--out", str(out)]
    hidden = {"ABLATE_DATA": str(data), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "--dry"],
        env=os.environ | hidden,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / f"gpu_{part}.txt").read_text() == done.stdout
    figures = json.loads((out / f"gpu_{part}.json").read_text())
    assert figures["about"]["dry"]
    return done.stdout, {name: found for name, found in figures.items() if name != "about"}


# -- the parts -------------------------------------------------------------------------------------


@pytest.mark.long
def test_everything_that_must_hold_for_a_stack_is_checked(tmp_path):
    text, found = run("check", tmp_path, tmp_path)
    verdicts = [each["holds"] for each in found.values() if "skipped" not in each]
    assert len(verdicts) > 30
    assert all(verdicts)
    assert "FAILS" not in text


@pytest.mark.long
def test_a_step_is_profiled_and_compared_with_the_bytes_it_moves(tmp_path):
    write_mnist(tmp_path, images=400)
    text, found = run("profile", tmp_path, tmp_path)
    steps = {name: each for name, each in found.items() if name != "copy"}
    assert all(each["bytes"] > each["least bytes"] > 0 for each in steps.values())
    assert "bf16, compiled, 1 runs" in steps
    assert "fp32, 2 runs" in steps
    assert "no kernel is seen here" in text
    assert "floor" in text


@pytest.mark.long
def test_steps_are_timed_by_width(tmp_path):
    write_mnist(tmp_path, images=400)
    text, found = run("step", tmp_path, tmp_path)
    steps = [each for name, each in found.items() if name != "copy"]
    assert {each["runs"] for each in steps} == {1, 2}
    assert all(each["ms"] > 0 for each in steps)
    assert "best width" in text


@pytest.mark.long
def test_a_sweep_is_compared_with_every_baseline(tmp_path):
    write_mnist(tmp_path, images=400)
    text, found = run("sweep", tmp_path, tmp_path)
    baselines = ("serial, compiled", "serial, data on the device", "serial, DataLoader", "JAX")
    for name in (*baselines, "2 processes at once", "ours, stacks of 2", "ours to the end"):
        assert any(each.startswith(name) for each in found)
    assert all("seconds" in each or "skipped" in each for n, each in found.items() if n != "copy")
    assert "best stack against serial, DataLoader, bf16" in text


@pytest.mark.long
def test_cifar_trains_by_the_recipe_and_reports_on_airbench(tmp_path):
    write_cifar10(tmp_path, images=500)
    text, found = run("cifar94", tmp_path, tmp_path)
    assert len(found["stacks of 2, seeds 0 to 1"]["accuracies"]) == 2
    assert "airbench94: " in text
    assert "stacks of 2: accuracy" in text


@pytest.mark.long
def test_convolutions_are_timed_by_shape_and_only_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def measured(bench):
        assert jobs.run("convolutions", bench, tmp_path, math.inf, again=False) == jobs.MEASURED
        return capsys.readouterr().out, json.loads((tmp_path / "gpu_convolutions.json").read_text())

    text, figures = measured(Bench("cpu", dry=True))
    found = {name: each for name, each in figures.items() if name != "about"}
    assert len(found) == 2 * 3  # two types, and three ways without Triton's
    assert all(each["sound"] for each in found.values())
    assert text.count("bmm") + text.count("grouped") == 2 * 3 + 2  # and the best for each type
    # A separate process that tried to measure would now fail, since this bench has no sizes.
    monkeypatch.setattr(jobs, "about", partial(given, figures["about"]))
    assert measured(BENCH) == (text, figures)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_script_says_how_to_try_it(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--part", "check"])
    with pytest.raises(SystemExit) as ended:
        bench_gpu.main()
    assert ended.value.code == 2
    assert "there is no GPU here; --dry tries the script out" in capsys.readouterr().err


def test_a_kernel_is_listed_once_with_calls_and_time_per_step():
    """Five steps: each launches a kernel of 30 µs twice, and one makes a copy of 10 µs."""

    def event(name, us, device=DeviceType.CUDA, annotation=False):
        time = types.SimpleNamespace(elapsed_us=lambda: us)
        return types.SimpleNamespace(
            name=name, device_type=device, time_range=time, is_user_annotation=annotation
        )

    operator, span = event("aten::relu", 99, DeviceType.CPU), event("## Call", 70, annotation=True)
    steps = 5 * [event("relu", 30), operator, span, event("relu", 30)] + [event("Memcpy", 10)]
    assert kernel_times(steps, 5) == [
        {"name": "relu", "calls": 2, "us": 60},
        {"name": "Memcpy", "calls": 0.2, "us": 2},
    ]
    assert kernel_times([operator], 5) is None  # no device event was seen


# -- what fails ------------------------------------------------------------------------------------


def test_work_that_fails_dies_or_hangs_does_not_affect_other_work(capfd):
    with Apart() as apart:
        first = apart.do(double, 21, limit=60)
        assert first["number"] == 42
        assert apart.do(double, 1, limit=60)["process"] == first["process"] != os.getpid()
        assert apart.do(fail, limit=60) == {"error": "ValueError: seven is too many"}
        assert apart.do(double, 2, limit=60)["process"] != first["process"]
        assert apart.do(die, limit=60) == {"error": "its process died (exit status 7)"}
        assert apart.do(double, 3, limit=60)["number"] == 6
        assert apart.do(hang, limit=0.1) == {"error": "not done after 0 seconds"}
        assert apart.do(double, 4, limit=60)["number"] == 8
    assert capfd.readouterr().out == ""


# -- what is kept ----------------------------------------------------------------------------------


def test_figures_are_kept_for_the_same_card_and_versions(tmp_path, capsys):
    first = Results(tmp_path, "step", ABOUT, again=False)
    first.note("theirs", {"ms": 1}, ours=False)
    first.note("broken", {"error": "out of memory"}, ours=False)
    second = Results(tmp_path, "step", ABOUT | {"date": "2026-11-26"}, again=False)
    assert second.known("theirs", ours=False) == {"ms": 1}
    assert second.known("broken", ours=False) is None
    second.note("another", {"ms": 2}, ours=False)
    written = json.loads((tmp_path / "gpu_step.json").read_text())
    assert {*written} == {"about", "theirs", "broken", "another"}
    assert written["about"]["card"] == "A card, 80 GB"
    assert Results(tmp_path, "step", ABOUT, again=True).known("theirs", ours=False) is None


def test_figures_from_another_card_are_set_aside(tmp_path):
    Results(tmp_path, "step", ABOUT, again=False).note("theirs", {"ms": 1}, ours=False)
    other = Results(tmp_path, "step", ABOUT | {"card": "Another"}, again=False)
    assert other.known("theirs", ours=False) is None
    (aside,) = tmp_path.glob("gpu_step.A-card-80-GB-*.json")
    assert json.loads(aside.read_text())["theirs"] == {"ms": 1}


def test_our_own_figures_hold_only_for_the_same_code(tmp_path, monkeypatch):
    Results(tmp_path, "step", ABOUT, again=False).note("ours", {"ms": 1}, ours=True)
    assert Results(tmp_path, "step", ABOUT, again=False).known("ours", ours=True) is not None
    monkeypatch.setattr("gpu.results._code", lambda: "changed")
    assert Results(tmp_path, "step", ABOUT, again=False).known("ours", ours=True) is None


@pytest.fixture
def part(monkeypatch):
    """Register a part of three jobs, one of which dies."""
    module = types.ModuleType("gpu.stub")
    works = {"one": double, "two": die, "three": double}
    module.jobs = lambda bench, found: [
        jobs.Job(name, on_bench, (work, *([3] if work is double else [])), 30)
        for name, work in works.items()
    ]
    module.told = lambda name, found, all_found: [f"  {name}: {found['number']}"]
    module.closing = lambda found: ["that is all"]
    monkeypatch.setitem(sys.modules, "gpu.stub", module)
    monkeypatch.setattr(jobs, "about", about)
    return module


@pytest.mark.slow
def test_a_failed_job_is_named_and_the_others_have_figures(part, tmp_path, capsys):
    assert jobs.run("stub", BENCH, tmp_path, minutes=60, again=False) == jobs.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "  one: 6",
        "  two: its process died (exit status 7)",
        "  three: 6",
        "that is all",
        "",
        "1 failed: two",
    ]


@pytest.mark.slow
def test_jobs_without_time_left_are_left_to_the_next_call(part, tmp_path, capsys):
    assert jobs.run("stub", BENCH, tmp_path, minutes=0, again=False) == jobs.CUT
    assert "2 are left for lack of time" in capsys.readouterr().out
    # This call tries only the second job, which fails.
    assert jobs.run("stub", BENCH, tmp_path, minutes=0, again=False) == jobs.CUT
    assert jobs.run("stub", BENCH, tmp_path, minutes=60, again=False) == jobs.FAILED
    assert "  three: 6" in capsys.readouterr().out


# -- the first half hour ---------------------------------------------------------------------------

# Stands in for Python: writes its arguments down; `sweep` is cut off twice, and `step` fails.
STAND_IN = """#!/usr/bin/env bash
calls=$FOLDER/calls
echo "$*" >> "$calls"
case "$*" in
  *"--part sweep --out"*) [ "$(grep -c "part sweep --out" "$calls")" -gt 2 ] || exit 3 ;;
  *"--part step"*) exit 1 ;;
esac
"""


def first_contact(folder, *arguments):
    (folder / "python").write_text(STAND_IN)
    (folder / "python").chmod(0o755)
    done = subprocess.run(
        ["bash", str(SCRIPTS / "gpu" / "first_contact.sh"), *arguments, str(folder / "out")],
        cwd=SCRIPTS.parent,
        env=os.environ | {"PYTHON": str(folder / "python"), "FOLDER": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, (folder / "calls").read_text().splitlines()


def test_the_first_half_hour_continues_after_failures_and_sums_up(tmp_path):
    done, calls = first_contact(tmp_path)
    parts = [call.split("--part ")[1].split(" ")[0] for call in calls]
    assert parts[:5] == ["check", "profile", "sweep", "step", "convolutions"]
    # Then everything in full: the sweep is resumed, and what failed is tried once more.
    assert parts[5:] == [
        *("check", "profile", "sweep", "sweep", "step", "convolutions", "cifar94", "sweep"),
    ]
    assert all(f"--out {tmp_path / 'out'}" in call and "--dry" not in call for call in calls)
    assert "--batch 1024" in calls[-1]
    summary = done.stdout.split("== Summary")[1].splitlines()[1:]
    assert [line.split() for line in summary] == [
        *(["0", "check"], ["0", "profile"], ["3", "sweep"], ["1", "step"], ["0", "convolutions"]),
        *(["0", "check"], ["0", "profile"], ["3", "sweep"], ["0", "sweep"], ["1", "step"]),
        *(["0", "convolutions"], ["0", "cifar94"], ["0", "sweep", "--batch", "1024"]),
    ]
    assert done.returncode == 1
    assert (tmp_path / "out" / "first_contact.txt").read_text() == done.stdout


def test_the_first_half_hour_can_be_tried_dry(tmp_path):
    _, calls = first_contact(tmp_path, "--dry")
    assert all(call.endswith("--dry") for call in calls)


# -- the contenders --------------------------------------------------------------------------------


@pytest.mark.long
def test_the_compiled_baseline_trains_like_the_loop_by_hand():
    config = configuration("data=digits", "device=cpu")
    data = load(config)

    def weights(make):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        step = make(module, data, 16)
        for _ in range(5):
            step()
        return module[1].weight

    assert torch.allclose(weights(as_graph), weights(by_hand), atol=1e-5)


@pytest.mark.slow
def test_the_baseline_in_jax_has_the_gradients_of_the_network_by_hand(monkeypatch):
    jax = pytest.importorskip("jax")
    from gpu import jax_stack

    monkeypatch.setattr(jax_stack, "_DROPPED", 0.0)
    key = jax.random.key(0)
    weights = jax_stack._state(key)["weights"]
    x, y = torch.randn(4, 1, 28, 28), torch.tensor([1, 0, 7, 3])
    given = x.permute(0, 2, 3, 1).numpy(), y.numpy()
    loss, gradients = jax.value_and_grad(jax_stack._loss)(weights, *given, key, "fp32")
    module = network()
    layers = [layer for layer in module if list(layer.parameters())]
    # JAX flattens with channels last, so the dense layer's inputs are ordered differently.
    turned = {
        "conv0": lambda w: w.permute(3, 2, 0, 1),
        "conv1": lambda w: w.permute(3, 2, 0, 1),
        "dense": lambda w: w.view(7, 7, 64, 128).permute(3, 2, 0, 1).flatten(1),
        "out": lambda w: w.T,
    }
    tensor = {name: torch.tensor(jax.numpy.asarray(w).tolist()) for name, w in weights.items()}
    for layer, (name, turn) in zip(layers, turned.items(), strict=True):
        layer.weight.data = turn(tensor[name]).contiguous()
        layer.bias.data = tensor[name + ".bias"]
    own = torch.nn.functional.cross_entropy(module(x), y)
    own.backward()
    assert float(loss) == pytest.approx(own.item(), rel=1e-4)
    for layer, (name, turn) in zip(layers, turned.items(), strict=True):
        found = turn(torch.tensor(jax.numpy.asarray(gradients[name]).tolist()))
        assert torch.allclose(found, layer.weight.grad, atol=1e-5)


@pytest.mark.long
def test_our_own_kernels_convolve_like_torch():
    """Runs in a process under Triton's interpreter, which is chosen when a kernel is declared."""
    pytest.importorskip("triton")
    program = """
import torch
from gpu.convolution_ways import WAYS
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
    assert all(float(off) < 1e-4 for off in done.stdout.split())  # sums are near 10
    assert len(done.stdout.split()) == 2 * 4
