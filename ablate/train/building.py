"""From configurations to a stack: builds networks, draws their weights, fits whitening layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablate import environment, rng
from ablate.config import schema
from ablate.data.tensors import Tensors
from ablate.errors import AblateError
from ablate.nets.build import build
from ablate.nets.init import initialize
from ablate.train.batchable import unbatchable
from ablate.train.batches import seed_of
from ablate.train.layout import give_plain_images, needs_plain_images
from ablate.train.stack import Stack
from ablate.train.whitening import fit

Config = Mapping[str, Any]


def build_stack(
    configs: Sequence[Config], data: Tensors, *, fused: bool
) -> tuple[Stack, str | None]:
    """Make the networks of R runs, and stack them.

    Args:
        configs: Resolved configurations that agree on every graph knob.
        data: Their data set.
        fused: Whether to apply the networks under vmap; a network that cannot be fused is looped.

    Returns:
        The stack, and why its network cannot be fused, or None if it can.

    Raises:
        AblateError: A network cannot be built, has nothing to train, or reorders its images in
            memory so that its gradient would be wrong.
    """
    device = data.device
    environment.settle_arithmetic()
    modules = []
    for config in configs:
        module = _built(config, data)
        initialize(module, config["init"], seed_of(config, "init"))
        modules.append(module.to(device, data.dtype))
    fit(modules, data)
    if not any(p.requires_grad for p in modules[0].parameters()):
        raise AblateError("the model has no parameter to train")
    first, alone = configs[0], None
    settle_layout(first, data, modules)
    if schema.has_own_layers(first):
        alone = unbatchable(modules[0], _two_images(data))
    stack = Stack(
        modules,
        [seed_of(c, "dropout") for c in configs],
        fused=fused and alone is None,
        autocast=torch.bfloat16 if first["precision"] == "bf16" else None,
        random=alone is not None,
        program=_program(first, data) if first["stack"]["compile"] else None,
    )
    return stack, alone


def settle_layout(config: Config, data: Tensors, modules: Sequence[nn.Module]) -> None:
    """Give networks their images in plain order, if the user's own parts need it.

    Args:
        config: The configuration of one of them.
        data: Their data set.
        modules: The networks, on its device.

    Raises:
        AblateError: They reorder images in memory so that a gradient would be wrong.
    """
    if not schema.has_own_layers(config):
        return
    # Try another copy: a network that counts passes in an attribute would be one pass ahead.
    other = _built(config, data).to(data.device, data.dtype)
    if needs_plain_images(other, _two_images(data)):
        for module in modules:
            give_plain_images(module)


def _two_images(data: Tensors) -> Tensor:
    device = data.device
    images, _ = data.batch(torch.arange(min(2, len(data.train)), device=device))
    return images


def _built(config: Config, data: Tensors) -> nn.Module:
    with rng.seeded(0):  # torch draws weights here, which `initialize` replaces
        return build(config, data.shape, data.classes)


def _program(config: Config, data: Tensors) -> str:
    """Describe everything that the operations of a fused step depend on, except the width."""
    where = str(data.device)
    return json.dumps([schema.graph(config), data.shape, data.classes, where], sort_keys=True)
