"""Checks a configuration against its data set."""

from __future__ import annotations

from collections.abc import Mapping, Set
from math import gcd
from typing import Any

from ablate import data
from ablate.config import schema
from ablate.config.course import length_of
from ablate.data.strength import excessive
from ablate.errors import AblateError
from ablate.nets import shapes
from ablate.plan.checks import count, group_is_sound, idle_in_course, model_is_sound, needed


def knows_its_data(config: Mapping[str, Any], sound: Set[str]) -> bool:
    """Tell whether all values that name the data set are legal."""
    values = config["data"]
    if any(values.get(name) is None for name in needed(config, "data")):
        return False
    return all(name in sound for name in schema.flatten(values, "data."))


def against_the_data(
    config: Mapping[str, Any], facts: data.Facts, sound: Set[str], explicit: Set[str]
) -> list[str]:
    """List what does not fit the data set."""
    if "batch_size" not in sound:
        return []
    try:
        size = sizes(config, facts)
    except AblateError as error:
        return list(error.faults)
    faults = []
    batch = config["batch_size"]
    if batch != "full" and batch > size.train and "batch_size" in explicit:
        faults.append(
            f"batch_size={batch} is more than the {count(size.train, 'training image')}: it takes"
            f" a whole number from 1 to {size.train}, or full"
        )
    elif "epochs" in sound:
        images = size.train if batch == "full" else min(batch, size.train)
        length = length_of(config["epochs"], size.train, images)
        faults += idle_in_course(config, explicit, sound, length)
    if config["norm"]["name"] == "batch" and size.train < 2:
        faults.append("norm=batch needs at least 2 training images")
    if size.val == 0:
        faults += _without_validation(config)
    if config["seeds"].get("split") is not None and not data.is_drawn(facts.counts, size):
        faults.append(
            f"seeds.split={config['seeds']['split']} touches nothing: the files of"
            f" data={config['data']['name']} fix every split"
        )
    if "data.split_by" in explicit and not data.is_drawn(facts.counts, size):
        faults.append(
            f"data.split_by={config['data']['split_by']} touches nothing: the files fix every split"
        )
    channels, height, width = shape_of(config, facts)
    given = {n: value for n, value in config["augment"].items() if f"augment.{n}" in sound}
    faults += excessive(given, channels, height, width)
    if config["model"]["name"] != "custom" and model_is_sound(config, sound):
        faults += _network(config, sound, height, width, size)
    return faults


def check_newton(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> None:
    """Refuse Newton's method if the Hessian would be too large.

    Raises:
        AblateError: The network has too many parameters; the message says how much memory the
            Hessian would need.
    """
    if config["optimizer"]["name"] != "newton":
        return
    from ablate.nets.build import build
    from ablate.optim.solvers import LARGEST, hessian_bytes

    network = build(config, shape, classes)
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    if count > LARGEST:
        raise AblateError(
            f"optimizer=newton takes at most {LARGEST:,} parameters, and the model has {count:,}:"
            f" its Hessian would need {hessian_bytes(count) / 2**30:,.1f} GiB; take a smaller model"
            " (model=mlp model.hidden=[]), or optimizer=lbfgs"
        )


def _without_validation(config: Mapping[str, Any]) -> list[str]:
    wanted = {
        "select=best": config["select"] == "best",
        "schedule=plateau": config["schedule"]["name"] == "plateau",
        "regularize.early_stopping": config["regularize"]["early_stopping"] is not None,
    }
    return [
        f"{what} needs validation images: data.val_size is 0" for what, on in wanted.items() if on
    ]


def _network(
    config: Mapping[str, Any], sound: Set[str], height: int, width: int, size: data.Sizes
) -> list[str]:
    """List what goes wrong as an image passes through a shipped network."""
    model, norm = config["model"], config["norm"]
    if shapes.illegal_depth(model) or not group_is_sound(config, "norm", sound):
        return []  # listed with the other values
    try:
        sites = shapes.norm_sites(model, height, width, norm.get("position", "before"))
    except AblateError as error:
        return list(error.faults)
    if norm["name"] == "instance":  # dense and recurrent layers have no such size
        sites = [(units, pixels) for units, pixels in sites if pixels is not None]
    for number, (units, pixels) in enumerate(sites, start=1):
        layer = f"layer {number} of model={model['name']}"
        shape = f"{units} × 1 × 1" if pixels else count(units, "unit")
        if _is_constant(norm, units, pixels or 1):
            return [
                f"norm={norm['name']} would make {layer} ({shape}) constant: it normalizes single"
                " numbers there"
            ]
        if (pixels or 1) == 1 and norm["name"] == "batch" and norm["eval"] == "batch":
            return _alone_in_evaluation(f"{layer} ({shape})", size)
    return []


def _is_constant(norm: Mapping[str, Any], units: int, pixels: int) -> bool:
    """Tell whether a per-image norm sees a single number at a time."""
    groups = {"layer": 1, "group": gcd(norm.get("groups", 1), units), "instance": units}
    return norm["name"] in groups and units // groups[norm["name"]] * pixels == 1


def _alone_in_evaluation(layer: str, size: data.Sizes) -> list[str]:
    """List splits with a single image, where batch norm needs two."""
    splits = {"training": size.train, "validation": size.val, "test": size.test}
    return [
        f"norm.eval=batch needs at least 2 {split} images: one has no batch statistics in {layer}"
        for split, number in splits.items()
        if number == 1
    ]


def shape_of(config: Mapping[str, Any], facts: data.Facts) -> tuple[int, int, int]:
    """Return channels, height and width of an image as the network sees it."""
    channels, height, width = facts.shape
    side = config["data"].get("image_size")
    return channels, side or height, side or width


def sizes(config: Mapping[str, Any], facts: data.Facts) -> data.Sizes:
    """Compute how many images each split gets."""
    values = config["data"]
    by_class = facts.by_class if values.get("split_by") == "content" else None
    asked = values.get("train_size"), values.get("val_size")
    return data.sizes(values["name"], facts.counts, *asked, by_class)
