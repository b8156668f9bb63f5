"""What can be wrong with a composed configuration; each check lists its faults, a sentence each."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence, Set
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

from ablate import conf, data, schema
from ablate.data.source import Source
from ablate.errors import AblateError, nearest
from ablate.nets.shapes import block_shapes
from ablate.plan.run import sweep_name
from ablate.schema import BY_NAME, shown

# What an option cannot do without, though its file names no value.
_NEEDED = {
    ("data", "folder"): "root",
    ("data", "custom"): "_target_",
    ("model", "custom"): "_target_",
}


def fault_of(config: Mapping[str, Any], name: str) -> str | None:
    """Say what is wrong with a knob's value, or None."""
    knob = schema.knob_of(config, name)
    return None if knob is None else knob.fault(schema.get(config, name))


def illegal(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    """List values that are not legal, and names that are no knob's."""
    faults = _needs(config, explicit)
    for name, value in schema.flatten(config).items():
        group = name.partition(".")[0]
        knob = schema.knob_of(config, name)
        if knob is None:
            if group in ("model", "data") and _option(config, group) == "custom":
                continue
            faults.append(f"there is no knob {name}{nearest(name, BY_NAME)}")
            continue
        missing = (
            value is None and _NEEDED.get((group, _option(config, group))) == name[len(group) + 1 :]
        )
        fault = None if missing else knob.fault(value)
        faults += [fault] if fault else []
    return faults


def _needs(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    faults = []
    for (group, option), part in _NEEDED.items():
        knob = BY_NAME[f"{group}.{part}"]
        if _option(config, group) != option or schema.get(config, knob.name) is not None:
            continue
        if knob.name not in explicit or knob.null:  # else its own fault has been told
            faults.append(f"{group}={option} needs {knob.name}=... ({knob.type})")
    return faults


def _option(config: Mapping[str, Any], group: str) -> str:
    return str(schema.get(config, f"{group}.name"))


def lacking(config: Mapping[str, Any]) -> list[str]:
    """Say what a configuration of the user's own leaves out."""
    wanted = list(schema.flatten(conf.top()))
    for group, options in conf.groups().items():
        if group not in config:
            wanted.append(group)
        elif group not in schema.OPTIONS:
            wanted += [f"{group}.{part}" for part in conf.option(group, options[0])]
        elif _option(config, group) in options:
            wanted += [f"{group}.{part}" for part in conf.option(group, _option(config, group))]
        else:
            wanted.append(f"{group}.name")
    lacking = [n for n in wanted if schema.get(config, n, schema.UNSET) is schema.UNSET]
    if not lacking:
        return []
    hint = "a configuration whose defaults begin with `- config` has them all"
    return [f"the configuration lacks {', '.join(lacking)}; {hint}"]


def _layers(config: Mapping[str, Any], name: str) -> int | None:
    """Count the layers that a per-layer knob speaks of, where the model says."""
    part = {"dropout.conv": "channels", "dropout.dense": "hidden"}[name]
    layers = config["model"].get(part)
    return len(layers) if isinstance(layers, list) else None


def wrong_lengths(config: Mapping[str, Any], sound: Set[str]) -> list[str]:
    """List lists of rates whose length is not the number of layers."""
    faults = []
    for name, part in (("dropout.conv", "channels"), ("dropout.dense", "hidden")):
        rates, layers = schema.get(config, name), _layers(config, name)
        if name not in sound or not isinstance(rates, list) or layers is None:
            continue
        if len(rates) != layers and layers > 0:
            have = f"model.{part}={shown(config['model'][part])}"
            faults.append(
                f"{name}={shown(rates)} has {_count(len(rates), 'rate')}, and {have} has"
                f" {_count(layers, 'layer')}: give one rate, or one for each layer"
            )
    return faults


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def idle(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    """List knobs that the request sets and that touch nothing."""
    faults = []
    for name in sorted(explicit):
        knob, value = schema.knob_of(config, name), schema.get(config, name)
        if knob is None or knob.idle is None or knob.fault(value):
            continue
        if knob.off is not schema.UNSET and _all_off(value, knob.off):
            continue
        reason = knob.idle(config)
        if reason:
            label = name.removesuffix(".name")
            faults.append(f"{label}={shown(value)} touches nothing: {reason}")
    if "dropout" in explicit:
        rates = {f"dropout.{k}": v for k, v in config["dropout"].items() if not _all_off(v, 0)}
        reasons = [BY_NAME[k].idle(config) for k in rates]  # type: ignore[misc]
        if rates and all(reasons):
            faults.append(f"dropout={_dropout_option(config)} touches nothing: {reasons[-1]}")
    return faults


def _dropout_option(config: Mapping[str, Any]) -> str:
    options = conf.groups()["dropout"]
    return next((o for o in options if conf.option("dropout", o) == config["dropout"]), "...")


def _all_off(value: Any, off: Any) -> bool:
    return all(v == off for v in value) if isinstance(value, list) and value else value == off


def contradictions(config: Mapping[str, Any], explicit: Set[str], sound: Set[str]) -> list[str]:
    """List knobs that exclude each other."""
    faults = []
    norm, model = config["norm"], config["model"]
    if config["init"]["name"] == "own" and model["name"] != "custom":
        faults.append("init=own leaves weights as your own model draws them: choose another init")
    if norm["name"] == "batch" and config.get("batch_size") == 1:
        faults.append("norm=batch needs batch_size ≥ 2: one image has no batch statistics")
    if "norm.groups" in explicit & sound and norm["name"] == "group":
        for name in {"model.channels", "model.hidden"} & sound:
            odd = [width for width in schema.get(config, name) if width % norm["groups"]]
            if odd:
                faults.append(
                    f"norm.groups={norm['groups']} does not divide {odd[0]} of"
                    f" {name}={shown(schema.get(config, name))}"
                )
    return faults


def knows_its_data(config: Mapping[str, Any], sound: Set[str]) -> bool:
    """Tell whether the values that name the data set are all legal."""
    values = config["data"]
    needed = {"folder": "root", "custom": "_target_"}.get(values["name"])
    if needed is not None and values.get(needed) is None:
        return False
    return all(name in sound for name in schema.flatten(values, "data."))


def is_at_hand(values: Mapping[str, Any]) -> bool:
    """Tell whether reading a data set downloads nothing."""
    name = values["name"]
    return name not in data.FETCHED or data.present(name, data.home(values.get("root")))


def against_the_data(
    config: Mapping[str, Any], source: Source, sound: Set[str], explicit: Set[str]
) -> list[str]:
    """List what does not fit the data set that was read."""
    if "batch_size" not in sound:
        return []
    try:
        size = sizes(config, source)
    except AblateError as error:
        return list(error.faults)
    faults = []
    batch = config["batch_size"]
    if batch != "full" and batch > size.train and "batch_size" in explicit:
        faults.append(
            f"batch_size={batch} is more than the {_count(size.train, 'training image')}: it takes"
            f" a whole number from 1 to {size.train}, or full"
        )
    if config["norm"]["name"] == "batch" and size.train < 2:
        faults.append("norm=batch needs at least 2 training images")
    if size.val == 0 and config["select"] == "best":
        faults.append("select=best needs validation images: data.val_size is 0")
    if config["model"]["name"] == "cnn" and _model_is_sound(sound):
        side = config["data"].get("image_size")
        _, height, width = source.shape
        try:
            blocks = block_shapes(config["model"], side or height, side or width)
        except AblateError as error:
            return [*faults, *error.faults]
        pixels = [block.rows * block.columns for block in blocks]
        faults += _constant(config["norm"], "model.channels", config["model"], pixels)
    if config["model"]["name"] != "custom" and "model.hidden" in sound:
        ones = [1] * len(config["model"]["hidden"])
        faults += _constant(config["norm"], "model.hidden", config["model"], ones)
    return faults


def _constant(
    norm: Mapping[str, Any], name: str, model: Mapping[str, Any], pixels: Sequence[int]
) -> list[str]:
    """List layers in which a norm has one number a group, of which it leaves a constant."""
    if norm["name"] not in ("group", "instance"):
        return []
    widths = model[name.partition(".")[2]]
    for width, count in zip(widths, pixels, strict=True):
        groups = width if norm["name"] == "instance" else gcd(norm["groups"], width)
        if norm["name"] == "instance" and name == "model.hidden":
            continue  # dense layers have no instance norm
        if width // groups * count == 1:
            return [
                f"norm={norm['name']} would leave a constant of {width} in {name}={shown(widths)}:"
                " each of its groups is a single number there"
            ]
    return []


def _model_is_sound(sound: Set[str]) -> bool:
    parts = ("channels", "kernel_size", "stride", "padding", "pool")
    return {f"model.{part}" for part in parts} <= sound


def sizes(config: Mapping[str, Any], source: Source) -> data.Sizes:
    """Work out how many images each split gets."""
    counts = {name: len(part.labels) for name, part in source.parts.items()}
    values = config["data"]
    return data.sizes(values["name"], counts, values.get("train_size"), values.get("val_size"))


def unwritable(config: Mapping[str, Any]) -> list[str]:
    """Say why runs cannot be recorded where they are to be."""
    if not isinstance(config.get("out"), str | int | float) or config["out"] == "":
        return []
    place = Path(str(config["out"])).expanduser() / str(sweep_name(config))
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
    except OSError as error:  # a name that is too long, say
        return [f"name={shown(sweep_name(config))} is no name for a folder ({error.strerror})"]
    if not place.is_dir():
        return [f"out={config['out']}: {place} is a file, and runs cannot be recorded below it"]
    try:
        with tempfile.TemporaryFile(dir=place):
            return []
    except OSError as error:
        return [f"out={config['out']}: {place} is not writable ({error.strerror}); name another"]


def try_own_model(config: Mapping[str, Any], source: Source) -> str | None:
    """Build the user's network and send two images through it, before anything starts.

    Returns:
        Why it cannot be batched under vmap, or None.

    Raises:
        AblateError: It does not build, or does not map images to logits.
    """
    size = config["data"].get("image_size")
    wanted = {"model": config["model"], "init": config["init"], "precision": config["precision"]}
    channels, height, width = source.shape
    shape = (channels, size or height, size or width)
    return _tried(json.dumps(wanted, sort_keys=True), shape, len(source.classes))


@cache
def _tried(wanted: str, shape: tuple[int, int, int], classes: int) -> str | None:
    import torch

    from ablate.nets.build import build
    from ablate.nets.own import seeded
    from ablate.stack import unbatchable

    config = json.loads(wanted) | {"seed": 0, "seeds": {"init": None}}
    module = build(config, shape, classes)
    target = config["model"]["_target_"]
    try:
        with torch.no_grad(), seeded(0):
            tried = [module.train(mode)(torch.zeros(2, *shape)) for mode in (True, False)]
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"model._target_={target} does not take images of shape {list(shape)}:"
            f" {type(error).__name__}: {error}"
        ) from error
    for mode, logits in zip(("training", "evaluation"), tried, strict=True):
        if isinstance(logits, torch.Tensor) and logits.shape == (2, classes):
            continue
        got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise AblateError(
            f"model._target_={target} gives {got} for 2 images in {mode}: logits [2, {classes}]"
            " are needed"
        )
    if not any(p.requires_grad for p in module.parameters()):
        raise AblateError(f"model._target_={target} has no parameter to train")
    return unbatchable(module, torch.zeros(2, *shape))
