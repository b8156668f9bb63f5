"""From a configuration to its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ablate import rng
from ablate.config import schema
from ablate.nets import own
from ablate.nets.cnn import CNN
from ablate.nets.mlp import MLP
from ablate.nets.recurrent import Recurrent
from ablate.nets.resnet import ResNet

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "cnn": CNN,
    "lenet5": CNN,
    "vgg": CNN,
    "resnet": ResNet,
    "mlp": MLP,
    "deep_mlp": MLP,
    "rnn": Recurrent,
    "lstm": Recurrent,
    "gru": Recurrent,
}


def build(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Make the network of a configuration; its weights are drawn later.

    Args:
        config: A resolved configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.

    Raises:
        AblateError: A class of the user's own cannot be constructed.
    """
    model = config["model"]
    seed = config["seeds"]["init"]
    seed = config["seed"] if seed is None else seed
    if model["name"] == "custom":
        return own.build(model, shape, classes, seed)
    network = _NETWORKS[model["name"]]
    if not schema.has_own_layers(config):
        return network(config, shape, classes)
    with rng.seeded(int(rng.stream(seed, "init"))):  # a user's constructor may draw numbers
        return network(config, shape, classes)
