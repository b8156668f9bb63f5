"""Finds the weights of a network: the parameters that penalties, max-norm and Muon act on."""

from __future__ import annotations

from torch import nn

_NORMS: tuple[type[nn.Module], ...] = (
    *(nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
)


def is_norm(name: str, layer: nn.Module) -> bool:
    """Tell whether a layer normalizes.

    Args:
        name: Its name in the network; shipped networks call any norm, even the user's, `norm`.
        layer: The layer; a user's class counts if its name contains "norm".
    """
    called_so = name.rpartition(".")[2] == "norm" or "norm" in type(layer).__name__.lower()
    return isinstance(layer, _NORMS) or called_so


def weights(network: nn.Module) -> dict[str, int]:
    """Find the matrices and kernels of a network.

    Parameters with one axis, those called a bias, and those of a norm do not count: their size does
    not say how much a unit depends on its inputs. The number of axes is not enough: a layer norm
    over [C, H, W] has parameters with as many axes as a kernel.

    Returns:
        Name -> number of a recurrent layer's gates whose weights it stacks; 1 for other layers.
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
