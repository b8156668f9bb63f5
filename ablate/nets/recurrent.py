"""Recurrent networks: the image is read row by row, and the last state is classified.

A state is carried from row to row; gates, where there are any, decide what of it is kept. Rates of
`dropout.dense` act on each layer's outputs, or with `dropconnect` on its weights from state to
state, one mask for all steps. A norm before the activation acts on the product with the inputs
alone, over images and steps together; one after it on the outputs.

When it helps: where order matters; on images they show what gates, initial weights and gradient
clipping do to gradients through time. It hurts to take them for images as such: a conv net does
better, and steps cannot be computed side by side.
Settings: 128 units; orthogonal weights and Adam at 1e-3 or less for rnn; a forget bias of 1 for
lstm; clip_norm 1 if the loss jumps; dropout.dense 0.2 to 0.5.
Source: Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, section 2 (gradients through time); Laurent
et al. 2016, arXiv:1510.01378, section 4, and Amodei et al. 2016, arXiv:1512.02595, section 3.2
(norm); Merity et al. 2018, arXiv:1708.02182, section 2 (dropconnect).

    rnn: h' = φ(W x + U h + b): gradients shrink or grow by U at every step. Source: Elman 1990,
        Cognitive Science 14(2).
    lstm: c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'): what is kept in c is carried on by a sum,
        so that its gradient lasts. Source: Hochreiter & Schmidhuber 1997, Neural Computation 9(8);
        the forget gate, Gers, Schmidhuber & Cummins 2000, Neural Computation 12(10); its bias,
        Jozefowicz, Zaremba & Sutskever 2015, ICML, section 2.1.
    gru: h' = (1 - z) n + z h, n = tanh(W x + r (U h + b)): one state and three products to lstm's
        four, at much the same error. Source: Cho et al. 2014, arXiv:1406.1078, section 2.3, in the
        variant that cuDNN computes (r acts behind the product).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ablate.nets.activations import activation_layer
from ablate.nets.dropout import DropConnectLinear
from ablate.nets.layers import (
    dropout_layer,
    linear,
    per_layer,
    weight_dropout,
)
from ablate.nets.norms import keeps_bias, norm_layer
from ablate.nets.shapes import GATES

Config = Mapping[str, Any]


class Recurrent(nn.Module):
    """Recurrent layers over the rows of an image, H steps of C · W numbers; then logits.

    Args:
        config: A resolved configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.

    Shape:
        [B, C, H, W] -> [B, K].
    """

    def __init__(self, config: Config, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        hidden, dropout = config["model"]["hidden"], config["dropout"]
        rates = per_layer(dropout["dense"], len(hidden))
        inputs = shape[0] * shape[2]
        self.input_dropout = dropout_layer(dropout, dropout["input"])
        self.layers, self.dropouts = nn.ModuleList(), nn.ModuleList()
        for units, rate in zip(hidden, rates, strict=True):
            self.layers.append(RecurrentLayer(config, inputs, units, rate))
            self.dropouts.append(dropout_layer(dropout, rate))
            inputs = units
        self.output = linear(inputs, classes, drop=weight_dropout(dropout, dropout["output"]))
        self.output_dropout = dropout_layer(dropout, dropout["output"])

    def forward(self, x: Tensor) -> Tensor:
        x_TBF = self.input_dropout(x).permute(2, 0, 1, 3).flatten(2)
        for number, (layer, drop) in enumerate(zip(self.layers, self.dropouts, strict=True), 1):
            x_TBF = layer(x_TBF)
            if number < len(self.layers):
                # Steps last, like pixels, so that spatial dropout drops a unit at all steps.
                x_TBF = drop(x_TBF.permute(1, 2, 0)).permute(2, 0, 1)
        last_BF = x_TBF[-1]
        if len(self.layers):
            last_BF = self.dropouts[-1](last_BF)
        logits: Tensor = self.output_dropout(self.output(last_BF))
        return logits


class RecurrentLayer(nn.Module):
    """One recurrent layer: multiplies all inputs at once, then goes step by step.

    Args:
        config: A resolved configuration.
        inputs: Numbers per step.
        units: Units of the state.
        rate: Rate at which weights from state to state are dropped, with `dropconnect`.

    Shape:
        [T, B, inputs] -> [T, B, units].
    """

    def __init__(self, config: Config, inputs: int, units: int, rate: float) -> None:
        super().__init__()
        model, norm = config["model"], config["norm"]
        gates = GATES[model["name"]]
        before = norm.get("position") == "before"
        width = gates * units if before else units
        self.units = units
        made = norm_layer(norm, width, spatial=False)
        self.norm_before: nn.Module | None = made if before else None
        self.norm_after: nn.Module | None = None if before else made
        # In the other cells, one bias, that from state to state, serves both products.
        bias = model["name"] == "gru" and (self.norm_before is None or keeps_bias(norm))
        self.input = linear(inputs, gates * units, bias)
        self.hidden = linear(units, gates * units, drop=weight_dropout(config["dropout"], rate))
        for product in (self.input, self.hidden):
            product.gates = gates  # type: ignore[assignment]  # drawn gate by gate
        self.cell = _CELLS[model["name"]](model)

    def forward(self, x: Tensor) -> Tensor:
        inputs_TBG = _sequence_wise(self.norm_before, self.input(x))
        weight = self.hidden.weight
        if isinstance(self.hidden, DropConnectLinear):
            weight = self.hidden.dropped_weight()  # here, so that one mask serves all steps
        start = inputs_TBG.new_zeros(inputs_TBG.shape[1], self.units)
        states = self.cell(inputs_TBG, start, weight.t(), self.hidden.bias)
        return _sequence_wise(self.norm_after, torch.stack(states))


def _sequence_wise(norm: nn.Module | None, x_TBF: Tensor) -> Tensor:
    return x_TBF if norm is None else norm(x_TBF.flatten(0, 1)).reshape(x_TBF.shape)


class _Plain(nn.Module):
    """h' = φ(W x + U h + b)."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        super().__init__()
        self.activation = activation_layer(model["activation"])

    def forward(self, x_TBU: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        states = []
        for x in (x_TBU + bias).unbind(0):
            h = self.activation(torch.addmm(x, h, weight))
            states.append(h)
        return states


class _LSTM(nn.Module):
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'); gates in the order i, f, g, o."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        super().__init__()
        self.forget_bias = model["forget_bias"]

    def forward(self, x_TBG: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        i, f, g, o = bias.chunk(4)
        bias = torch.cat([i, f + self.forget_bias, g, o])
        c, states = h, []
        for x in (x_TBG + bias).unbind(0):
            i, f, g, o = torch.addmm(x, h, weight).chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return states


class _GRU(nn.Module):
    """h' = (1 - z) n + z h, n = tanh(x_n + r (U_n h + b_n)); gates in the order r, z, n."""

    def forward(self, x_TBG: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        units, states = h.shape[-1], []
        for x in x_TBG.unbind(0):
            product = torch.addmm(bias, h, weight)
            gates = (x[:, : 2 * units] + product[:, : 2 * units]).sigmoid()
            r, z = gates.chunk(2, dim=-1)
            n = (x[:, 2 * units :] + r * product[:, 2 * units :]).tanh()
            h = n + z * (h - n)
            states.append(h)
        return states


_CELLS: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "rnn": _Plain,
    "lstm": _LSTM,
    "gru": lambda _: _GRU(),
}
