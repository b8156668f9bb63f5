"""Hidden units: how accuracy falls as they are deleted, and how alike they are.

What it does: sets a random share of each hidden layer's units to zero, and computes the mean
absolute correlation between the units of a layer (co-adaptation). When it helps: to see whether
dropout made units useful on their own, as it is said to. If dropout scales in training, a network
without the dropped units is one that was trained, once the others make up for them (``scaled``).

A hidden layer is an activation's output, or a recurrent layer's states as passed on. In a user's
network without activation modules it is the output of each linear or convolutional module but the
last. A unit of a convolutional layer is a channel.

Source: Hinton et al. 2012, arXiv:1207.0580 (co-adaptation); Morcos et al. 2018, arXiv:1803.06959,
section 2 (cumulative deletion); Cogswell et al. 2016, arXiv:1511.06068 (correlation of units).
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import pandas as pd
import torch
from torch import Tensor, nn

from ablate import rng
from ablate.config.targets import FUNCTION, locate
from ablate.data.tensors import Split
from ablate.measure.saved import Saved
from ablate.nets.activations import Function
from ablate.nets.recurrent import RecurrentLayer
from ablate.train.quality import measure_one

Change = Callable[[str, Tensor], Tensor]  # a layer's name and its output -> its new output

SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_CORRELATED = 1000  # images to compute correlations over
_AT_ONCE = 100  # samples at most: each pixel of a map counts as one, and all are held in float64
_PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd)
_NO_HIDDEN = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Softmin, nn.MultiheadAttention)


class HiddenLayers:
    """The hidden layers of a network, in the order in which they are computed.

    Args:
        module: The network, in evaluation mode.
        x_BCHW: Normalized images, to try the network on.
        own: The class of the user's own activation, if there is one.

    Attributes:
        units: Units of each layer by its name; a module that is called again is a layer of its own,
            ``name#2``.
    """

    def __init__(self, module: nn.Module, x_BCHW: Tensor, own: type | None = None) -> None:
        self._module = module
        self.units: dict[str, int] = {}
        self._watched = _activations(module, own)
        found, logits = self._outputs(x_BCHW)
        if not self._watched:
            self._watched = _modules(module, _PRODUCTS)
            found, logits = self._outputs(x_BCHW)
            found = dict(list(found.items())[:-1])
        self.units = {n: y.shape[_unit_axis(y)] for n, y in found.items() if y is not logits}

    @torch.no_grad()
    def _outputs(self, x_BCHW: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        outputs: dict[str, Tensor] = {}
        with self.changed(lambda name, y: outputs.setdefault(name, y)):
            logits: Tensor = self._module(x_BCHW)
        return outputs, logits

    @contextmanager
    def changed(self, change: Change) -> Iterator[None]:
        """Let the network compute with changed outputs of its hidden layers."""
        calls: Counter[str] = Counter()

        def begin(*_: Any) -> None:
            calls.clear()

        def hook(name: str) -> Callable[[Any, Any, Any], Any]:
            def after(_module: nn.Module, _inputs: Any, output: Any) -> Any:
                calls[name] += 1
                label = name if calls[name] == 1 else f"{name}#{calls[name]}"
                if not isinstance(output, Tensor) or (self.units and label not in self.units):
                    return output
                return change(label, output)

            return after

        handles = [self._module.register_forward_pre_hook(begin)]
        handles += [layer.register_forward_hook(hook(name)) for name, layer in self._watched]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def hidden_layers(saved: Saved) -> HiddenLayers:
    """Find the hidden layers of a saved run's network."""
    images = saved.data.normalized(saved.data.train.between(0, 2))
    return hidden_layers_of(saved.config, saved.module, images)


def hidden_layers_of(config: Mapping[str, Any], module: nn.Module, x_BCHW: Tensor) -> HiddenLayers:
    """Find the hidden layers of a network that a configuration describes, in evaluation mode."""
    activation = config["model"].get("activation")
    own = None
    if isinstance(activation, Mapping) and activation.get("_target_"):
        own = locate(activation["_target_"], "model.activation._target_", FUNCTION)
    return HiddenLayers(module, x_BCHW, own if inspect.isclass(own) else None)


def _activations(module: nn.Module, own: type | None) -> list[tuple[str, nn.Module]]:
    layers = _modules(module, (RecurrentLayer,))
    kinds = (Function, own) if own else (Function,)
    return layers + [
        (name, layer)
        for name, layer in module.named_modules()
        if (isinstance(layer, kinds) or _is_torchs(layer))
        and not any(name.startswith(f"{outer}.") for outer, _ in layers)
    ]


def _is_torchs(layer: nn.Module) -> bool:
    return type(layer).__module__ == nn.ReLU.__module__ and not isinstance(layer, _NO_HIDDEN)


def _modules(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds)]


def _unit_axis(y: Tensor) -> int:
    """Find the axis of units: channels come second; in sequences units come last."""
    return -1 if y.dim() == 3 else 1


# -- deletion --------------------------------------------------------------------------------------


def measure(
    saved: Saved,
    layers: HiddenLayers,
    split: Split,
    plain_NK: Tensor,
    draws: int,
    scaled: bool,
) -> pd.DataFrame:
    """Measure a network while a share of the units of every hidden layer is deleted.

    Args:
        saved: The run.
        layers: Its hidden layers.
        split: The images.
        plain_NK: Logits of the whole network.
        draws: How many times units are chosen; a larger share deletes all that a smaller one does.
            At least one unit of each layer stays.
        scaled: Whether the others are multiplied by units / units left.

    Returns:
        One row per draw and share: ``draw`` (from 0), ``share`` (from 0, the whole network),
        ``accuracy``, ``error``, ``loss``, ``ece``, ``brier``.
    """
    rows: list[dict[str, Any]] = []
    for draw in range(draws):
        rows.append({"draw": draw, "share": 0.0, **measure_one(plain_NK, split.labels)})
        for share in SHARES:
            kept = {
                name: _kept(saved.seed("dropout"), name, units, share, draw, scaled)
                for name, units in layers.units.items()
            }
            with layers.changed(partial(_times, kept)):
                found = measure_one(saved.logits(split), split.labels)
            rows.append({"draw": draw, "share": share, **found})
    return pd.DataFrame(rows)


def _kept(seed: int, name: str, units: int, share: float, draw: int, scaled: bool) -> Tensor:
    """Return the factor on each unit's output, [units]."""
    deleted = min(math.floor(share * units + 0.5), units - 1)
    key = rng.fold(rng.stream(seed, f"evaluate/delete/{name}"), draw)
    kept = torch.ones(units)
    kept[rng.permutation(key, units)[:deleted]] = 0
    return kept * (units / (units - deleted)) if scaled else kept


def _times(kept: Mapping[str, Tensor], name: str, y: Tensor) -> Tensor:
    shape = [1] * y.dim()
    shape[_unit_axis(y)] = -1
    return y * kept[name].to(y.device, y.dtype).view(shape)


# -- correlation -----------------------------------------------------------------------------------


class Correlation:
    """The mean absolute correlation between units, gathered batch by batch."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, x_SU: Tensor) -> None:
        """Take in samples of all units."""
        x_SU = x_SU.double()
        if self._count == 0:
            self._origin_U = x_SU[0].clone()  # values near the mean lose less to rounding
            self._sum_U = torch.zeros_like(self._origin_U)
            self._squares_UU = x_SU.new_zeros(len(self._origin_U), len(self._origin_U))
        x_SU = x_SU - self._origin_U
        self._count += len(x_SU)
        self._sum_U += x_SU.sum(0)
        self._squares_UU += x_SU.T @ x_SU

    def result(self) -> tuple[int, float | None]:
        """Return how many units never vary, and the mean over pairs of the others.

        Returns:
            Units, and the mean |r| in [0, 1]; None without a pair.
        """
        assert self._count, "something was added"
        mean_U = self._sum_U / self._count
        covariance_UU = self._squares_UU / self._count - mean_U[:, None] * mean_U
        varies = covariance_UU.diagonal() > 0
        units = int(varies.sum())
        if units < 2:
            return len(varies) - units, None
        sd_U = covariance_UU.diagonal()[varies].sqrt()
        r_UU = (covariance_UU[varies][:, varies] / sd_U[:, None] / sd_U).clamp(-1, 1)
        pairs = r_UU.abs().triu(diagonal=1).sum() / (units * (units - 1) / 2)
        return len(varies) - units, float(pairs)


def correlations(saved: Saved, layers: HiddenLayers, split: Split) -> pd.DataFrame:
    """Correlate the units of each hidden layer over 1000 images of a split, whatever its order.

    Every pixel of a map is a sample of its channel; in a recurrent layer, every step is one.

    Returns:
        One row per layer: ``layer``, ``units``, ``constant`` (units that never vary) and
        ``correlation`` (mean |r| over pairs of the others, missing if there is no pair).
    """
    found = {name: Correlation() for name in layers.units}

    def watch(name: str, y: Tensor) -> Tensor:
        axis = _unit_axis(y)
        found[name].add(y.movedim(axis, -1).reshape(-1, y.shape[axis]))
        return y

    with layers.changed(watch):
        chosen = split.order[:_CORRELATED]
        for places in chosen.tensor_split(-(-len(chosen) // _AT_ONCE)):
            saved.apply(saved.data.normalized(split.at(places)))
    rows = []
    for name, units in layers.units.items():
        constant, mean = found[name].result()
        rows.append({"layer": name, "units": units, "constant": constant, "correlation": mean})
    frame = pd.DataFrame(rows, columns=["layer", "units", "constant", "correlation"])
    return frame.astype({"correlation": "float64"})
