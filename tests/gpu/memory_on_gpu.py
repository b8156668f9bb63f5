"""Measures how much memory stacks use on the fake device, next to what is planned for them."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablate.data import load, loading
from ablate.train.footprint import Images, footprint, runs_at_once
from ablate.train.training import Training
from tests.configs import config
from tests.files import write_cifar10, write_mnist
from tests.gpu.garbage import accept_garbage

MNIST = {"data": "mnist", "batch_size": 128}
CNN = MNIST | {"model": "cnn"}
MLP = MNIST | {"model": "mlp"}
RESNET = {"data": "cifar10", "batch_size": 128, "model": "resnet"}
BF16, BATCH = {"precision": "bf16"}, {"norm": "batch"}

# Width, and changes to the configuration.
STANDARD: dict[str, tuple[int, dict[str, Any]]] = {
    "cnn": (64, CNN),
    "cnn with batch norm": (64, CNN | BATCH),
    "digits": (64, {}),
    "mlp": (64, MLP),
    "resnet": (16, RESNET),
}
STANDARD |= {f"{name} in bf16": (width, kw | BF16) for name, (width, kw) in STANDARD.items()}
WIDE = MLP | {"model.hidden": [1024, 1024]}
OTHERS: dict[str, tuple[int, dict[str, Any]]] = {
    "sam": (16, CNN | {"regularize.sam": 0.05}),
    "sam on a wide mlp": (16, WIDE | {"regularize.sam": 0.05}),
    "ema": (16, CNN | {"regularize.ema": 0.9}),
    "swa with batch norm": (16, CNN | BATCH | {"regularize.swa": 0.1}),
    "sgd": (16, CNN | {"optimizer": "sgd"}),
    "nesterov": (16, WIDE | {"optimizer": "nesterov"}),
    "muon": (16, WIDE | {"optimizer": "muon"}),
    "l2": (16, WIDE | {"regularize.l2": 1e-4}),
    "affine": (16, MLP | {"augment": "affine"}),
    "test views": (16, CNN | {"augment": "affine", "augment.test_views": 3}),
    "mixup": (16, MLP | {"regularize.mixup": 1.0}),
    "dropout": (16, CNN | {"dropout": "standard"}),
    "lenet5": (16, CNN | {"model": "lenet5"}),
    "vgg": (16, CNN | {"model": "vgg"}),
    "rnn": (16, CNN | {"model": "rnn"}),
    "lstm": (16, CNN | {"model": "lstm"}),
    "gru": (16, CNN | {"model": "gru"}),
    "deep_mlp": (16, CNN | {"model": "deep_mlp"}),
    "layer norm": (16, CNN | {"norm": "layer"}),
    "layer norm in bf16": (16, CNN | {"norm": "layer"} | BF16),
    "group norm after": (16, CNN | {"norm": "group", "norm.position": "after"}),
    "gelu": (16, CNN | {"model.activation": "gelu"}),
    "fp64": (16, CNN | {"precision": "fp64"}),
    "resnet with batch norm": (16, RESNET | BATCH),
    "resnet of depth 9": (8, RESNET | BATCH | {"model.depth": 9, "model.width": 32}),
    "cnn on cifar10": (16, RESNET | {"model": "cnn"}),
    "alone": (1, CNN),
    "alone with batch norm": (1, RESNET | BATCH),
}


def planned_and_taken(cases: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Run stacks through some steps and an evaluation.

    Args:
        cases: ``standard`` or ``others``.

    Returns:
        For each case, and each of ``resident``, ``step``, ``between`` and ``tensors``, the planned
        bytes and those that the allocator used.
    """
    accept_garbage()
    chosen = {"standard": STANDARD, "others": OTHERS}[cases]
    with tempfile.TemporaryDirectory() as folder:
        write_mnist(Path(folder), images=60_000)  # as many as the real set has
        write_cifar10(Path(folder), images=50_000)
        os.environ["ABLATE_DATA"] = folder
        return {name: _measured(width, changes) for name, (width, changes) in chosen.items()}


def _measured(width: int, changes: dict[str, Any]) -> dict[str, tuple[int, int]]:
    configs = [config(seed=seed, device="cuda", **changes) for seed in range(width)]
    loading._load.cache_clear()
    gc.collect()
    before = torch.cuda.memory_allocated()
    data, fused = load(configs[0]), width > 1
    training = Training(configs, data, fused=fused)
    resident = torch.cuda.memory_allocated() - before
    between = [_rise(lambda: training.batches.begin_epoch(0))]
    step = max(_rise(training.launch) for _ in range(3))
    between.append(_rise(training.scores.rehearse))
    taken = {"resident": resident, "step": step, "between": max(between)}
    taken["tensors"] = sum(taken.values())
    images = Images.of(data)
    memory = torch.cuda.get_device_properties(0).total_memory
    at_once = runs_at_once(configs, images, fused=fused, memory=memory)
    plan = footprint(configs, images, width, fused=fused, at_once=at_once)
    return {name: (getattr(plan, name), size) for name, size in taken.items()}


def _rise(work: Callable[[], object]) -> int:
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() - before
