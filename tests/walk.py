"""Where each result knob applies and where not, and values for it; for tests/train/test_walk.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ablate.config import files, schema
from ablate.config.knob import Knob
from ablate.config.types import Choice, Flag, Whole
from ablate.plan.resolve import resolve
from ablate.plan.run import Run
from tests.configs import config

HERE = "tests.walk"


# -- users' own parts ------------------------------------------------------------------------------


class Narrow(nn.Module):
    def __init__(self, units: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, units), nn.ReLU(), nn.Linear(units, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


class Wide(Narrow):
    def __init__(self) -> None:
        super().__init__(6)


class Halved(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class Doubled(Halved):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Digits:
    """Random images of ten classes."""

    seed = 0

    def __init__(self) -> None:
        key = torch.Generator().manual_seed(self.seed)
        self.images = torch.rand(160, 1, 8, 8, generator=key)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], index % 10


class OtherDigits(Digits):
    seed = 1


def squared_relu(x: Tensor) -> Tensor:
    return x.relu().square()


def penalty(parameters: Mapping[str, Tensor]) -> Tensor:
    return 0.01 * torch.stack([p.square().sum() for p in parameters.values()]).sum()


def darker(x_BCHW: Tensor) -> Tensor:
    return x_BCHW - 0.5


# -- settings --------------------------------------------------------------------------------------

BASE: dict[str, Any] = {
    "model": "cnn",
    "optimizer": "momentum",
    "schedule": "constant",
    "data.train_size": 60,
    "data.val_size": 40,
    "batch_size": 10,
    "epochs": 3,
}
SMALL = {"channels": [4], "hidden": [16], "width": 2}
SMALLER: dict[str, dict[str, Any]] = {
    "lenet5": {"channels": [2, 3], "hidden": [8, 6]},
    "vgg": {"channels": [3, 4]},
    "resnet": {"depth": 8, "hidden": []},
    "deep_mlp": {"hidden": [8, 8, 8]},
}
# What an option needs, whichever knob changes.
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("data", "custom"): {"data._target_": f"{HERE}.Digits"},
    ("model", "custom"): {"model._target_": f"{HERE}.Narrow"},
    ("norm", "custom"): {"norm._target_": f"{HERE}.Halved"},
    ("schedule", "plateau"): {"schedule.patience": 0},
}
STALLS = {"optimizer.lr": 0.3, "epochs": 5}  # validation gets worse, then better again
# What a knob needs in order to act, apart from an option that has it.
CONTEXT: dict[str, dict[str, Any]] = {
    "data._target_": {"data": "custom"},
    "model._target_": {"model": "custom"},
    "norm._target_": {"norm": "custom"},
    "dropout.kind": {"dropout.dense": 0.5, "dropout.conv": 0.3},
    "dropout.scaling": {"dropout.dense": 0.5},
    "dropout._target_": {"dropout.dense": 0.5},
    "seeds.dropout": {"dropout.dense": 0.5},
    "seeds.augment": {"augment": "shift"},
    "augment.test_views": {"augment": "shift"},
    "regularize.stochastic_depth": {"model": "resnet"},
    "optimizer.line_search": {"optimizer.lr": 5.0},  # first steps that are too long
    "schedule.name": STALLS,
    "schedule.gamma": STALLS,
    "schedule.patience": STALLS | {"schedule": "plateau"},
    "regularize.early_stopping": STALLS,
    "select": STALLS,
    "epochs": {"schedule": "cosine"},
}
# Values to use instead of those that follow from the type; by option, if one does not fit all.
VALUES: dict[str, Any] = {
    "data.name": "custom",
    "data.train_size": 70,
    "data.val_size": 50,
    "data.image_size": 10,
    "data._target_": f"{HERE}.OtherDigits",
    "model._target_": f"{HERE}.Wide",
    "model.activation._target_": f"{HERE}.squared_relu",
    "norm._target_": f"{HERE}.Doubled",
    "dropout._target_": "torch.nn.Identity",
    "regularize._target_": f"{HERE}.penalty",
    "augment._target_": f"{HERE}.darker",
    "model.depth": {"vgg": 1, "resnet": 9},
    "model.pad_to": 24,
    "model.padding": 2,
    "model.whiten": 2,
    "norm.eps": 0.1,
    "norm.groups": 2,
    "init.layers": ["he_normal", "normal:0.1", "zeros"],
    "optimizer.eps": 0.1,
    "optimizer.beta2": 0.9,
    "optimizer.history": 1,
    "optimizer.ns_steps": 1,
    "optimizer.momentum_decay": 0.5,
    "schedule.every": 0.1,
    "schedule.milestones": [0.1, 0.7],
    "schedule.patience": 1,
    "schedule.final": 0.5,
    "regularize.max_norm": 0.5,
    "regularize.clip_norm": 0.1,
    "regularize.clip_value": 0.01,
    "regularize.early_stopping": 1,
    "regularize.swa": 0.0,
    "regularize.l1": 0.01,
    "augment.flip": 0.5,
    "augment.rotate": 20,
    "augment.shear": 20,
}
RESULTS = [knob for knob in schema.KNOBS if knob.role == "result"]
# Knobs that say how files are read: the tests in tests/data cover them (test_odd, test_content,
# test_labels, test_tables).
OF_FILES = (
    *("data.background", "data.levels", "data.splits", "data.split_by", "data.on_bad"),
    *("data.labels", "data.image_column", "data.label_column"),
)
# Knobs that some shipped option of their group does not have, with such an option.
FOREIGN = {
    knob.name: (knob, f"{knob.group}={option}")
    for knob in RESULTS
    if not knob.name.endswith("_target_") and knob.group in schema.OPTIONS
    if (owners := files.owners(knob.name))
    for option in files.groups()[knob.group]
    if f"{knob.group}={option}" not in owners and option not in ("custom", "own")
}
# Values that contradict `BASE`, so that planning refuses them.
REFUSED: dict[str, tuple[str, ...]] = {"init.name": ("own",)}
# For each knob, a setting in which it touches nothing, and a value.
OWN = {"model": "custom", "model._target_": f"{HERE}.Narrow"}
ONE_STEP = {"epochs": 1, "batch_size": "full"}
SOLVED = {"optimizer": "lbfgs"}
IDLE: dict[str, tuple[dict[str, Any], Any]] = {
    "dropout.input": (OWN, 0.5),
    "dropout.conv": ({"model": "mlp"}, 0.5),
    "dropout.dense": ({"model.hidden": []}, 0.5),
    "dropout.output": (OWN, 0.5),
    "dropout.kind": ({}, "gaussian"),
    "dropout.scaling": ({"dropout.dense": 0.5, "dropout.kind": "alpha"}, "test"),
    "dropout._target_": ({}, "torch.nn.Dropout"),
    "norm.name": ({"model": "mlp", "model.hidden": []}, "layer"),
    "norm.position": ({"norm": {"name": "none"}}, "after"),
    "norm.affine": ({"norm": {"name": "none"}}, False),
    "norm.eps": ({"norm": {"name": "none"}}, 0.1),
    "norm.eval": ({"norm": "layer"}, "batch"),
    "norm.momentum": ({"norm": "batch", "norm.eval": "batch"}, 0.5),
    "select": ({"epochs": 1}, "best"),
    "slurm.partition": ({}, "gpu"),
    "slurm.minutes": ({}, 5),
    "slurm.cpus": ({}, 2),
    "slurm.gpus": ({}, 2),
    "slurm.memory": ({}, 2),
    "slurm.cluster": ({}, "local"),
    "slurm.account": ({}, "lab"),
    "slurm.qos": ({}, "high"),
    "slurm.constraint": ({}, "a100"),
    "slurm.flags": ({}, ["--exclude=n3"]),
    "slurm.at_once": ({}, 2),
    "slurm.stacks": ({}, 2),
    "slurm.abreast": ({}, 2),
    "ray.address": ({}, "auto"),
    "ray.cpus": ({}, 2),
    "ray.gpus": ({}, 0.5),
    "schedule.name": ({"schedule.gamma": 1}, "step"),
    "schedule.growth": ({"schedule": "warm_restarts", "schedule.cycles": 1}, 3.0),
    "schedule.mode": ({"schedule": "cyclic", "schedule.cycles": 1}, "triangular2"),
    "schedule.warmup_epochs": ({}, 3),
    "schedule.patience": ({"schedule": "plateau"}, 3),
    "schedule.every": ({"schedule": "step"}, 0.99),
    "schedule.milestones": ({"schedule": "multistep"}, [0.98, 0.99]),
    "schedule.gamma": (ONE_STEP | {"schedule": "exponential"}, 0.5),
    "schedule.power": (ONE_STEP | {"schedule": "polynomial"}, 3.0),
    "schedule.rise": (ONE_STEP | {"schedule": "one_cycle"}, 0.4),
    "schedule.initial": ({"schedule": "one_cycle", "schedule.rise": 0.05}, 0.1),
    "schedule.final": (ONE_STEP | {"schedule": "linear"}, 0.2),
    "regularize.ema": ({}, 1e-9),
    "regularize.swa": ({}, 0.95),
    "optimizer.momentum": (ONE_STEP, 0.5),
    "optimizer.beta2": (ONE_STEP | {"optimizer": "adam"}, 0.9),
    "optimizer.lr_decay": (ONE_STEP | {"optimizer": "adagrad"}, 0.1),
    "regularize.max_norm": (SOLVED, 1),
    "regularize.stochastic_depth": ({}, 0.5),
    "regularize.clip_norm": (SOLVED, 1),
    "regularize.clip_value": (SOLVED, 1),
    "regularize.early_stopping": ({}, 3),
    "regularize.sam": (SOLVED, 0.1),
    "augment.test_views": ({}, 3),
    "seeds.dropout": ({}, 5),
    "seeds.augment": ({}, 5),
}


def changed(name: str, changes: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Compose a request: its configuration, and the knobs that it sets explicitly."""
    both = BASE | CONTEXT.get(name, {}) | dict(changes)
    for group, option in list(both.items()):
        if isinstance(option, str):
            both = BESIDE.get((group, option), {}) | both
    model = files.option("model", both["model"])
    sizes = {**SMALL, **SMALLER.get(both["model"], {})}
    both = {f"model.{k}": v for k, v in sizes.items() if k in model} | both
    explicit = {f"{n}.name" if f"{n}.name" in schema.BY_NAME else n for n in both}
    return config(**both), explicit


def planned(name: str, changes: Mapping[str, Any]) -> Run:
    """Resolve a request.

    Raises:
        AblateError: It is refused.
    """
    return resolve(*changed(name, changes))


def options(knob: Knob) -> list[dict[str, Any]]:
    """List the options of its group that have a knob, as changes to `BASE`."""
    group = knob.group
    everywhere = len(files.owners(knob.name)) == len(files.groups().get(group, ()))
    if knob.name in VALUES and knob.name.endswith("_target_"):
        return [{}]
    if not files.owners(knob.name) or group in CONTEXT.get(knob.name, {}) or everywhere:
        return [{}]
    owners = [owner.partition("=")[2] for owner in files.owners(knob.name)]
    return [{group: owner} for owner in owners if owner != "custom"]


def another(knob: Knob, value: Any, option: str) -> Iterator[Any]:
    """Yield other values of a knob: all words of a choice, otherwise one value."""
    if knob.name in VALUES:
        told = VALUES[knob.name]
        yield told[option] if isinstance(told, dict) else told
    elif isinstance(knob.type, Choice):
        yield from (word for word in knob.type.words if word != value)
    elif isinstance(knob.type, Flag):
        yield not value
    elif isinstance(value, list):
        yield [*value[:-1], value[-1] + 1] if value else [8]
    else:
        step = 1 if isinstance(knob.type, Whole) else 0.25
        tries = (1,) if value is None else (value * 0.5, value + step)
        yield next(v for v in tries if v != value and knob.fault(v) is None)
