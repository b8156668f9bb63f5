"""What is the user's own: `model._target_=package.module.Class`, or a part of a shipped network.

Further `model.*` values are passed to the constructor. Where its parameters include
``in_channels``, ``image_size`` or ``num_classes``, they are filled in from the data. It maps images
[B, C, H, W] to logits [B, K]. A dropout gets its rate, a norm its width, an activation nothing; and
each the further values of its group.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ablate import rng
from ablate.config.targets import locate
from ablate.errors import AblateError
from ablate.nets.dropout import with_own_dropout


def arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the values that the user's constructor gets: those that are no knob of this project."""
    return {k: v for k, v in model.items() if k not in ("name", "_target_")}


def build(
    model: Mapping[str, Any], shape: tuple[int, int, int], classes: int, seed: int
) -> nn.Module:
    """Make the user's network, its constructor's random numbers taken from the run's own stream.

    Args:
        model: The `model` part of a configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.
        seed: The seed of the initial weights.

    Raises:
        AblateError: The target does not import, does not build, or is no `nn.Module`.
    """
    target = model["_target_"]
    cls = _located(target, "model._target_")
    known = {"in_channels": shape[0], "image_size": shape[1], "num_classes": classes}

    def make() -> Any:
        asked = set(inspect.signature(cls).parameters)
        filled = {name: value for name, value in known.items() if name in asked}
        built = cls(**(filled | arguments(model)))
        _materialize(built, shape)
        return built

    with rng.seeded(int(rng.stream(seed, "init"))):
        return _made(make, target, "model._target_")


def part(target: str, knob: str, *arguments: Any, **extra: Any) -> nn.Module:
    """Make a part of a network, a class of the user's.

    Args:
        target: ``package.module.Class``.
        knob: The knob that holds it, for the message.
        arguments: What a part of that kind is told: a rate, a width, or nothing.
        extra: The further values of its group.

    Raises:
        AblateError: The target does not import, does not build, or is no `nn.Module`.
    """
    cls = _located(target, knob)
    return _made(lambda: cls(*arguments, **extra), target, knob)


def _located(target: str, knob: str) -> Any:
    cls = locate(target, knob)
    if inspect.isclass(cls) and not issubclass(cls, nn.Module):
        raise AblateError(f"{knob}={target} is no torch.nn.Module: one is needed")
    return cls


def _made(make: Callable[[], Any], target: str, knob: str) -> nn.Module:
    try:
        built = make()
    # The user's constructor may raise anything.
    except Exception as error:
        raise AblateError(
            f"{knob}={target} does not build: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(built, nn.Module):
        raise AblateError(
            f"{knob}={target} gives a {type(built).__name__}: a torch.nn.Module is needed"
        )
    return with_own_dropout(built)


def _materialize(module: Any, shape: tuple[int, int, int]) -> None:
    """Give lazy layers their shapes, by one pass."""
    if isinstance(module, nn.Module) and any(map(nn.parameter.is_lazy, module.parameters())):
        with torch.no_grad():
            module.eval()(torch.zeros(2, *shape))
