"""Dropout: activations or weights are zeroed at random in training, by the run's own stream.

Each site draws a mask a step. With rate p what is left is scaled by 1/(1 - p), so that evaluation
uses everything as it is; `dropout.scaling` moves the factor to evaluation, or leaves it out.

When it helps: where a network fits its training set far better than new images: noise keeps units
from relying on each other, much like averaging over many thinned networks. It hurts where data are
plenty or training is short, since it slows learning; and right before a batch norm, whose
statistics it shifts.
Settings: 0.2 on inputs, 0.1 to 0.3 after convolutions, 0.5 in dense layers; more epochs.
Source: Srivastava et al. 2014, JMLR 15, sections 4 and 10 (where the factor stands) and appendix A
(settings); Li et al. 2019, arXiv:1801.05134 (before a batch norm).

    bernoulli: Each element times 0 or 1/(1 - p). Source: Srivastava et al. 2014, JMLR 15, section
        4.
    gaussian: Each element times a normal number of mean 1 and variance p/(1 - p), as bernoulli's
        has; rates as there. Source: Srivastava et al. 2014, JMLR 15, section 10.
    spatial: Whole channels at once, since neighbouring pixels tell of each other; 0.1 to 0.3 in
        convolutions. Source: Tompson et al. 2015, arXiv:1411.4280, section 3.2.
    alpha: Elements are set to selu's lower limit, -1.758, then all are scaled and shifted so that
        mean 0 and variance 1 stay; 0.05 to 0.1, with selu and lecun_normal. Source: Klambauer et
        al. 2017, arXiv:1706.02515, section 2.
    dropconnect: Each weight times 0 or 1/(1 - p), one mask a step for the whole batch; 0.5 in dense
        layers. Source: Wan et al. 2013, ICML, section 3 (they draw a mask an image, and sample in
        evaluation).

A sixth kind, ``image``, drops whole images: it is the mask of a residual branch in stochastic depth
(Huang et al. 2016, arXiv:1603.09382, section 3).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate import rng
from ablate.nets.convolution import Conv2d

# The limit of selu for large negative inputs, -λα: alpha dropout sets dropped elements to it.
_SATURATED = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717
_MASKED_AXES = {"spatial": 2, "image": 1}  # leading axes along which the mask varies; else all


class Dropout(nn.Module):
    """Drops with probability ``rate`` in training: elements, channels, images or weights.

    The mask is a function of the buffer ``key``, which the trainer sets at each step. Rate and key
    are buffers so that they may differ along the run axis.

    Args:
        rate: Probability of zeroing, in [0, 1).
        kind: ``bernoulli``, ``gaussian``, ``spatial``, ``alpha``, ``dropconnect`` or ``image``, as
            the module's list says; ``dropconnect`` is meant for a weight.
        scaling: ``inverted`` scales by 1/(1-rate) in training, ``test`` by 1-rate in evaluation,
            ``none`` never. Gaussian and alpha dropout keep the mean anyway.

    Shape:
        Any (``spatial`` [B, C, ...], ``image`` [B, ...]) -> the same.

    Source: Srivastava et al. 2014, JMLR 15 (scaled in training: their section 10).
    """

    rate: Tensor
    key: Tensor

    def __init__(self, rate: float, kind: str = "bernoulli", scaling: str = "inverted") -> None:
        nn.Module.__init__(self)  # not super(): a subclass may also inherit from torch's dropout
        self.kind = kind
        self.scaling = "inverted" if kind in ("gaussian", "alpha") else scaling
        self.active = rate > 0  # in a fused stack: whether any of its runs drops here
        self.calls = 0  # in this step
        self._p = float(rate)
        rate_ = torch.tensor(self._p, dtype=torch.float64)  # follows the network's type later
        self.register_buffer("rate", rate_, persistent=False)
        self.register_buffer("key", torch.tensor(0, dtype=torch.int64), persistent=False)

    @property
    def p(self) -> float:
        """The rate, under torch's name."""
        return self._p

    def begin(self, key: Tensor) -> None:
        """Begin a step with its key, int64, 0-dimensional."""
        self.key, self.calls = key, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        if not self.training:
            return x * (1 - self.rate).to(x.dtype) if self.scaling == "test" else x
        # A module called again in the same pass draws another mask.
        call = self._count_call()
        key = self.key if call == 0 else rng.fold(self.key, call)
        if self.kind == "gaussian":
            return self._gaussian(x, key)
        axes = _MASKED_AXES.get(self.kind, x.dim())
        shape = torch.Size((*x.shape[:axes], *[1] * (x.dim() - axes)))
        mask = rng.keep_mask(key, 1 - self.rate, shape)
        if x.dtype == torch.float64:  # else an integer times a number is torch's default, float32
            mask = mask.double()
        return self._alpha(x, mask) if self.kind == "alpha" else self._zeroed(x, mask)

    def _count_call(self) -> int:
        """Number this call within its step, from 0."""
        self.calls += 1
        return self.calls - 1

    def _zeroed(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.scaling != "inverted":
            return x * (-mask).to(x.dtype)
        scale = (-1 / (1 - self.rate)).nan_to_num(neginf=0)
        return x * (mask * scale).to(x.dtype)

    def _gaussian(self, x: Tensor, key: Tensor) -> Tensor:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        std = (self.rate / (1 - self.rate)).sqrt().to(dtype)
        return x * (rng.noise(key, x.shape, dtype) * std + 1).to(x.dtype)

    def _alpha(self, x: Tensor, mask: Tensor) -> Tensor:
        # Klambauer et al. 2017, section 2: a·(x·d + α'·(1 - d)) + b
        keep = 1 - self.rate
        a = (keep + _SATURATED**2 * keep * self.rate).rsqrt()
        b = -a * self.rate * _SATURATED
        shift = (mask + 1) * (a * _SATURATED) + b
        return x * (mask * -a).to(x.dtype) + shift.to(x.dtype)

    def extra_repr(self) -> str:
        plain = f"rate={self.rate.tolist()}, kind={self.kind}"
        return plain if self.scaling == "inverted" else f"{plain}, scaling={self.scaling}"


class DropConnectLinear(nn.Linear):
    """A linear layer whose weights are dropped, with one mask per step; at test it uses their mean.

    Args:
        inputs: Units of the input.
        units: Units of the output.
        bias: Whether it has a bias; biases are never dropped.
        dropout: The dropout applied to the weight.

    Shape:
        [..., inputs] -> [..., units].

    Source: Wan et al. 2013, ICML, section 3 (they draw a mask per image, and sample at test).
    """

    def __init__(self, inputs: int, units: int, bias: bool, dropout: Dropout) -> None:
        super().__init__(inputs, units, bias=bias)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dropped_weight(), self.bias)

    def dropped_weight(self) -> Tensor:
        """Draw the weight for one pass, [units, inputs]."""
        weight: Tensor = self.dropout(self.weight)
        return weight


class DropConnectConv2d(Conv2d):
    """A convolution whose weights are dropped, with one mask per step; at test it uses their mean.

    Args:
        dropout: The dropout applied to the weight.
        arguments: As for `nn.Conv2d`.
        keywords: As for `nn.Conv2d`.

    Shape:
        [B, C, H, W] -> [B, C', H', W'].

    Source: Wan et al. 2013, ICML, section 3 (they drop weights of dense layers only).
    """

    def __init__(self, dropout: Dropout, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, self.dropout(self.weight), self.bias)
        return y
