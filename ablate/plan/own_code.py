"""Tries what is the user's own, before anything starts: it is made, fits, and does something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ablate.config import schema
from ablate.config.targets import source_digest
from ablate.errors import AblateError

if TYPE_CHECKING:
    from torch import Tensor, nn

_IN_THE_NETWORK = ("model", "model.activation", "dropout", "norm")
_TRIES = 20  # of an augmentation that leaves many batches as they are
_NEEDED = ("model", "init", "norm", "dropout", "regularize", "augment", "precision")


def digests(config: Mapping[str, Any]) -> dict[str, str]:
    """Digest the files that define what is the user's own; a data set has a digest of its own."""
    own = schema.targets(config)
    found = {slot: source_digest(target) for slot, target in own.items() if slot != "data"}
    return {slot: digest for slot, digest in found.items() if digest is not None}


def try_out(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> str | None:
    """Try everything of the user's own once on a few images.

    Args:
        config: A resolved configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.

    Returns:
        Why the network cannot be batched under vmap, or None.

    Raises:
        AblateError: Something does not build, does not fit or does nothing.
    """
    own = schema.targets(config)
    wanted = json.dumps({name: config[name] for name in _NEEDED}, sort_keys=True)
    return _tried(wanted, tuple(own), shape, classes) if set(own) - {"data"} else None


@cache
def _tried(
    wanted: str, slots: tuple[str, ...], shape: tuple[int, int, int], classes: int
) -> str | None:
    from ablate.nets.build import build
    from ablate.rng import seeded

    config = json.loads(wanted) | {"seed": 0, "seeds": {"init": None}}
    with seeded(0):
        network = build(config, shape, classes)
    inside = [slot for slot in slots if slot in _IN_THE_NETWORK]
    named = ", ".join(f"{slot}._target_={schema.targets(config)[slot]}" for slot in inside)
    alone = _try_network(network, named, shape, classes) if inside else None
    if "regularize" in slots:
        _try_penalty(config, network)
    if "augment" in slots:
        _try_augmentation(config, shape)
    return alone


def _try_network(
    network: nn.Module, named: str, shape: tuple[int, int, int], classes: int
) -> str | None:
    import torch

    from ablate.rng import seeded
    from ablate.train.batchable import unbatchable

    try:
        with torch.no_grad(), seeded(0):
            tried = [network.train(mode)(torch.zeros(2, *shape)) for mode in (True, False)]
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"{named} does not take images of shape {list(shape)}: {type(error).__name__}: {error}"
        ) from error
    for mode, logits in zip(("training", "evaluation"), tried, strict=True):
        if isinstance(logits, torch.Tensor) and logits.shape == (2, classes):
            continue
        got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise AblateError(
            f"{named} gives {got} for 2 images in {mode}: logits [2, {classes}] are needed"
        )
    if not any(p.requires_grad for p in network.parameters()):
        raise AblateError(f"{named} has no parameter to train")
    return unbatchable(network, torch.zeros(2, *shape))


def _try_penalty(config: Mapping[str, Any], network: nn.Module) -> None:
    import torch

    from ablate.train.objective import own_penalty

    penalty, target = own_penalty(config), config["regularize"]["_target_"]
    assert penalty is not None, "it is asked for where there is one"
    # Away from initial weights that are all alike: a penalty may have no slope there.
    parameters = {
        name: (p.detach() + torch.linspace(0.5, 1, p.numel()).view(p.shape)).requires_grad_()
        for name, p in network.named_parameters()
    }
    try:
        value = penalty(parameters)
        slopes = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
    except AblateError:
        raise
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"regularize._target_={target} does not take the parameters (a dict, name -> tensor):"
            f" {type(error).__name__}: {error}"
        ) from error
    if not any(bool(slope.any()) for slope in slopes):
        raise AblateError(f"regularize._target_={target} touches nothing: its gradient is zero")


def _try_augmentation(config: Mapping[str, Any], shape: tuple[int, int, int]) -> None:
    import torch

    from ablate.data.augment import own
    from ablate.rng import seeded

    augment, target = own(config), config["augment"]["_target_"]
    assert augment is not None, "it is asked for where there is one"
    x_BCHW: Tensor = torch.linspace(-2, 2, 8 * shape[0] * shape[1] * shape[2]).view(8, *shape)
    try:
        with torch.no_grad(), seeded(0):
            changes = any(not torch.equal(augment(x_BCHW), x_BCHW) for _ in range(_TRIES))
    except AblateError:
        raise
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"augment._target_={target} does not take images {list(x_BCHW.shape)}:"
            f" {type(error).__name__}: {error}"
        ) from error
    if not changes:
        raise AblateError(
            f"augment._target_={target} touches nothing: it gave {_TRIES} batches back as they were"
        )
