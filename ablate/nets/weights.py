"""Which parameters of a network are weights: what penalties, max-norm and Muon act on."""

from __future__ import annotations

from torch import nn

_NORMS: tuple[type[nn.Module], ...] = (
    *(nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
)


def is_norm(name: str, layer: nn.Module) -> bool:
    """Tell whether a layer normalizes.

    Args:
        name: Where it is in its network. Shipped networks call a norm `norm`, the user's own too.
        layer: The layer. A class of the user's counts by its name.
    """
    called_so = name.rpartition(".")[2] == "norm" or "norm" in type(layer).__name__.lower()
    return isinstance(layer, _NORMS) or called_so


def weights(network: nn.Module) -> dict[str, int]:
    """Find the matrices and kernels of a network.

    A parameter of one axis, one that is called a bias, and all parameters of a norm are none: their
    size does not say how much a unit depends on its inputs. Axes alone do not tell: a layer norm
    over [C, H, W] has parameters with as many axes as a kernel.

    Returns:
        The name of each, and of how many gates of a recurrent layer it holds the weights, one below
        the other; 1 elsewhere.
    """
    norms = tuple(f"{name}." for name, layer in network.named_modules() if is_norm(name, layer))
    found = {}
    for name, parameter in network.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if parameter.dim() > 1 and not leaf.startswith("bias") and not name.startswith(norms):
            found[name] = _gates(network.get_submodule(owner))
    return found


def _gates(layer: nn.Module) -> int:
    if isinstance(layer, nn.LSTM | nn.LSTMCell):
        return 4
    if isinstance(layer, nn.GRU | nn.GRUCell):
        return 3
    return int(getattr(layer, "gates", 1))
