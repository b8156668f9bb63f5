"""Initial weights: each parameter drawn from its own stream, in float64, on the CPU.

Every scheme is zero-mean with a standard deviation set by the layer's fans (`fans`); a uniform draw
reaches √3 standard deviations. Norm layers keep scale 1 and shift 0; whitening layers are fitted to
the images instead. If a layer has an attribute `gates`, its rows belong to that many layers, each
drawn separately.

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
from ablate.errors import AblateError
from ablate.nets.whiten import Whitening

_WEIGHTED = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
_DEFAULT = {"std": 0.05, "gain": 1.0}  # for a layer's scheme, if the group lacks that number


def initialize(module: nn.Module, init: Mapping[str, Any], seed: int) -> None:
    """Draw the weights of every trained linear and convolutional layer, in place.

    Args:
        module: The network; parameters in any floating-point type.
        init: The `init` part of a configuration; ``own`` changes nothing. ``layers`` has an entry
            per layer, in the order of `named_modules`: a scheme, and after a colon its standard
            deviation (normal, uniform) or its gain (any other).
        seed: Seed of the initial weights.

    Raises:
        AblateError: ``layers`` and the network differ in length.
    """
    if init["name"] == "own":
        return
    layers = list(_layers(module))
    with torch.no_grad():
        for (name, layer), values in zip(layers, _each(init, len(layers)), strict=True):
            key = rng.stream(seed, f"init/{name}.weight")
            layer.weight.copy_(_block_by_block(values, layer, key))
            if layer.bias is not None:
                layer.bias.fill_(init["bias"])


def _each(init: Mapping[str, Any], layers: int) -> list[Mapping[str, Any]]:
    """Spread the settings over the layers."""
    entries = init.get("layers")
    if entries is None:
        return [init] * layers
    if len(entries) != layers:
        raise AblateError(
            f"init.layers has {len(entries)} entries, but the network has {layers} layers with"
            " weights: give a scheme for each"
        )
    return [{**init, **_entry(init, entry)} for entry in entries]


def _entry(init: Mapping[str, Any], entry: str) -> dict[str, Any]:
    """Read ``scheme`` or ``scheme:number``; without a number, the group's applies."""
    name, colon, number = entry.partition(":")
    knob = "std" if name in ("normal", "uniform") else "gain"
    return {"name": name, knob: float(number) if colon else init.get(knob, _DEFAULT[knob])}


def _block_by_block(init: Mapping[str, Any], layer: Any, key: Tensor) -> Tensor:
    """Draw a layer's weight; blocks with separate inputs or outputs are drawn separately."""
    rows, *others = layer.weight.shape
    blocks = getattr(layer, "gates", 1)
    if init["name"] == "orthogonal":  # other schemes draw each number independently anyway
        blocks *= getattr(layer, "groups", 1)
    keys = [key, *(rng.fold(key, block) for block in range(1, blocks))]
    shape = torch.Size((rows // blocks, *others))
    return torch.cat([draw(init, shape, k, fans(layer)) for k in keys])


def fans(layer: Any) -> tuple[int, int]:
    """Count the inputs that reach one unit of a layer, and the outputs that one input reaches.

    In a convolution a unit is a pixel of a channel; strides and borders are ignored. A group sees
    only its own channels, so both counts are of one group. (For n_out, torch's
    ``_calculate_fan_in_and_fan_out`` counts the channels of all groups.) A transposed convolution
    stores its weight the other way round, [in, out / groups, ...kernel].

    Returns:
        n_in and n_out.

    Source: Glorot & Bengio 2010, section 4.2.1 (sizes of the layers that a weight joins); He et
    al. 2015, arXiv:1502.01852, section 2.2 (k²c connections per response, k²d per pixel).
    """
    rows, columns, *kernel = layer.weight.shape
    area = math.prod(kernel)
    blocks = getattr(layer, "gates", 1) * getattr(layer, "groups", 1)
    ends = columns * area, rows // blocks * area
    return ends[::-1] if getattr(layer, "transposed", False) else ends


def draw(init: Mapping[str, Any], shape: torch.Size, key: Tensor, ends: tuple[int, int]) -> Tensor:
    """Draw one weight, float64.

    Args:
        init: The `init` part of a configuration.
        shape: Shape of the weight.
        key: The parameter's stream, int64, 0-dimensional.
        ends: Its n_in and n_out, from `fans`.
    """
    name, gain = init["name"], float(init.get("gain", 1.0))
    if name == "zeros":
        return torch.zeros(shape, dtype=torch.float64)
    if name == "orthogonal":
        return gain * _orthogonal(shape, key)
    fan_in, fan_out = ends
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
    """Draw orthonormal rows (or columns if there are more rows), uniform over such matrices."""
    rows, columns = shape[0], math.prod(shape[1:])
    tall = rng.normal(key, torch.Size((max(rows, columns), min(rows, columns))))
    q, r = torch.linalg.qr(tall)
    # Fixing the signs makes the factorization unique, and so the draw uniform.
    unique: Tensor = q * r.diagonal().sign()
    return (unique if rows >= columns else unique.T).reshape(shape)


def _layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in module.named_modules():
        if isinstance(layer, _WEIGHTED) and not isinstance(layer, Whitening):
            yield name, layer
