"""The user's own network, `model._target_=package.module.Class`, or a part of a shipped one.

Further `model.*` values are passed to the constructor; those with their own ``_target_`` are
constructed first, as Hydra does it (``_partial_`` too). Parameters called ``in_channels``,
``image_size`` or ``num_classes`` are filled in from the data. A network maps images [B, C, H, W] to
logits [B, K]. A dropout gets its rate, a norm its width, an activation nothing; each also gets the
further values of its group.
"""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ablate import rng
from ablate.config.targets import Kind, instantiated, locate
from ablate.errors import AblateError, nearest
from ablate.nets.own_dropout import with_own_dropout

MODULE = Kind("torch.nn.Module", lambda cls: issubclass(cls, nn.Module))


def arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the values for the user's constructor: those that are not knobs of this project."""
    return {k: v for k, v in model.items() if k not in ("name", "_target_")}


def build(
    model: Mapping[str, Any], shape: tuple[int, int, int], classes: int, seed: int
) -> nn.Module:
    """Make the user's network; its constructor draws random numbers from the run's stream.

    Args:
        model: The `model` part of a configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.
        seed: The seed of the initial weights.

    Raises:
        AblateError: The target cannot be imported or constructed, or is not an `nn.Module`.
    """
    target = model["_target_"]
    cls = locate(target, "model._target_", MODULE)
    known = {"in_channels": shape[0], "image_size": shape[1], "num_classes": classes}

    def make() -> Any:
        asked = set(inspect.signature(cls).parameters)
        filled = {name: value for name, value in known.items() if name in asked}
        built = cls(**(filled | given))
        _materialize(built, shape)
        return built

    _require_used(cls, arguments(model), target)
    with rng.seeded(int(rng.stream(seed, "init"))):
        given = {k: instantiated(v, f"model.{k}") for k, v in arguments(model).items()}
        return _made(make, target, "model._target_", classes_hint(model, classes))


def classes_hint(model: Mapping[str, Any], classes: int) -> str:
    """Name the argument of the user's network that may be its number of classes.

    Args:
        model: The `model` part of a configuration.
        classes: Number of classes K.

    Returns:
        The end of a sentence; empty if ``num_classes`` is filled in, or no argument looks like it.
    """
    parameters = inspect.signature(locate(model["_target_"], "model._target_", MODULE)).parameters
    if "num_classes" in parameters:
        return ""
    names = [n for n in parameters if re.search("class|label|categor|out", n) and n not in model]
    best = sorted(names, key=lambda name: "class" not in name)[:1]
    return "".join(
        f"; if {name} is its number of classes, give model.{name}={classes} (an argument called"
        " num_classes is filled in)"
        for name in best
    )


def _require_used(cls: Any, given: Mapping[str, Any], target: str) -> None:
    """Check that no argument is swallowed by a ``**kwargs`` that the constructor never reads.

    Raises:
        AblateError: One is; it may be a misspelt knob, which would touch nothing.
    """
    parameters = inspect.signature(cls).parameters.values()
    swallow = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD]
    named = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    lost = [name for name in given if name not in named]
    if not swallow or not lost or swallow[0] in _names_read(cls):
        return
    raise AblateError(
        *(
            f"model.{name} touches nothing: {target} takes it into **{swallow[0]}, which it never"
            f" reads{nearest(name, named)}"
            for name in lost
        )
    )


def _names_read(cls: Any) -> set[str]:
    """List the names that a constructor's or function's code reads."""
    code = getattr(getattr(cls, "__init__", cls) if inspect.isclass(cls) else cls, "__code__", None)
    if code is None:  # not written in Python
        return {p.name for p in inspect.signature(cls).parameters.values()}
    found, codes = set[str](), [code]
    while codes:
        one = codes.pop()
        for instruction in dis.get_instructions(one):
            if "LOAD" in instruction.opname:  # from Python 3.13 on, some load two names
                names = instruction.argval
                found |= set(names) if isinstance(names, tuple) else {names}
        codes += [constant for constant in one.co_consts if inspect.iscode(constant)]
    return {str(name) for name in found}


def part(target: str, knob: str, *arguments: Any, **extra: Any) -> nn.Module:
    """Make a part of a network from the user's class.

    Args:
        target: ``package.module.Class``.
        knob: The knob that holds it, for the message.
        arguments: What such a part gets: a rate, a width, or nothing.
        extra: The further values of its group.

    Raises:
        AblateError: The target cannot be imported or constructed, or is not an `nn.Module`.
    """
    cls = locate(target, knob, MODULE)
    return _made(lambda: cls(*arguments, **extra), target, knob)


def _made(make: Callable[[], Any], target: str, knob: str, hint: str = "") -> nn.Module:
    try:
        built = make()
    # The user's constructor may raise anything.
    except Exception as error:
        raise AblateError(
            f"{knob}={target} does not build: {type(error).__name__}: {error}{hint}"
        ) from error
    if not isinstance(built, nn.Module):
        raise AblateError(
            f"{knob}={target} gives a {type(built).__name__}: a torch.nn.Module is needed"
        )
    return with_own_dropout(built)


def _materialize(module: Any, shape: tuple[int, int, int]) -> None:
    """Give lazy layers their shapes by a forward pass."""
    if isinstance(module, nn.Module) and any(map(nn.parameter.is_lazy, module.parameters())):
        with torch.no_grad():
            module.eval()(torch.zeros(2, *shape))
