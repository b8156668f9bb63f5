"""Fits whitening layers to the training images, once for each data set."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ablate.data.tensors import Tensors
from ablate.nets.whiten import Whitening, covariance, filters

IMAGES = 5000  # the filters are fitted to this many images

# Data set -> patch side -> filters, so that runs that train one after another share the filters.
_FOUND: WeakKeyDictionary[Tensors, dict[int, Tensor]] = WeakKeyDictionary()


@torch.no_grad()
def fit(networks: Sequence[nn.Module], data: Tensors) -> None:
    """Fit the whitening layers of networks with the same graph to the training images, in place.

    Args:
        networks: The networks; without a whitening layer, nothing is done.
        data: The data set; 5,000 of its training images are used, the same for every seed and
            every order of the file.
    """
    layers = [m for network in networks for m in network.modules() if isinstance(m, Whitening)]
    if not layers:
        return
    known, side = _FOUND.setdefault(data, {}), layers[0].kernel_size[0]
    if side not in known:
        few = len(data.train) <= IMAGES
        images = data.train.images if few else data.train.at(data.train.order[:IMAGES])
        known[side] = filters(covariance(images, data.std, side))
    for layer in layers:
        layer.weight.copy_(known[side].view_as(layer.weight))
