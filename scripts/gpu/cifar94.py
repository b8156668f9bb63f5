"""Part cifar94: CIFAR-10 to 94 %, for one run and for a stack, next to airbench94.

The recipe follows Jordan 2024 (arXiv:2404.00498): a whitening first layer, flips that alternate,
label smoothing, a triangular rate, averaged views of the test images. Ours is written in knobs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ablate.data import load
from ablate.data.tensors import Tensors
from gpu.apart import Figures
from gpu.bench import Bench
from gpu.jobs import Job

_TARGET, _SURE = 0.94, 0.939  # mean accuracy, and the lower end of its interval
_RECIPE = (
    *("data=cifar10", "data.val_size=0", "model=vgg", "model.channels=[64,256,256]"),
    *("model.whiten=2", "model.activation=gelu", "model.hidden=[]", "norm=batch"),
    *("optimizer=nesterov", "optimizer.momentum=0.85", "optimizer.lr=0.2", "batch_size=1000"),
    *("regularize.label_smoothing=0.2", "regularize.l2=2e-4", "schedule=one_cycle"),
    *("augment.flip=alternating", "augment.crop=2", "augment.test_views=2", "epochs=10"),
    *("precision=bf16", "dropout=none"),
)
_DRY = (
    *("data.train_size=400", "batch_size=100", "epochs=1", "precision=fp32"),
    "model.channels=[4,8,8]",
)
_WIDTH, _OTHERS = 8, (4, 20)  # width of the stacks for the interval, and of other ones
_SEEDS = 20  # per job; the interval is over twice as many


def jobs(bench: Bench, all_found: Mapping[str, Figures]) -> Iterator[Job]:
    """List our run and stacks, and airbench94 among them."""
    seeds = 2 if bench.dry else _SEEDS
    yield Job("one run", one_run, (), 180)
    yield Job("airbench94", airbench, (10,), 240, alone=True, ours=False)
    for start in (0, seeds):
        yield _stacks(2 if bench.dry else _WIDTH, start, seeds)
    if not bench.dry:
        for width in _OTHERS:
            yield _stacks(width, 0, seeds)


def _stacks(width: int, start: int, seeds: int) -> Job:
    name = f"stacks of {width}, seeds {start} to {start + seeds - 1}"
    return Job(name, stacks, (width, start, seeds), 300)


def one_run(bench: Bench) -> Figures:
    """Train a run from nothing, then another with all kernels loaded and tuned."""
    accuracies: list[float] = []
    runs = _runs(bench, 0, 2)
    cold, warm = (bench.seconds(partial(_train, bench, [run], accuracies)) for run in runs)
    return {"seconds": warm, "first run": cold, "accuracies": accuracies}


def stacks(bench: Bench, width: int, start: int, seeds: int) -> Figures:
    """Train some seeds in stacks."""
    runs = _runs(bench, start, seeds)
    accuracies: list[float] = []

    def train() -> None:
        for first in range(0, seeds, width):
            _train(bench, runs[first : first + width], accuracies)

    return {"seconds": bench.seconds(train) / seeds, "accuracies": accuracies}


def _runs(bench: Bench, start: int, seeds: int) -> list[dict[str, Any]]:
    small = _DRY if bench.dry else ()
    # A fake device computes no images, so there are no axes to whiten along.
    plain_layer = ("model.whiten=null",) if bench.dry and bench.device == "cuda" else ()
    plain = bench.config(*_RECIPE, *small, *plain_layer)
    return [plain | {"seed": seed} for seed in range(start, start + seeds)]


def _train(bench: Bench, runs: list[dict[str, Any]], accuracies: list[float]) -> None:
    training = bench.training(runs)
    while not training.done:
        training.advance()
    # For a diverged run, every answer counts as wrong.
    accuracies.extend(float(found.get("test/accuracy") or 0) for found in training.finish())


def airbench(bench: Bench, runs: int) -> Figures:
    """Time airbench94 on the same device, in the same hour."""
    if importlib.util.find_spec("airbench") is None:
        return {"skipped": "not here (`pip install airbench`)"}
    if bench.device != "cuda" or bench.dry:
        return {"skipped": "it needs a GPU, and its time"}
    from airbench import CifarLoader, evaluate, train94, warmup94

    data = load(bench.config("data=cifar10", "data.val_size=0"))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        _write_images(data, Path("cifar10"))
        warmup94()
        models: list[Any] = []
        seconds = bench.seconds(lambda: models.extend(train94(verbose=False) for _ in range(runs)))
        test = CifarLoader("cifar10", train=False, batch_size=2000)
        accuracies = [float(evaluate(model, test, tta_level=2)) for model in models]
    return {"seconds": seconds / runs, "accuracies": accuracies}


def told(name: str, found: Figures, all_found: Mapping[str, Figures]) -> list[str]:
    """Put the time of a run, and what it reached, into a line."""
    mean, half = _interval(found["accuracies"])
    first = f", the first one {found['first run']:.2f} s" if "first run" in found else ""
    return [
        f"  {name:32s} {found['seconds']:8.2f} s a run{first};"
        f" accuracy {mean:.4f} ± {half:.4f} (95 %, {len(found['accuracies'])} runs)"
    ]


def closing(all_found: Mapping[str, Figures]) -> list[str]:
    """Say whether the target is met by the two jobs that train the same stacks."""
    width = next((n for n in all_found if n.startswith("stacks of")), "").partition(",")[0]
    same = [f for n, f in all_found.items() if n.partition(",")[0] == width]
    accuracies = [value for found in same for value in found.get("accuracies", ())]
    if len(accuracies) < 2:
        return []
    mean, half = _interval(accuracies)
    verdict = "met" if mean >= _TARGET and mean - half >= _SURE else "not met"
    return [
        f"\n{width}: accuracy {mean:.4f} ± {half:.4f} (95 %, {len(accuracies)} runs); 94 %"
        f" with an interval above 93.9 % is {verdict}"
    ]


def _write_images(data: Tensors, folder: Path) -> None:
    """Write the images in airbench's format, so that it need not download them."""
    folder.mkdir()
    for name, split in (("train", data.train), ("test", data.test)):
        images = split.images.permute(0, 2, 3, 1).contiguous().cpu()
        held = {"images": images, "labels": split.labels.cpu(), "classes": [*"0123456789"]}
        torch.save(held, folder / f"{name}.pt")


def _interval(values: list[float]) -> tuple[float, float]:
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), float(half)
