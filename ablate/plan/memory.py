"""Refuses a run that needs more memory than this machine has, before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate import environment
from ablate.config.knobs.run import CLUSTERS
from ablate.train.footprint import UNCERTAINTY, Images, footprint

_NEWTON_ROWS = 8  # rows of the Hessian computed at once, as in `optim.solvers`
_A_STEP = 8 * 4  # bytes per step of the table of rates, and of what it is computed from
_MIXING = 8 * 5  # bytes per step that mixup and cutmix draw in advance


def too_large(config: Mapping[str, Any], images: Images) -> list[str]:
    """Say that a run needs more memory than this machine has; if in doubt, let it try.

    Runs on a GPU are checked with their stack; a cluster's machines are unknown here.

    Args:
        config: A resolved configuration, whose device may still be ``auto``.
        images: The images of its data set.
    """
    if config["launch"] in CLUSTERS or environment.may_have_cuda(config["device"]):
        return []
    parts, most = _parts(config, images), environment.memory()
    if sum(parts.values()) * (1 - UNCERTAINTY) <= most:
        return []
    what = max(parts, key=lambda name: parts[name])
    return [
        f"a run needs about {_gib(sum(parts.values()))} GiB of memory, most of it for {what}, and"
        f" this machine has {_gib(most)}: {_LESS[what]}"
    ]


_LESS = {
    "the network and a batch": "take a smaller network (model=...), batch_size or data.image_size",
    "the images": "take fewer (data.train_size) or a smaller data.image_size",
    "the rates of every step": "take fewer epochs",
    "the Hessian": "take a smaller network (model=mlp model.hidden=[]), fewer images"
    " (data.train_size), or optimizer=lbfgs",
}


def _parts(config: Mapping[str, Any], images: Images) -> dict[str, int]:
    steps = config["epochs"] * max(1, images.sizes.train // config["batch_size"])
    mixes = config["regularize"]["mixup"] or config["regularize"]["cutmix"]
    parts = {
        "the images": 0 if images.mapped else images.stored,
        "the rates of every step": steps * (_A_STEP + (_MIXING if mixes else 0)),
    }
    if config["model"]["name"] == "custom":
        return parts
    # Images and rates are counted above.
    one = footprint([{**config, "device": "cpu"}], images, 1, fused=False, at_once=1)
    parts["the network and a batch"] = one.weights + one.optimizer + one.average + one.step
    if config["optimizer"]["name"] == "newton":
        size = 8 if config["precision"] == "fp64" else 4
        # The matrix is held twice; each row is a backward pass through a backward pass.
        hessian = 2 * size * (one.weights // size) ** 2
        parts["the Hessian"] = hessian + 2 * _NEWTON_ROWS * one.activations
    return parts


def _gib(count: int) -> str:
    number = count / 2**30
    return f"{number:,.1f}" if number < 1e6 else f"{number:.1e}"
