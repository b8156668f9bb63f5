"""Part cifar: CIFAR-10 to 94 %, for one run and for a stack, beside airbench94.

The recipe follows Jordan 2024 (arXiv:2404.00498): a whitening first layer, flips that alternate,
label smoothing, a triangular rate, averaged views of the test images. Ours is written in knobs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ablate.data import load
from ablate.data.tensors import Tensors
from gpu.tools import Bench

_TARGET, _SURE = 0.94, 0.939  # mean accuracy, and the lower end of its interval
_RECIPE = (
    *("data=cifar10", "data.val_size=0", "model=vgg", "model.channels=[64,256,256]"),
    *("model.whiten=2", "model.activation=gelu", "model.hidden=[]", "norm=batch"),
    *("optimizer=nesterov", "optimizer.momentum=0.85", "optimizer.lr=0.2", "batch_size=1000"),
    *("regularize.label_smoothing=0.2", "regularize.l2=2e-4", "schedule=one_cycle"),
    *("augment.flip=alternating", "augment.crop=2", "augment.test_views=2", "epochs=10"),
    *("precision=bf16", "dropout=none"),
)


def run(bench: Bench) -> bool:
    """Train one run and stacks of 40 in all; then airbench94, where it is installed."""
    small = (
        *("data.train_size=400", "batch_size=100", "epochs=1", "precision=fp32"),
        "model.channels=[4,8,8]",
    )
    recipe = _RECIPE + (small if bench.small else ())
    bench.say("ours: " + " ".join(recipe))
    plain = bench.config(*recipe)
    count = 2 if bench.small else 40
    runs = [plain | {"seed": seed} for seed in range(count)]
    _one(bench, runs[0])
    for width in (2,) if bench.small else (4, 8, 20):
        _many(bench, runs, width)
    airbench(bench, 2 if bench.small else 10)
    return True


def _one(bench: Bench, config: dict[str, Any]) -> None:
    for turn in ("cold", "warm"):
        accuracies: list[float] = []
        seconds = bench.seconds(partial(_train, bench, [config], accuracies))
        bench.say(f"one run, {turn}: {seconds:.2f} s, accuracy {accuracies[0]:.4f}")
        bench.note(f"one run, {turn}, seconds", seconds)


def _many(bench: Bench, runs: list[dict[str, Any]], width: int) -> None:
    accuracies: list[float] = []

    def train() -> None:
        for start in range(0, len(runs), width):
            _train(bench, runs[start : start + width], accuracies)

    seconds = bench.seconds(train)
    mean, half = _interval(accuracies)
    verdict = "met" if mean >= _TARGET and mean - half >= _SURE else "not met"
    bench.say(
        f"{len(runs)} runs in stacks of {width}: {seconds:.1f} s,"
        f" {seconds / len(runs):.2f} s a run; accuracy {mean:.4f} ± {half:.4f} (95 %),"
        f" target {verdict}"
    )
    bench.note(f"stacks of {width}", {"seconds": seconds, "accuracies": accuracies})


def _train(bench: Bench, runs: list[dict[str, Any]], accuracies: list[float]) -> None:
    training = bench.training(runs)
    while not training.done:
        training.advance()
    # A run that diverged counts as wrong throughout.
    accuracies.extend(float(found.get("test/accuracy") or 0) for found in training.finish())


def airbench(bench: Bench, runs: int) -> None:
    """Time airbench94 on the same device, in the same hour."""
    if bench.device != "cuda" or importlib.util.find_spec("airbench") is None:
        bench.say("airbench94: not here (it needs a GPU, and `pip install airbench`)")
        return
    from airbench import CifarLoader, evaluate, train94, warmup94

    data = load(bench.config("data=cifar10", "data.val_size=0"))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        _write_images(data, Path("cifar10"))
        warmup94()
        models: list[Any] = []
        seconds = bench.seconds(lambda: models.extend(train94(verbose=False) for _ in range(runs)))
        test = CifarLoader("cifar10", train=False, batch_size=2000)
        accuracies = [float(evaluate(model, test, tta_level=2)) for model in models]
    mean, half = _interval(accuracies)
    bench.say(
        f"airbench94: {seconds / runs:.2f} s a run over {runs}; accuracy {mean:.4f} ± {half:.4f}"
    )
    bench.note("airbench94", {"seconds a run": seconds / runs, "accuracies": accuracies})


def _write_images(data: Tensors, folder: Path) -> None:
    """Write the images as airbench keeps them, so that it need not fetch them."""
    folder.mkdir()
    for name, split in (("train", data.train), ("test", data.test)):
        images = split.images.permute(0, 2, 3, 1).contiguous().cpu()
        held = {"images": images, "labels": split.labels.cpu(), "classes": [*"0123456789"]}
        torch.save(held, folder / f"{name}.pt")


def _interval(values: list[float]) -> tuple[float, float]:
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), float(half)
