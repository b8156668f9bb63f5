"""Initial weights: weights are drawn at a scale at which signals keep their size in every layer.

Every scheme is zero-mean with a standard deviation set by the layer's fans (n_in inputs of a unit,
n_out outputs of an input), times `init.gain`; biases start at `init.bias`, norms at scale 1 and
shift 0. A network's numbers are drawn parameter by parameter, each from a stream of its own.

When it helps: the more, the deeper a network is and the less it is normalized. A scale that is off
by a factor in each layer is off by its tenth power after ten: signals and gradients vanish, or
units saturate. Before a batch norm a scale cancels, but large weights learn slowly, for their
gradients are small. Zeros hurt in hidden layers, whose units then stay alike for ever; in the
output layer alone they do no harm.
Settings: he_normal with relu, xavier_normal with tanh, lecun_normal with selu, orthogonal in
recurrent layers; `init.gain=auto` fits a scheme to any activation; bias 0.
Source: Glorot & Bengio 2010, AISTATS, section 4.2.1; He et al. 2015, arXiv:1502.01852, section 2.2
and figure 3 (30 layers: Xavier's weights stall, theirs learn); Ioffe & Szegedy 2015,
arXiv:1502.03167, section 3.3 (before a batch norm).

    he_normal: Normal, of variance 2/n_in: twice lecun's, for relu cuts off half of the signal.
        Source: He et al. 2015, arXiv:1502.01852, equation 10.
    he_uniform: The same variance, evenly between ±√(6/n_in). Source: He et al. 2015,
        arXiv:1502.01852, equation 10 (the variance).
    xavier_normal: Normal, of variance 2/(n_in + n_out): halfway between what keeps signals and what
        keeps gradients. Source: Glorot & Bengio 2010, AISTATS, equation 12.
    xavier_uniform: The same variance, evenly between ±√(6/(n_in + n_out)). Source: Glorot & Bengio
        2010, AISTATS, equation 16.
    lecun_normal: Normal, of variance 1/n_in, which keeps signals' variance where the activation
        does. Source: LeCun et al. 1998, "Efficient BackProp", equation 16.
    lecun_uniform: The same variance, evenly between ±√(3/n_in). Source: LeCun et al. 1998,
        "Efficient BackProp", equation 16 (the variance).
    normal: Normal, of the standard deviation `init.std` (0.05) in every layer, whatever its size.
        Source: Krizhevsky, Sutskever & Hinton 2012, NIPS 25, section 5 (0.01).
    uniform: Evenly between ±√3·`init.std`. Source: Glorot & Bengio 2010, AISTATS, equation 1 (there
        the bounds are ±1/√n_in).
    orthogonal: Rows of length 1 at right angles to each other (columns, where there are more rows):
        a square layer keeps every length. Source: Saxe, McClelland & Ganguli 2014, arXiv:1312.6120.
    zeros: All weights 0. Units of a layer stay alike, and with relu or tanh nothing but the output
        biases learns. Source: Goodfellow, Bengio & Courville 2016, Deep Learning, section 8.4.

Numbers are drawn in float64, on the CPU; a uniform draw reaches √3 standard deviations. What
whitens is fitted to the images instead. A layer's attribute `gates`, where it has one, says of how
many layers side by side its rows are: each is drawn by itself.
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
