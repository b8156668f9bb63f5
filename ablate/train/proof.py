"""Proof that what is on has an effect, before training, on the actual network and batches.

A knob that passed planning but does nothing would give a wrong answer. So dropout and norm layers
are looked up in the built network, whitening must have been fitted, a penalty must find weights,
and each transformation must change an image. What was found goes into the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from ablate.config import files, schema
from ablate.config.effect import ON_IMAGES, RATES
from ablate.data.tensors import Tensors
from ablate.errors import AblateError
from ablate.nets.dropout import Dropout
from ablate.nets.weights import weights
from ablate.nets.whiten import Whitening
from ablate.regularize.registry import PENALTIES, WEIGHT_LIMITS
from ablate.train.batches import Batches
from ablate.train.objective import Objective

Config = Mapping[str, Any]

_NORMS = (torch.nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
_STEPS = 50  # most steps to look for a changed image
_ENOUGH = 20  # mirror images to expect before their absence counts as proof


def acting(config: Config, network: nn.Module) -> dict[str, Any]:
    """Say what acts in a run and how strongly.

    Args:
        config: Its configuration.
        network: Its network, as built.

    Returns:
        Name -> strength, as the record holds it: ``dropout/<layer>``, ``norm`` and ``whiten`` as
        found in the network, ``regularize/<method>`` and ``augment/<transformation>`` as
        configured, ``own``: the user's own parts, by slot; ``parameters``: how many numbers each
        penalty or limit of weights touches.
    """
    optimizer, schedule = config["optimizer"], config["schedule"]
    touched = _touched(config, network)
    return {
        **_dropout(config, network),
        **_norm(config, network),
        **_whitening(network),
        **({"weight_decay": w} if (w := optimizer.get("weight_decay")) else {}),
        **({"schedule": schedule["name"]} if schedule["name"] != "constant" else {}),
        **({"warmup_epochs": w} if (w := schedule["warmup_epochs"]) else {}),
        **({"own": own} if (own := schema.targets(config)) else {}),
        **({"parameters": touched} if touched else {}),
        **{f"{g}/{n}": v for g in ("regularize", "augment") for n, v in _on(config, g)},
    }


def _on(config: Config, group: str) -> Iterator[tuple[str, Any]]:
    """List the knobs of a group that are not at their off value."""
    for name, value in config[group].items():
        knob = schema.BY_NAME.get(f"{group}.{name}")
        if knob is not None and not schema.is_off(knob, value):
            yield name, value


def _dropout(config: Config, network: nn.Module) -> dict[str, Any]:
    layers = {
        f"dropout/{name}": layer.p
        for name, layer in network.named_modules()
        if isinstance(layer, Dropout) and layer.p > 0
    }
    own = config["model"]["name"] == "custom"
    told = {} if own else {n: v for n, v in _on(config, "dropout") if n not in RATES}
    if told.get("_target_"):
        return {"dropout": told | {n: v for n, v in _on(config, "dropout") if n in RATES}}
    return layers | ({"dropout": told} if layers and told else {})


def _norm(config: Config, network: nn.Module) -> dict[str, Any]:
    kinds = [type(m).__name__ for m in network.modules() if isinstance(m, _NORMS)]
    if config["norm"]["name"] == "custom" and config["model"]["name"] != "custom":
        return {"norm": {"kind": config["norm"]["_target_"]}}
    own = config["model"]["name"] == "custom"
    kind = "+".join(sorted(set(kinds))) if own else config["norm"]["name"]
    return {"norm": {"kind": kind, "layers": len(kinds)}} if kinds else {}


def _whitening(network: nn.Module) -> dict[str, Any]:
    for layer in network.modules():
        if isinstance(layer, Whitening) and bool(layer.weight.any()):  # zero until it is fitted
            return {"whiten": {"side": layer.kernel_size[0], "filters": layer.out_channels}}
    return {}


def _touched(config: Config, network: nn.Module) -> dict[str, int]:
    trained = {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}
    of_weights = sum(trained.get(name, 0) for name in weights(network))
    on = dict(_on(config, "regularize"))
    found = {name: of_weights for name in (*PENALTIES, *WEIGHT_LIMITS) if name in on}
    decays = bool(config["optimizer"].get("weight_decay"))
    return found | ({"weight_decay": sum(trained.values())} if decays else {})


# -- the proof -------------------------------------------------------------------------------------


def prove(config: Config, network: nn.Module, objective: Objective, data: Tensors) -> None:
    """Check that what is on has an effect; once per stack, whose runs have the same things on.

    Args:
        config: Configuration of one of its runs.
        network: That run's network, as built.
        objective: What is minimized.
        data: The data set.

    Raises:
        AblateError: Something is on and does nothing.
    """
    found = acting(config, network)
    faults = [
        f"regularize.{name} touches nothing: the network has no matrix of weights"
        for name in (*PENALTIES, *WEIGHT_LIMITS)
        if f"regularize/{name}" in found and not objective.weights
    ]
    if config["model"]["name"] != "custom":
        faults += _missing(config, found)
    faults += [
        f"{group}.{name}={schema.shown(value)} touches nothing: it leaves the training images as"
        " they are"
        for group, name, value in _on_images(config)
        if not _changes(config, group, name, data)
    ]
    if faults:
        raise AblateError(*faults)


def _missing(config: Config, found: Config) -> list[str]:
    """List what is on in the configuration but missing in the network."""
    faults = []
    rates = [schema.BY_NAME[f"dropout.{n}"] for n, _ in _on(config, "dropout") if n in RATES]
    if any(knob.idle is None or knob.idle(config) is None for knob in rates) and not any(
        name.startswith("dropout") for name in found
    ):
        faults.append(f"{rates[0].name} touches nothing: no layer of the network drops")
    if config["norm"]["name"] != "none" and "norm" not in found:
        faults.append(f"norm={config['norm']['name']} touches nothing: no layer is normalized")
    if (side := config["model"].get("whiten")) and "whiten" not in found:
        faults.append(f"model.whiten={side} touches nothing: no layer was fitted to the images")
    return faults


def _on_images(config: Config) -> Iterator[tuple[str, str, Any]]:
    for group in ("augment", "regularize"):
        for name, value in _on(config, group):
            if name in ON_IMAGES or (group == "augment" and name != "test_views"):
                yield group, name, value


def _changes(config: Config, group: str, name: str, data: Tensors) -> bool:
    """Try one transformation by itself, until an image has changed."""
    plain = {**config, **{g: files.option(g, "none") for g in ("augment", "regularize")}}
    extra = schema.arguments(config, group) if name == "_target_" else {}
    alone = plain | {group: plain[group] | {name: config[group][name]} | extra}
    with_it, without = Batches([alone], data), Batches([plain], data)
    # With a low chance of flips, a few steps may have none.
    chance = config[group][name] if name == "flip" else 1.0
    expected = 0.0
    for step in range(min(with_it.length.steps, _STEPS)):
        x_RBCHW, _ = with_it.at(step)
        if not torch.equal(x_RBCHW, without.at(step)[0]):
            return True
        expected += (chance if isinstance(chance, float) else 1) * x_RBCHW.shape[1]
    return expected < _ENOUGH
