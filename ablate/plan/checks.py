"""Checks a composed configuration; each check lists its faults, one sentence each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from ablate.config import effect, effect_in_course, files, schema
from ablate.config.course import Length, warmup_steps
from ablate.config.schema import BY_NAME, shown
from ablate.errors import nearest
from ablate.nets import shapes
from ablate.plan.run import sweep_name


def sound_names(config: Mapping[str, Any]) -> set[str]:
    """Name the legal values."""
    entries = schema.entries(config)
    return {name for name, value, knob in entries if knob is None or not knob.fault(value)}


def illegal(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    """List illegal values, and names that are not knobs."""
    faults = _needs(config, explicit)
    for name, value, knob in schema.entries(config):
        group, _, part = name.partition(".")
        if knob is None:
            if not schema.is_argument(config, name):
                faults.append(f"there is no knob {name}{nearest(name, BY_NAME)}")
            continue
        missing = value is None and part in needed(config, group)
        fault = None if missing else knob.fault(value)
        faults += [fault] if fault else []
    return faults


def _needs(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    faults = []
    for knob in [BY_NAME[f"{g}.{part}"] for g in schema.OPTIONS for part in needed(config, g)]:
        if schema.get(config, knob.name) is not None:
            continue
        if knob.name not in explicit or knob.null:  # otherwise its own fault is already listed
            option = _option(config, knob.group)
            faults.append(f"{knob.group}={option} needs {knob.name}=... ({knob.type})")
    return faults


def needed(config: Mapping[str, Any], group: str) -> list[str]:
    """Name what a group's option requires: the values that its file leaves open."""
    option = _option(config, group)
    if option not in files.groups().get(group, ()):
        return []
    return [part for part, value in files.option(group, option).items() if value == "???"]


def _option(config: Mapping[str, Any], group: str) -> str:
    return str(schema.get(config, f"{group}.name"))


def lacking(config: Mapping[str, Any]) -> list[str]:
    """Say what a user's own configuration leaves out."""
    wanted = [name for name in schema.flatten(files.top()) if name not in schema.LATER]
    for group, options in files.groups().items():
        if group not in config:
            wanted.append(group)
        elif group not in schema.OPTIONS:
            wanted += [f"{group}.{part}" for part in files.option(group, options[0])]
        elif _option(config, group) in options:
            wanted += [f"{group}.{part}" for part in files.option(group, _option(config, group))]
        else:
            wanted.append(f"{group}.name")
    lacking = [n for n in wanted if schema.get(config, n, schema.UNSET) is schema.UNSET]
    if not lacking:
        return []
    hint = "a configuration whose defaults begin with `- config` has them all"
    return [f"the configuration lacks {', '.join(lacking)}; {hint}"]


def wrong_lengths(config: Mapping[str, Any], sound: Set[str]) -> list[str]:
    """List per-layer lists whose length is not the number of layers."""
    model = config["model"]
    if model["name"] == "custom" or not model_is_sound(config, sound):
        return []
    if wrong := shapes.illegal_depth(model):
        return [wrong]
    counts = {
        "dropout.conv": (shapes.conv_layers(model), "rate", "convolutional layer"),
        "dropout.dense": (shapes.dense_layers(model), "rate", "hidden layer"),
        "init.layers": (shapes.weighted_layers(model), "scheme", "layer with weights"),
    }
    faults = []
    for name, (layers, what, which) in counts.items():
        values = schema.get(config, name)
        if name in sound and isinstance(values, list) and layers not in (0, len(values)):
            faults.append(
                f"{name}={shown(values)} has {count(len(values), what)}, and model={model['name']}"
                f" has {_layers(layers, which)}: give one for each layer"
                + ("" if name == "init.layers" else ", or one for all")
            )
    return faults


def model_is_sound(config: Mapping[str, Any], sound: Set[str]) -> bool:
    """Tell whether all values of the model are legal."""
    return group_is_sound(config, "model", sound)


def group_is_sound(config: Mapping[str, Any], group: str, sound: Set[str]) -> bool:
    """Tell whether all values of a group are legal."""
    return all(name in sound for name in schema.flatten(config[group], f"{group}."))


def _layers(number: int, which: str) -> str:
    return f"{number} {which if number == 1 else which.replace('layer', 'layers')}"


def count(number: int, what: str) -> str:
    """Write a count with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def idle(config: Mapping[str, Any], explicit: Set[str]) -> list[str]:
    """List knobs that the request sets but that have no effect."""
    faults = []
    for knob, value in _turned_on(config, explicit):
        if knob.idle and (reason := knob.idle(config)):
            faults.append(_touches_nothing(knob, value, reason))
    if "dropout" in explicit:
        knobs = [BY_NAME[f"dropout.{name}"] for name in effect.RATES]
        on = [knob for knob in knobs if not schema.is_off(knob, schema.get(config, knob.name))]
        reasons = [knob.idle(config) for knob in on if knob.idle]
        if reasons and all(reasons):
            faults.append(f"dropout={_dropout_option(config)} touches nothing: {reasons[-1]}")
    return faults


def _turned_on(config: Mapping[str, Any], explicit: Set[str]) -> Iterator[tuple[schema.Knob, Any]]:
    """List the knobs that the request sets to a legal value that should have an effect."""
    for name in sorted(explicit):
        knob, value = schema.knob_of(config, name), schema.get(config, name)
        if knob is not None and not knob.fault(value) and not schema.is_off(knob, value):
            yield knob, value


def _touches_nothing(knob: schema.Knob, value: Any, reason: str) -> str:
    return f"{knob.name.removesuffix('.name')}={shown(value)} touches nothing: {reason}"


def idle_in_course(
    config: Mapping[str, Any], explicit: Set[str], sound: Set[str], length: Length
) -> list[str]:
    """List knobs that the request sets but that have no effect within the number of steps."""
    if not group_is_sound(config, "schedule", sound):
        return []
    if too_many := _too_many_cycles(config, explicit, length):
        return too_many
    found = {
        knob.name: _touches_nothing(knob, value, reason)
        for knob, value in _turned_on(config, explicit)
        if knob.idle_in is not None
        and group_is_sound(config, knob.group, sound)
        and not (knob.idle and knob.idle(config))  # already reported
        and (reason := knob.idle_in(config, length))
    }
    # Report what keeps the rate constant, rather than the schedule and factor it disables.
    of_rate = [name for name in found if name.startswith("schedule.") and "warmup" not in name]
    for disarmed in ("schedule.name", "schedule.gamma"):
        if disarmed in of_rate and len(of_rate) > 1:
            of_rate.remove(disarmed)
            del found[disarmed]
    if "schedule.milestones" in explicit & sound and "schedule.milestones" not in found:
        return [*found.values(), *_late_milestones(config, length)]
    return list(found.values())


def _late_milestones(config: Mapping[str, Any], length: Length) -> list[str]:
    schedule = config["schedule"]
    return [
        f"schedule.milestones={shown(schedule['milestones'])}: at {milestone} the rate would fall"
        f" after the last of {effect_in_course.steps_to_fill(schedule, length)}"
        for milestone in effect_in_course.late_milestones(config, length)
    ]


def _too_many_cycles(config: Mapping[str, Any], explicit: Set[str], length: Length) -> list[str]:
    schedule = config["schedule"]
    steps = length.steps - warmup_steps(schedule, length)
    if "schedule.cycles" not in explicit or schedule["cycles"] <= max(steps // 2, 1):
        return []
    return [
        f"schedule.cycles={schedule['cycles']} is too much for"
        f" {effect_in_course.steps_to_fill(schedule, length)}: a cycle takes at least 2"
    ]


def _dropout_option(config: Mapping[str, Any]) -> str:
    options = files.groups()["dropout"]
    return next((o for o in options if files.option("dropout", o) == config["dropout"]), "...")


def contradictions(config: Mapping[str, Any], explicit: Set[str], sound: Set[str]) -> list[str]:
    """List knobs that exclude one another."""
    norm, model, regularize = config["norm"], config["model"], config["regularize"]
    optimizer = config["optimizer"]
    own = model["name"] == "custom"
    faults = []
    if config["init"]["name"] == "own" and not own:
        faults.append(
            "init=own is for your own model, which draws its weights: choose another init"
        )
    if config["init"].get("gain") == "auto" and not isinstance(model.get("activation"), str):
        faults.append(
            "init.gain=auto knows only the gains of the shipped activations, and"
            f" model={model['name']} uses none of them here: give a number"
        )
    if norm["name"] == "batch" and config.get("batch_size") == 1:
        faults.append("norm=batch needs batch_size ≥ 2: one image has no batch statistics")
    if config["dropout"].get("kind") == "dropconnect" and config["dropout"].get("input"):
        faults.append(
            "dropout.kind=dropconnect drops weights, and the input has none: set dropout.input=0"
            " (dropout.conv or dropout.dense drop the first layer's weights)"
        )
    if optimizer["name"] == "nesterov" and optimizer.get("momentum") == 0:
        faults.append(
            "optimizer=nesterov looks ahead by its momentum: with optimizer.momentum=0 it is"
            " optimizer=sgd"
        )
    if regularize.get("ema") and regularize.get("swa") is not None:
        faults.append("regularize.ema and regularize.swa both average the weights: choose one")
    milestones = config["schedule"].get("milestones")
    if "schedule.milestones" in sound and milestones != sorted(set(milestones or [])):
        faults.append(f"schedule.milestones={shown(milestones)} must rise from one to the next")
    return faults + _odd_groups(config, explicit, sound)


def _odd_groups(config: Mapping[str, Any], explicit: Set[str], sound: Set[str]) -> list[str]:
    norm = config["norm"]
    if "norm.groups" not in explicit & sound or norm["name"] != "group":
        return []
    faults = []
    for name in sorted({"model.channels", "model.hidden", "model.width"} & sound):
        widths = schema.get(config, name)
        odd = [w for w in (widths if isinstance(widths, list) else [widths]) if w % norm["groups"]]
        if odd:
            faults.append(
                f"norm.groups={norm['groups']} does not divide {odd[0]} of {name}={shown(widths)}"
            )
    return faults


def unwritable(config: Mapping[str, Any]) -> list[str]:
    """Say why runs cannot be recorded in their folder."""
    if not isinstance(config.get("out"), str | int | float) or config["out"] == "":
        return []
    place = Path(str(config["out"])).expanduser() / str(sweep_name(config))
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
    except OSError as error:  # for example, a name that is too long
        return [f"name={shown(sweep_name(config))} cannot be a folder's name ({error.strerror})"]
    if not place.is_dir():
        return [f"out={config['out']}: {place} is a file, so no runs can be recorded below it"]
    try:
        with tempfile.TemporaryFile(dir=place):
            return []
    except OSError as error:
        return [f"out={config['out']}: {place} is not writable ({error.strerror}); name another"]
