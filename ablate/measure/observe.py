"""Inspects a run in the middle of training, without changing any of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn

from ablate import rng
from ablate.data.tensors import Tensors
from ablate.measure.signals import Look, flat, look
from ablate.nets.dropout import Dropout
from ablate.train.batches import seed_of
from ablate.train.training import Training

IMAGES: Final = 256  # images inspected by default


def of_training(training: Training, r: int = 0, images: int = IMAGES) -> dict[str, float]:
    """Measure a run at its current step, as flat names; training goes on as if nobody had looked.

    Args:
        training: A training, at any step.
        r: Which of its runs.
        images: How many training images to inspect.

    Returns:
        ``signal/<layer>/<statistic>``, in training mode, as `signals.signals` gives them.

    Example:
        >>> from ablate.measure.observe import of_training
        >>> of_training(training)["signal/dense.output/grad_norm"]  # doctest: +SKIP
        0.7
    """
    return flat(observe(training, r, *fixed_batch(training.data, images), training_mode=True))


def fixed_batch(data: Tensors, images: int) -> tuple[Tensor, Tensor]:
    """Choose training images to inspect by their content; return them normalized, with labels."""
    return data.batch(data.train.order[:images])


def observe(
    training: Training,
    r: int,
    x_BCHW: Tensor,
    labels_B: Tensor,
    *,
    training_mode: bool,
    weights: Mapping[str, Tensor] | None = None,
    step: int | None = None,
) -> Look:
    """Look at one run of a training.

    Args:
        training: A training, fused or looped.
        r: Which of its runs.
        x_BCHW: Normalized images.
        labels_B: Their labels.
        training_mode: Whether in training mode, with gradients.
        weights: A state dict to look at in place of the run's weights as they are.
        step: The step whose dropout masks are drawn, for a batch of this size; None is the next
            one.
    """
    stack, config = training.stack, training.configs[r]
    network = stack.layers(r)
    tensors = {name: t[r] for name, t in (stack.parameters | stack.buffers).items()}
    if weights is not None:
        tensors |= {name: t.to(training.device) for name, t in weights.items()}
    seed, step = seed_of(config, "dropout"), training.step if step is None else step
    random: AbstractContextManager[None] = nullcontext()
    if training.alone is not None:  # it may draw from global generators
        random = rng.seeded(int(rng.fold(rng.stream(seed, "torch"), step)))
    with random, _precision(training), _masks(network, seed, step):
        labels = labels_B if training_mode else None
        return look(network, x_BCHW, labels, training=training_mode, tensors=tensors)


def update_ratios(training: Training) -> dict[str, list[float]]:
    """Do a step; return the size of the change relative to the weight, ‖Δw‖/‖w‖.

    Returns:
        Parameter -> one number per run; not finite where the weight is 0.
    """
    parameters = training.stack.parameters
    before = {name: p.detach().clone() for name, p in parameters.items()}
    training.advance()
    return {name: _ratio(before[name], p.detach()).tolist() for name, p in parameters.items()}


def _ratio(before: Tensor, after: Tensor) -> Tensor:
    change_R = torch.linalg.vector_norm((after - before).flatten(1), dim=1)
    ratio_R: Tensor = change_R / torch.linalg.vector_norm(before.flatten(1), dim=1)
    return ratio_R


def _precision(training: Training) -> AbstractContextManager[Any]:
    low = training.configs[0]["precision"] == "bf16"
    return torch.autocast(training.device.type, torch.bfloat16) if low else nullcontext()


@contextmanager
def _masks(network: nn.Module, seed: int, step: int) -> Iterator[None]:
    """Begin a step with the run's own masks, and restore dropout's state afterwards."""
    layers = {name: m for name, m in network.named_modules() if isinstance(m, Dropout)}
    before = {name: (layer.key, layer.calls) for name, layer in layers.items()}
    for name, layer in layers.items():
        layer.begin(rng.fold(rng.stream(seed, f"dropout/{name}"), step).to(layer.rate.device))
    try:
        yield
    finally:
        for name, layer in layers.items():
            layer.key, layer.calls = before[name]
