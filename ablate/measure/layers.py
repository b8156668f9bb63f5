"""Which layers of a network are inspected, and what is known about each without running it.

These are all convolutions, linear layers, norms, activations, pooling and recurrent layers that are
modules. What a user's network computes with functions is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

from torch import Tensor, nn
from torch.nn.modules import activation as activations
from torch.nn.modules import pooling

from ablate.nets import recurrent
from ablate.nets.activations import Function
from ablate.nets.dropout import Dropout

_KINDS: Final[dict[str, tuple[type[nn.Module], ...]]] = {
    "conv": (nn.modules.conv._ConvNd,),
    "linear": (nn.Linear, nn.Bilinear),
    "norm": (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
    "recurrent": (nn.RNNBase, nn.RNNCellBase, recurrent.RecurrentLayer),
}
_RANGES: Final[dict[type[nn.Module], tuple[float, float]]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
    nn.Hardtanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
}
_CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)


def layers_of(network: nn.Module) -> dict[str, tuple[str, nn.Module]]:
    """List the layers to inspect: name -> kind and module.

    Kinds are ``conv``, ``linear``, ``norm``, ``activation``, ``pool`` and ``recurrent``. The cell
    inside a recurrent layer is left out: it is applied at each step, and the layer's output holds
    all of its states.
    """
    cells = [
        f"{n}.cell" for n, m in network.named_modules() if isinstance(m, recurrent.RecurrentLayer)
    ]
    return {
        name: (kind, layer)
        for name, layer in network.named_modules()
        if (kind := kind_of(name, layer)) is not None
        and not any(name == cell or name.startswith(f"{cell}.") for cell in cells)
    }


def kind_of(name: str, layer: nn.Module) -> str | None:
    """Return a module's kind of layer, or None; a user's module by its place."""
    for kind, classes in _KINDS.items():
        if isinstance(layer, classes):
            return kind
    home, leaf = type(layer).__module__, name.rpartition(".")[2]
    if home == pooling.__name__:
        return "pool"
    attends = isinstance(layer, nn.MultiheadAttention)
    if (home == activations.__name__ and not attends) or isinstance(layer, Function):
        return "activation"
    return leaf if leaf in ("activation", "norm") else None


def range_of(layer: nn.Module) -> tuple[float, float] | None:
    """Return the range of an activation that saturates at both ends, or None."""
    return next((ends for kind, ends in _RANGES.items() if isinstance(layer, kind)), None)


def unit_axis(layer: nn.Module, y: Tensor) -> int:
    """Find the axis of units in an output: channels for maps, else the last."""
    maps = y.dim() >= 4 or (
        y.dim() == 3
        and (isinstance(layer, _CHANNELS_FIRST) or type(layer).__module__ == pooling.__name__)
    )
    return 1 if maps else y.dim() - 1


def shape_of(y: Tensor, batch: int) -> tuple[int, ...]:
    """Return the shape of a layer's output for one image, wherever its batch axis is."""
    shape = list(y.shape)
    if batch in shape:
        shape.remove(batch)
    elif shape[0] % batch == 0:  # steps and images in one axis
        shape[0] //= batch
    return tuple(shape)


def parameters_of(layer: nn.Module) -> int:
    """Count a layer's own trained parameters."""
    # The layer computes the product from state to state itself, so no call shows it.
    owner: nn.Module = layer.hidden if isinstance(layer, recurrent.RecurrentLayer) else layer
    return sum(p.numel() for p in owner.parameters(recurse=False) if p.requires_grad)


def differs(network: nn.Module) -> bool:
    """Tell by its modules whether a network acts differently in training and evaluation."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    return any(
        isinstance(m, kinds)
        or (isinstance(m, Dropout) and m.active)
        or (isinstance(m, nn.RNNBase) and m.dropout > 0)
        for m in network.modules()
    )


def multiply_adds(layer: nn.Module, inputs: Sequence[Any], y: Tensor, batch: int) -> int:
    """Count the multiplications by weights that one image costs.

    Args:
        layer: A layer.
        inputs: What it was called with.
        y: Its output.
        batch: Images in the batch.
    """
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return int(layer.weight.numel() * prod(inputs[0].shape[2:]))
    if isinstance(layer, nn.modules.conv._ConvNd):
        return layer.weight.numel() * prod(y.shape[2:])
    if isinstance(layer, nn.Linear):
        return layer.in_features * y.numel() // batch
    if isinstance(layer, recurrent.RecurrentLayer):
        return int(layer.hidden.weight.numel() * y.shape[0])
    if isinstance(layer, nn.RNNBase):
        steps = inputs[0].shape[1 if layer.batch_first else 0]
        return int(steps) * sum(p.numel() for p in layer.parameters() if p.dim() > 1)
    return 0
