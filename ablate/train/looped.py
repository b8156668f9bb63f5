"""Slices of a stack as a module's own tensors: the bookkeeping of a looped stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ablate.axis import Stacked
from ablate.nets.dropout import Dropout

_ALIGNMENT = 64  # bytes: with another alignment, matrix kernels may round differently


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name all parameters and buffers except dropout's, which the stack keeps itself."""
    dropouts = {name for name, layer in module.named_modules() if isinstance(layer, Dropout)}
    yield from module.named_parameters()
    for name, buffer in module.named_buffers():
        if name.rpartition(".")[0] not in dropouts:
            yield name, buffer


def aligned(tensors: list[Tensor], pad: bool) -> Tensor:
    """Stack tensors; with `pad`, each slice starts at a multiple of 64 bytes, as if alone."""
    if len(tensors) == 1 or not pad:
        return torch.stack(tensors)
    first = tensors[0]
    per = max(_ALIGNMENT // first.element_size(), 1)
    room = first.new_zeros(len(tensors), -(-first.numel() // per) * per)
    stacked = room[:, : first.numel()].view(len(tensors), *first.shape)
    for held, tensor in zip(stacked, tensors, strict=True):
        held.copy_(tensor)
    return stacked


def adopt(module: nn.Module, views: Mapping[str, Tensor]) -> None:
    """Make a module's parameters and buffers views of the stack; tied weights stay tied."""
    new: dict[int, Any] = {}
    for name, tensor in named_tensors(module):
        parameter = isinstance(tensor, nn.Parameter)
        view = views[name]
        new[id(tensor)] = nn.Parameter(view, tensor.requires_grad) if parameter else view
    for layer in module.modules():
        for store in (layer._parameters, layer._buffers):
            for name, held in list(store.items()):
                if id(held) in new:
                    store[name] = new[id(held)]


def bindings(module: nn.Module, buffers: Stacked) -> list[tuple[Any, str, Tensor]]:
    """List where a module holds its buffers: the owner, the name in it, and the view."""
    found = []
    for name, buffer in module.named_buffers():
        if name in buffers:
            owner, _, leaf = name.rpartition(".")
            found.append((module.get_submodule(owner), leaf, buffer))
    return found
