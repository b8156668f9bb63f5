"""Every technique, in a few small runs on digits with different seeds, rates and strengths."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ablate import record
from ablate.config import effect, files, schema
from ablate.data import load
from ablate.data.tensors import Split
from ablate.train.training import Training
from tests.configs import config

SIZES = {"data.train_size": 60, "data.val_size": 60, "batch_size": 20}
WHOLE = 176  # test images: 11 × 16, the numbers in the widest vector


# -- the techniques --------------------------------------------------------------------------------


def own_penalty(parameters):
    return 1e-3 * sum(p.abs().sum() for p in parameters.values())


def own_augmentation(x_BCHW):
    return x_BCHW + 0.1 * torch.randn(x_BCHW.shape, dtype=x_BCHW.dtype, device=x_BCHW.device)


CNN = {"model": "cnn", "model.channels": [3, 4], "model.hidden": [8]}
# Adam would turn rounding noise into steps wherever batch norm leaves a gradient of 0: for a shift
# that no relu cuts and that the next norm removes, as happens in such small networks.
STEADY = {"optimizer": "momentum", "optimizer.lr": lambda i: 0.01 * (i + 1)}
CNN_BATCH = CNN | STEADY | {"norm": "batch"}
NETWORKS = {
    "cnn": CNN_BATCH,
    "mlp": {"model": "mlp", "model.hidden": [8]},
    "lenet5": {"model": "lenet5", "model.channels": [2, 3], "model.hidden": [8, 4]},
    "vgg": {"model": "vgg", "model.channels": [3, 4], "model.hidden": [8]},
    "resnet": {"model": "resnet", "model.depth": 8, "model.width": 2},
    "deep_mlp": {"model": "deep_mlp", "model.hidden": [8] * 5},
    "rnn": {"model": "rnn", "model.hidden": [8]},
    "lstm": {"model": "lstm", "model.hidden": [8]},
    "gru": {"model": "gru", "model.hidden": [8, 4]},
}
PAGE = STEADY | {"model": "resnet", "model.depth": 9, "model.width": 2, "norm": "batch"}

# A function gives one value per run.
REGULARIZERS = {
    "l1": {"regularize.l1": lambda i: 1e-4 * (i + 1)},
    "l2": {"regularize.l2": lambda i: 1e-3 * (i + 1)},
    "max_norm": {"regularize.max_norm": lambda i: 1.0 + 0.2 * i},
    "label_smoothing": {"regularize.label_smoothing": lambda i: 0.05 * (i + 1)},
    "mixup": {"regularize.mixup": lambda i: 0.2 * (i + 1)},
    "cutmix": {"regularize.cutmix": lambda i: 0.5 + 0.2 * i},
    "mixup and cutmix": {"regularize.mixup": lambda i: 0.2 * (i + 1), "regularize.cutmix": 1.0},
    "input_noise": {"regularize.input_noise": lambda i: 0.1 * (i + 1)},
    "stochastic_depth": PAGE | {"regularize.stochastic_depth": lambda i: 0.2 * (i + 1)},
    "clip_norm": {"regularize.clip_norm": lambda i: 0.2 * (i + 1)},
    "clip_value": {"regularize.clip_value": lambda i: 0.01 * (i + 1)},
    "early_stopping": {
        "regularize.early_stopping": 1,
        "optimizer.lr": lambda i: (0.005, 0.3, 0.15, 0.03, 0.01)[i],
        "epochs": 8,
    },
    "ema": {"regularize.ema": lambda i: 0.5 + 0.1 * i},
    "ema with batch norm": CNN_BATCH | {"regularize.ema": lambda i: 0.5 + 0.1 * i},
    "swa": {"regularize.swa": lambda i: 0.2 * i},
    "swa with batch norm": CNN_BATCH | {"regularize.swa": lambda i: 0.2 * i},
    "sam": {"regularize.sam": lambda i: 0.05 * (i + 1)},
    "sam with batch norm": CNN_BATCH | {"regularize.sam": lambda i: 0.05 * (i + 1)},
    "_target_": {"regularize._target_": "tests.techniques.own_penalty"},
    "everything": CNN_BATCH
    | {
        "dropout": "standard",
        "augment": "flip_crop",
        "regularize": "standard",
        "regularize.sam": 0.05,
        "regularize.clip_norm": 1.0,
        "regularize.ema": lambda i: 0.5 + 0.1 * i,
        "select": "best",
    },
}
AUGMENTATIONS = {
    **{f"preset {name}": {"augment": name} for name in files.groups()["augment"] if name != "none"},
    "shift": {"augment.shift": lambda i: i + 1},
    "flip": {"augment.flip": lambda i: 0.2 * (i + 1)},
    "alternating": {"augment.flip": lambda i: "alternating" if i % 2 else 0.5},
    "crop": {"augment.crop": lambda i: i + 1},
    "rotate": {"augment.rotate": lambda i: 5.0 * (i + 1)},
    "scale": {"augment.scale": lambda i: 0.1 * (i + 1)},
    "shear": {"augment.shear": lambda i: 5.0 * (i + 1)},
    "cutout": {"augment.cutout": lambda i: i + 2},
    "brightness": {"augment.brightness": lambda i: 0.1 * (i + 1)},
    "contrast": {"augment.contrast": lambda i: 0.1 * (i + 1)},
    "test_views": {"augment": "affine", "augment.shift": 1, "augment.test_views": 3},
    "_target_": {"augment._target_": "tests.techniques.own_augmentation"},
}


def _drops(kind, scaling):
    rates = {"dropout.conv": lambda i: 0.1 * (i + 1), "dropout.dense": lambda i: 0.5 - 0.1 * i}
    ends = {} if kind == "dropconnect" else {"dropout.input": 0.1, "dropout.output": 0.1}
    return CNN | rates | ends | {"dropout.kind": kind, "dropout.scaling": scaling}


DROPOUTS = {
    f"{kind} {scaling}": _drops(kind, scaling)
    for kind in schema.BY_NAME["dropout.kind"].type.words
    for scaling in schema.BY_NAME["dropout.scaling"].type.words
    if scaling == "inverted" or kind not in ("gaussian", "alpha")
}
NORMS = {
    f"batch evaluated by {how}": CNN_BATCH | {"norm.eval": how} for how in ("running", "batch")
}
OPTIMIZERS = {
    name: {
        "optimizer": name,
        "optimizer.lr": lambda i, name=name: files.option("optimizer", name)["lr"] * (1 + i) / 2,
        "optimizer.weight_decay": lambda i: 0.01 * i,
    }
    for name in schema.BY_NAME["optimizer.name"].type.words
    if name not in effect.SOLVERS
}
SCHEDULES = {
    name: {"schedule": name, "schedule.warmup_epochs": lambda i: 0.2 * i, "epochs": 3}
    for name in schema.BY_NAME["schedule.name"].type.words
}
SCHEDULES["plateau"] |= {
    "schedule.patience": lambda i: i % 2,
    "schedule.gamma": lambda i: 0.1 * (i + 1),
    "optimizer.lr": lambda i: 0.1 * (i + 1),
    "epochs": 5,
}
TECHNIQUES = {
    f"{kind}: {name}": changes
    for kind, some in {
        "network": NETWORKS | {"resnet of depth 9": PAGE, "whitening": CNN | {"model.whiten": 2}},
        "dropout": DROPOUTS,
        "norm": NORMS,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
        "regularize": REGULARIZERS,
        "augment": AUGMENTATIONS,
    }.items()
    for name, changes in some.items()
}


def runs(name, precision="fp32"):
    """Make the runs of a technique: three, or five if each should stop at a different epoch."""
    changes = {"model": "mlp", "model.hidden": [8]} | TECHNIQUES[name]
    width = 5 if name == "regularize: early_stopping" else 3
    plain = {
        "optimizer": "adamw",
        "optimizer.lr": lambda i: 1e-3 * (i + 1),
        "schedule": "constant",
        **SIZES,
        "epochs": 2,
        "precision": precision,
    }
    return [
        config(seed=10 + i, **{k: v(i) if callable(v) else v for k, v in (plain | changes).items()})
        for i in range(width)
    ]


# -- training --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """What a run leaves."""

    weights: dict[str, torch.Tensor]  # and buffers, as tested
    history: list[dict[str, Any]]
    metrics: dict[str, Any]


@functools.cache
def data(precision="fp32"):
    """Load as few digits as configured, and a number of test images that fills whole vectors."""
    tensors = load(config(**SIZES, precision=precision))
    test = Split(tensors.test.images[:WHOLE], tensors.test.labels[:WHOLE])
    return replace(tensors, test=test)


def begun(configs, *, fused):
    return Training(configs, data(configs[0]["precision"]), fused=fused)


def ended(training):
    """Train to the end; return what each run leaves."""
    while not training.done:
        training.advance()
    metrics = training.finish()
    return [
        Left(training.stack.slice(r), course.history, metrics[r])
        for r, course in enumerate(training.courses)
    ]


@dataclass(frozen=True)
class Trained:
    """What runs leave, and their files at a point past the middle."""

    left: list[Left]
    states: list[dict[str, Any] | None]


@functools.cache
def trained(name, fused):
    training, states = begun(runs(name), fused=fused), []
    for _ in range(random.Random(name).randrange(training.steps // 2, training.steps)):
        training.advance()
    with TemporaryDirectory() as folder:
        for r in range(len(training.configs)):
            record.save_state(Path(folder), training.state(r))
            states.append(record.load_state(Path(folder)))
    return Trained(ended(training), states)


def same(one, other):
    """Return whether two runs left the same bits."""
    return (
        (one.history, one.metrics) == (other.history, other.metrics)
        and one.weights.keys() == other.weights.keys()
        and all(torch.equal(one.weights[k], other.weights[k]) for k in one.weights)
    )


def distance(one, other):
    """Return the largest difference of two runs' tensors, relative to each tensor's largest."""
    return max(
        float((a - other.weights[name]).abs().max() / a.abs().max().clamp(min=0.1))
        for name, a in one.weights.items()
        if a.is_floating_point()
    )
