"""From a configuration to its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ablate.nets import own
from ablate.nets.cnn import CNN
from ablate.nets.mlp import MLP


def build(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Make the network that a configuration describes, its weights not yet drawn.

    Args:
        config: A resolved configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.
    """
    model = config["model"]
    if model["name"] == "custom":
        seed = config["seeds"]["init"]
        return own.build(model, shape, classes, config["seed"] if seed is None else seed)
    return {"cnn": CNN, "mlp": MLP}[model["name"]](config, shape, classes)
