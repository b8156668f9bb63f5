"""Tries the user's own code before anything starts: it builds, fits, and has an effect.

If runs would train on a GPU it is tried there as well: a tensor created on the CPU fails only when
it meets one on the device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ablate import environment
from ablate.config import schema
from ablate.config.knobs.run import CLUSTERS
from ablate.config.targets import source_digest
from ablate.errors import AblateError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_IN_THE_NETWORK = ("model", "model.activation", "dropout", "norm")
_TRIES = 20  # an augmentation may leave many batches unchanged
_WHERE = (
    "on the CPU it works. Make each tensor where the input is, device=x.device or x.new_zeros(...);"
    " register tensors that a module keeps as buffers (register_buffer)"
)
_DETERMINISTIC = "deterministic=true refuses it: use another operation, or deterministic=false"
_NEEDED = (
    *("model", "init", "norm", "dropout", "regularize", "augment", "precision", "deterministic"),
)


def digests(config: Mapping[str, Any]) -> dict[str, str]:
    """Digest only the files of the user's classes, as in keys of older records, without `code`."""
    own = schema.targets(config)
    found = {slot: source_digest(target) for slot, target in own.items() if slot != "data"}
    if "model" in own:  # its arguments may name more
        inside = schema.flatten(schema.arguments(config, "model"), "model.")
        named = {n: v for n, v in inside.items() if n.endswith("._target_")}
        found |= {name: source_digest(str(target)) for name, target in named.items()}
    return {slot: digest for slot, digest in found.items() if digest is not None}


@dataclass(frozen=True)
class Trial:
    """The result of trying the user's own network.

    Attributes:
        alone: Why it cannot be batched under vmap, or None.
        plain: Why it gets its images channels first in memory, or None.
    """

    alone: str | None = None
    plain: str | None = None


def try_out(
    config: Mapping[str, Any],
    shape: tuple[int, int, int],
    classes: int,
    code: Mapping[str, Any] | None = None,
) -> Trial:
    """Try all of the user's own code once on a few images, and again when it has changed.

    Args:
        config: A resolved configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.
        code: The user's own code that it uses, as digested by `ablate.plan.code`.

    Raises:
        AblateError: Something does not build, does not fit, has no effect, or does not work on the
            device.
    """
    slots = tuple(schema.targets(config))
    if not set(slots) - {"data"}:
        return Trial()
    wanted = json.dumps({name: config[name] for name in _NEEDED}, sort_keys=True)
    # A cluster's devices are not known here.
    asked = "auto" if config["launch"] in CLUSTERS else config["device"]
    device = environment.resolved_device(asked)
    return _tried(wanted, slots, shape, classes, device, json.dumps(code))


@cache
def _tried(
    wanted: str,
    slots: tuple[str, ...],
    shape: tuple[int, int, int],
    classes: int,
    device: str,
    code: str,
) -> Trial:
    from ablate.nets.build import build
    from ablate.rng import seeded
    from ablate.train.deterministic import deterministic

    config = json.loads(wanted) | {"seed": 0, "seeds": {"init": None}}
    with seeded(0):
        network = build(config, shape, classes).to(_dtype(config))
    alone = plain = None
    in_the_network = bool(set(slots) & set(_IN_THE_NETWORK))
    if in_the_network:
        alone = _try_network(config, network, _zeros(config, shape), classes)
    if "regularize" in slots:
        _try_penalty(config, network)
    if "augment" in slots:
        _try_augmentation(config, _images(config, shape))
    parts = _Parts(config, slots, network, shape)
    if device != "cpu":
        parts.try_on(device, _WHERE)
    if config["deterministic"]:
        with deterministic(True):
            parts.try_on(device, _DETERMINISTIC)
    if in_the_network:
        plain = _needs_plain_images(config, network, _zeros(config, shape).to(device))
    return Trial(alone, plain)


@dataclass(frozen=True)
class _Parts:
    """All of the user's own code again, after it has run on the CPU."""

    config: Mapping[str, Any]
    slots: tuple[str, ...]
    network: nn.Module
    shape: tuple[int, int, int]

    def try_on(self, device: str, hint: str) -> None:
        """Try everything on a device, gradients too; add the hint to whatever is raised."""
        import torch

        try:
            self.network.to(device)
            if set(self.slots) & set(_IN_THE_NETWORK):
                x_BCHW = _zeros(self.config, self.shape).to(device)
                _logits(self.config, self.network, x_BCHW)
                _gradients(self.config, self.network, x_BCHW)
            if "regularize" in self.slots:
                _slopes(self.config, self.network)
            if "augment" in self.slots:
                _augmented(self.config, _images(self.config, self.shape).to(device))
        except torch.OutOfMemoryError:  # others are using the device: this is not the part's fault
            return
        except AblateError as error:
            if isinstance(error.__cause__, torch.OutOfMemoryError):
                return
            # The rest of torch's message tells whoever set the mode what to do, and we set it.
            faults = [fault.partition(", but you set 'torch.use")[0] for fault in error.faults]
            raise AblateError(*(f"{fault} (on {device}); {hint}" for fault in faults)) from error
        finally:
            if device == "cuda":  # a worker may want the memory
                torch.cuda.empty_cache()


# -- networks --------------------------------------------------------------------------------------


def _try_network(
    config: Mapping[str, Any], network: nn.Module, x_BCHW: Tensor, classes: int
) -> str | None:
    import torch

    from ablate.nets.own import classes_hint
    from ablate.train.batchable import unbatchable
    from ablate.train.layout import SafeGradients

    tried, named = _logits(config, network, x_BCHW), _named(config, *_IN_THE_NETWORK)
    for mode, logits in zip(("training", "evaluation"), tried, strict=True):
        if isinstance(logits, torch.Tensor) and logits.shape == (2, classes):
            continue
        got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        hint = classes_hint(config["model"], classes) if "model" in schema.targets(config) else ""
        raise AblateError(
            f"{named} gives {got} for 2 images in {mode}: logits [2, {classes}] are needed{hint}"
        )
    if not any(p.requires_grad for p in network.parameters()):
        raise AblateError(f"{named} has no parameter to train")
    _gradients(config, network, x_BCHW)
    with SafeGradients():  # `_gradients` has reported what is wrong
        return unbatchable(network, x_BCHW)


def _needs_plain_images(
    config: Mapping[str, Any], network: nn.Module, x_BCHW: Tensor
) -> str | None:
    from ablate.train.layout import needs_plain_images

    try:
        return needs_plain_images(network, x_BCHW)
    except AblateError as error:
        named = _named(config, *_IN_THE_NETWORK)
        raise AblateError(*(f"{named}: {fault}" for fault in error.faults)) from error


def _logits(config: Mapping[str, Any], network: nn.Module, x_BCHW: Tensor) -> list[Any]:
    """Apply a network with the user's parts in training and evaluation mode."""
    import torch

    from ablate.rng import seeded
    from ablate.train.fused import precision

    autocast = torch.bfloat16 if config["precision"] == "bf16" else None
    named = _named(config, *_IN_THE_NETWORK)
    try:
        with torch.no_grad(), seeded(0), precision(x_BCHW.device, autocast):
            tried = [network.train(mode)(x_BCHW) for mode in (True, False)]
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"{named} does not take images of shape {list(x_BCHW.shape[1:])}:"
            f" {type(error).__name__}: {error}"
        ) from error
    elsewhere = [
        t.device for t in tried if isinstance(t, torch.Tensor) and t.device != x_BCHW.device
    ]
    if elsewhere:
        raise AblateError(f"{named} gives logits on {elsewhere[0]} for images on {x_BCHW.device}")
    return tried


def _gradients(config: Mapping[str, Any], network: nn.Module, x_BCHW: Tensor) -> None:
    """Differentiate a network with the user's parts."""
    import torch

    from ablate.rng import seeded
    from ablate.train.fused import precision
    from ablate.train.layout import SafeGradients

    autocast = torch.bfloat16 if config["precision"] == "bf16" else None
    try:
        with SafeGradients():
            with seeded(0), precision(x_BCHW.device, autocast):
                logits_BK = network.train()(x_BCHW)
            named = {name: p for name, p in network.named_parameters() if p.requires_grad}
            leaves, total = list(named.values()), logits_BK.sum()
            found: Sequence[Tensor | None] = torch.autograd.grad(
                total, leaves, retain_graph=True, allow_unused=True
            )
            total.backward()
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"{_named(config, *_IN_THE_NETWORK)} has no gradient: {type(error).__name__}: {error}"
        ) from error
    hidden = [
        name
        for (name, p), gradient in zip(named.items(), found, strict=True)
        if gradient is None and p.grad is not None
    ]
    network.zero_grad()
    if hidden:
        raise AblateError(
            f"{_named(config, *_IN_THE_NETWORK)} hides the gradient of {hidden[0]}: call"
            " torch.utils.checkpoint.checkpoint with use_reentrant=False"
        )


def _zeros(config: Mapping[str, Any], shape: tuple[int, int, int]) -> Tensor:
    import torch

    return torch.zeros(2, *shape, dtype=_dtype(config))


# -- penalties -------------------------------------------------------------------------------------


def _try_penalty(config: Mapping[str, Any], network: nn.Module) -> None:
    if not any(bool(slope.any()) for slope in _slopes(config, network)):
        raise AblateError(f"{_named(config, 'regularize')} touches nothing: its gradient is zero")


def _slopes(config: Mapping[str, Any], network: nn.Module) -> Sequence[Tensor]:
    """Compute the gradient of the user's penalty at some weights."""
    import torch

    from ablate.train.objective import own_penalty

    penalty = own_penalty(config)
    assert penalty is not None, "the configuration names one"
    # Move away from initial weights that are all equal, where a penalty may have no slope.
    parameters = {
        name: (p.detach() + torch.linspace(0.5, 1, p.numel()).view(p.shape).to(p)).requires_grad_()
        for name, p in network.named_parameters()
    }
    try:
        value = penalty(parameters)
        return torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
    except AblateError:
        raise
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"{_named(config, 'regularize')} does not take the parameters (a dict, name -> tensor):"
            f" {type(error).__name__}: {error}"
        ) from error


# -- augmentations ---------------------------------------------------------------------------------


def _try_augmentation(config: Mapping[str, Any], x_BCHW: Tensor) -> None:
    if all(x.equal(x_BCHW) for x in _augmented(config, x_BCHW, _TRIES)):
        raise AblateError(
            f"{_named(config, 'augment')} touches nothing: it returned {_TRIES} batches unchanged"
        )


def _augmented(config: Mapping[str, Any], x_BCHW: Tensor, tries: int = 1) -> list[Tensor]:
    """Pass a batch to the user's augmentation several times."""
    import torch

    from ablate.data.augment import own
    from ablate.rng import seeded

    augment = own(config)
    assert augment is not None, "the configuration names one"
    try:
        with torch.no_grad(), seeded(0):
            return [augment(x_BCHW) for _ in range(tries)]
    except AblateError:
        raise
    # The user's code may raise anything.
    except Exception as error:
        raise AblateError(
            f"{_named(config, 'augment')} does not take images {list(x_BCHW.shape)}:"
            f" {type(error).__name__}: {error}"
        ) from error


def _images(config: Mapping[str, Any], shape: tuple[int, int, int]) -> Tensor:
    import torch

    count = 8 * shape[0] * shape[1] * shape[2]
    return torch.linspace(-2, 2, count, dtype=_dtype(config)).view(8, *shape)


# -- both ------------------------------------------------------------------------------------------


def _named(config: Mapping[str, Any], *slots: str) -> str:
    own = schema.targets(config)
    return ", ".join(f"{slot}._target_={own[slot]}" for slot in slots if slot in own)


def _dtype(config: Mapping[str, Any]) -> torch.dtype:
    from ablate.data.tensors import DTYPES

    return DTYPES[config["precision"]]
