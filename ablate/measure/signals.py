"""Signal statistics: a batch on its way through a network, and its gradient on the way back.

What they show: activations whose deviation shrinks or grows from layer to layer, saturated or dead
units, gradients that vanish before the first layers, updates far from a thousandth of the weights.
Settings that work: a few hundred images; training mode, where gradients come from (at the start,
batch norm in evaluation mode has no statistics yet).

Inspecting changes nothing: parameters and buffers are passed as copies, hooks are removed, modes
are restored, and no generator is used.

Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural
networks", sections 3 and 4; He et al. 2015, arXiv:1502.01852, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ablate.measure.layers import (
    layers_of,
    multiply_adds,
    parameters_of,
    range_of,
    shape_of,
    unit_axis,
)
from ablate.regularize.label_smoothing import cross_entropy

Row = dict[str, Any]

BINS: Final = 60
SATURATED: Final = 0.97  # share of the way from the middle of an activation's range to its end
_ENOUGH, _ROWS = 1 << 15, 32  # how many numbers, evenly spaced, a histogram uses
_TINY = 1e-30  # its reciprocal would soon be too large for float32
OF_LAYERS: Final = ("mean", "sd", "zeros", "saturated", "dead")
OF_WEIGHTS: Final = ("weight_norm", "weight_sd", "grad_norm", "grad_sd", "update_ratio")


@dataclass(frozen=True)
class Look:
    """What one pass through a network showed.

    Attributes:
        layers: One row per call of a layer, in order: ``layer`` (called again in one pass:
            ``relu#2``), ``kind``, ``shape`` (of one image), ``parameters``, ``multiply_adds`` (per
            image), ``mean``, ``sd``, ``zeros`` (share of outputs that are 0), ``saturated`` (share;
            None unless the range has two ends), ``dead`` (share of units, or channels, that are the
            same for every image), ``low``, ``high`` and ``histogram`` (`BINS` counts between them).
        weights: One row per trained parameter: ``parameter``, ``layer``, ``numbers``, ``matrix``
            (whether it is a matrix or a kernel), ``weight_norm``, ``weight_sd``, ``grad_norm``,
            ``grad_sd``, ``low``, ``high`` and ``histogram`` of the gradient; empty without labels.
        norms: One row per tensor of a norm layer: ``layer``, ``tensor`` (``gamma``, ``beta``,
            ``running_mean``, ``running_var``), ``mean``, ``sd``, ``low``, ``high`` over channels.
    """

    layers: list[Row] = field(default_factory=list)
    weights: list[Row] = field(default_factory=list)
    norms: list[Row] = field(default_factory=list)


def signals(
    network: nn.Module, x: Tensor, labels: Tensor | None = None, *, training: bool = False
) -> dict[str, float]:
    """Measure a network on a batch, as flat numbers that serve as metrics.

    Args:
        network: Any module, [B, ...] -> logits [B, K]; it is left as it was.
        x: A batch.
        labels: int64 [B], to get gradients too: those of the mean cross entropy.
        training: Whether the network is applied in training mode.

    Returns:
        ``signal/<layer>/<statistic>``: `OF_LAYERS` of each layer's output, `OF_WEIGHTS` of its
        weight (for a bias ``bias_grad_norm``, ...), as in `Look`; unknown values are left out.

    Example:
        >>> import torch
        >>> found = signals(torch.nn.Sequential(torch.nn.ReLU()), torch.tensor([[-1.0, 1.0]]))
        >>> found["signal/0/zeros"]
        0.5
    """
    return flat(look(network, x, labels, training=training))


def flat(found: Look) -> dict[str, float]:
    """Flatten a look: ``signal/<layer>/<statistic>`` -> number."""
    numbers = {
        f"signal/{row['layer']}/{name}": row[name] for row in found.layers for name in OF_LAYERS
    }
    for row in found.weights:
        leaf = row["parameter"].rpartition(".")[2]
        start = "" if leaf == "weight" else f"{leaf}_"
        for name in OF_WEIGHTS:
            numbers[f"signal/{row['layer']}/{start}{name}"] = row.get(name)
    return {name: float(value) for name, value in numbers.items() if value is not None}


def look(
    network: nn.Module,
    x: Tensor,
    labels: Tensor | None = None,
    *,
    training: bool = False,
    tensors: Mapping[str, Tensor] | None = None,
) -> Look:
    """Apply a network to a batch; measure each layer and, given labels, each gradient.

    Args:
        network: As in `signals`.
        x: A batch [B, ...].
        labels: int64 [B].
        training: Whether in training mode.
        tensors: Parameters and buffers to use in place of the network's own.
    """
    held = dict(network.named_parameters()) | dict(network.named_buffers()) | dict(tensors or {})
    leaves = {
        name: held[name].detach().requires_grad_(labels is not None)
        for name, p in network.named_parameters()
        if p.requires_grad
    }
    # Copies: a pass in training mode updates running statistics.
    others = {name: t.detach().clone() for name, t in held.items() if name not in leaves}
    found = Look(norms=_norms(network, held))
    with (
        _mode(network, training),
        _watched(network, len(x), found.layers.append),
        torch.set_grad_enabled(labels is not None),
    ):
        logits_BK = functional_call(network, others | leaves, (x,))
    if labels is not None:
        loss = cross_entropy(logits_BK, {"y": labels})
        gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        for (name, p), gradient in zip(leaves.items(), gradients, strict=True):
            found.weights.append(_weight(name, p.detach(), gradient))
    return found


# -- one pass --------------------------------------------------------------------------------------


@contextmanager
def _mode(network: nn.Module, training: bool) -> Iterator[None]:
    before = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def _watched(network: nn.Module, batch: int, tell: Callable[[Row], None]) -> Iterator[None]:
    """Measure each layer when it is called."""
    calls: dict[str, int] = {}

    def hook(name: str, kind: str) -> Callable[[nn.Module, Any, Any], None]:
        def measure(layer: nn.Module, inputs: Any, output: Any) -> None:
            y = output[0] if isinstance(output, tuple) else output
            calls[name] = calls.get(name, 0) + 1
            told = name if calls[name] == 1 else f"{name}#{calls[name]}"
            about = {
                "layer": told,
                "kind": kind,
                "shape": shape_of(y, batch),
                "parameters": parameters_of(layer) if calls[name] == 1 else 0,
                "multiply_adds": multiply_adds(layer, inputs, y, batch),
            }
            tell(about | measured(layer, y.detach()))

        return measure

    handles = [
        layer.register_forward_hook(hook(name, kind))
        for name, (kind, layer) in layers_of(network).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# -- numbers ---------------------------------------------------------------------------------------


def measured(layer: nn.Module, y: Tensor) -> Row:
    """Measure a layer's output, as `Look.layers` says."""
    y = y.float() if y.dtype in (torch.bfloat16, torch.float16) else y
    units = unit_axis(layer, y)
    others = [axis for axis in range(y.dim()) if axis != units]
    low_U, high_U = (y.amin(others), y.amax(others)) if others else (y, y)
    low, high = float(low_U.min()), float(high_U.max())
    mean, sd = spread(y, low, high)
    ends = range_of(layer)
    return {
        "mean": mean,
        "sd": sd,
        "zeros": 1 - int(y.count_nonzero()) / y.numel(),
        "saturated": None if ends is None else _saturated(y, *ends),
        "dead": float((low_U == high_U).double().mean()),
        "low": low,
        "high": high,
        "histogram": histogram(y, low, high),
    }


def _saturated(y: Tensor, low: float, high: float) -> float:
    reach = SATURATED * (high - low) / 2
    return int(((y - (low + high) / 2).abs() > reach).sum()) / y.numel()


def _weight(name: str, p: Tensor, gradient: Tensor) -> Row:
    low, high = (float(end) for end in gradient.aminmax())
    return {
        "parameter": name,
        "layer": name.rpartition(".")[0],
        "numbers": p.numel(),
        "matrix": p.dim() > 1,
        "weight_norm": norm(p),
        "weight_sd": spread(p, *(float(end) for end in p.aminmax()))[1],
        "grad_norm": norm(gradient),
        "grad_sd": spread(gradient, low, high)[1],
        "low": low,
        "high": high,
        "histogram": histogram(gradient, low, high),
    }


def spread(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """Compute mean and standard deviation (with n, not n - 1) of values from low to high."""
    mean, scale = float(values.mean()), max(abs(low), abs(high))
    if scale == 0 or not math.isfinite(scale):
        return mean, 0.0 if scale == 0 else math.nan
    # Scaled, so that squares of vanishing signals do not underflow. torch.var_mean takes five times
    # as long.
    values = values.double() if scale < _TINY else values
    centred = torch.add(values.new_tensor(-mean / scale), values, alpha=1 / scale)
    return mean, scale * math.sqrt(float(centred.square_().mean()))


def norm(values: Tensor) -> float:
    """Compute the Euclidean norm, even of values whose squares under- or overflow."""
    scale = float(values.abs().max())
    if scale == 0 or not math.isfinite(scale):
        return scale
    values = values.double() if scale < _TINY else values
    return scale * math.sqrt(float((values / scale).square_().sum()))


def histogram(values: Tensor, low: float, high: float) -> list[int]:
    """Count values in `BINS` equal bins from low to high; if there are many, count a sample."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0] * BINS
    # First choose some images (or rows), so that little is copied.
    apart = min(len(values) // _ROWS, values.numel() // (4 * _ENOUGH))
    flat_N = values[:: max(apart, 1)].flatten()
    flat_N = flat_N[:: -(-len(flat_N) // _ENOUGH)]
    # On a GPU, deterministic=true refuses histc.
    counts: list[int] = flat_N.cpu().histc(BINS, low, high).long().tolist()
    return counts


_TENSORS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "running_mean",
    "running_var": "running_var",
}


def _norms(network: nn.Module, held: Mapping[str, Tensor]) -> list[Row]:
    rows = []
    for name, (kind, _) in layers_of(network).items():
        for leaf, told in _TENSORS.items() if kind == "norm" else ():
            if f"{name}.{leaf}" in held:
                tensor = held[f"{name}.{leaf}"].detach()
                numbers = [tensor.mean(), tensor.var(correction=0).sqrt(), *tensor.aminmax()]
                mean, sd, low, high = (float(number) for number in numbers)
                rows.append(
                    {
                        "layer": name,
                        "tensor": told,
                        "mean": mean,
                        "sd": sd,
                        "low": low,
                        "high": high,
                    }
                )
    return rows
