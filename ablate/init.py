"""Initial weights: each parameter drawn from its own stream, in float64, on the CPU.

Every scheme is zero-mean with a standard deviation set by the layer's fans; a uniform draw reaches
√3 standard deviations. Norm layers keep scale 1 and shift 0.

Source: he_*, He et al. 2015, arXiv:1502.01852, equation 10 (variance 2/n_in); xavier_*, Glorot &
Bengio 2010, equation 16 (2/(n_in + n_out)); lecun_*, LeCun et al. 1998, "Efficient BackProp",
equation 16 (1/n_in); orthogonal, Saxe et al. 2014, arXiv:1312.6120.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ablate import rng

_WEIGHTED = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def initialize(module: nn.Module, init: Mapping[str, Any], seed: int) -> None:
    """Draw the weights of every linear and convolutional layer, in place.

    Args:
        module: The network; parameters in any floating-point type.
        init: The `init` part of a configuration; ``own`` changes nothing.
        seed: Seed of the initial weights.
    """
    if init["name"] == "own":
        return
    with torch.no_grad():
        for name, layer in _layers(module):
            key = rng.stream(seed, f"init/{name}.weight")
            layer.weight.copy_(draw(init, layer.weight.shape, key))
            if layer.bias is not None:
                layer.bias.fill_(init["bias"])


def draw(init: Mapping[str, Any], shape: torch.Size, key: Tensor) -> Tensor:
    """Draw one weight, float64.

    Args:
        init: The `init` part of a configuration.
        shape: [out, in, ...kernel].
        key: The parameter's stream, int64, 0-dimensional.
    """
    name, gain = init["name"], float(init.get("gain", 1.0))
    if name == "zeros":
        return torch.zeros(shape, dtype=torch.float64)
    if name == "orthogonal":
        return gain * _orthogonal(shape, key)
    fan_in = math.prod(shape[1:])
    fan_out = shape[0] * math.prod(shape[2:])
    scheme, _, law = name.partition("_")
    std = {
        "he": math.sqrt(2 / fan_in),
        "xavier": math.sqrt(2 / (fan_in + fan_out)),
        "lecun": math.sqrt(1 / fan_in),
    }.get(scheme)
    std = float(init["std"]) if std is None else gain * std
    if (law or scheme) == "uniform":
        return std * math.sqrt(3) * (2 * rng.uniform(key, shape) - 1)
    return std * rng.normal(key, shape)


def _orthogonal(shape: torch.Size, key: Tensor) -> Tensor:
    """Draw orthonormal rows (or columns, where there are more rows), uniform over such matrices."""
    rows, columns = shape[0], math.prod(shape[1:])
    tall = rng.normal(key, torch.Size((max(rows, columns), min(rows, columns))))
    q, r = torch.linalg.qr(tall)
    # Signs make the factorization unique, hence the draw uniform.
    unique: Tensor = q * r.diagonal().sign()
    return (unique if rows >= columns else unique.T).reshape(shape)


def _layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in module.named_modules():
        if isinstance(layer, _WEIGHTED):
            yield name, layer
