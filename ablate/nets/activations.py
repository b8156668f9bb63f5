"""Activations: the function of one number that bends what a layer's product gives.

Here all hidden layers have the same one; an lstm or gru has the sigmoid and tanh of its gates
instead, and the logits none.

When it helps: always, since layers without one are together a single linear map. Which one matters
less than initial weights and a learning rate that suit it. relu is the first choice; gelu and silu
bring a little in deep networks; leaky_relu and elu keep a gradient below zero, where units of relu
may die at high rates. It hurts where it saturates: through many layers of sigmoid or tanh, without
a norm, gradients vanish.
Settings: he_normal with relu and all that look like it, xavier_normal with tanh and sigmoid,
lecun_normal with selu; or `init.gain=auto`, which fits any scheme to the activation (by √2 for
relu, 5/3 for tanh, 3/4 for selu).
Source: Glorot, Bordes & Bengio 2011, AISTATS, section 4.1 (relu against tanh); Glorot & Bengio
2010, AISTATS, section 3 (saturation); He et al. 2015, arXiv:1502.01852, section 2.2 (weights).

    relu: max(x, 0). Its gradient is 1 or 0, so that it neither shrinks nor grows in depth. Source:
        Glorot, Bordes & Bengio 2011, AISTATS, section 3.
    tanh: Between -1 and 1, with a mean near 0, which speeds up the layer that follows. Source:
        LeCun et al. 1998, "Efficient BackProp", section 4.4 (there stretched).
    sigmoid: 1/(1 + exp(-x)), between 0 and 1. Its mean of 0.5 drives the layers that follow into
        saturation, and its slope is at most 1/4. Source: Rumelhart, Hinton & Williams 1986, Nature
        323, equation 2; Glorot & Bengio 2010, AISTATS, section 3.1 (saturation).
    leaky_relu: x above zero, 0.01·x below, so that no unit dies. Source: Maas, Hannun & Ng 2013,
        ICML workshop on deep learning for audio, section 2.
    elu: x above zero, exp(x) - 1 below: means closer to zero, and no jump of the slope. Source:
        Clevert, Unterthiner & Hochreiter 2016, arXiv:1511.07289, section 3 (with α = 1).
    selu: elu's shape, λ·x above zero and λα·(exp(x) - 1) below, with λ = 1.0507 and α = 1.6733: in
        dense layers with lecun_normal, mean 0 and variance 1 stay by themselves. Source: Klambauer
        et al. 2017, arXiv:1706.02515, equation 2.
    gelu: x·Φ(x), Φ the distribution function of a standard normal number; exact, not by tanh.
        Source: Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2.
    silu: x·sigmoid(x), also called swish: smooth, and with a minimum of -0.28 at -1.28. Source:
        Elfwing, Uchibe & Doya 2018, arXiv:1702.03118, section 2; Ramachandran, Zoph & Le 2017,
        arXiv:1710.05941.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ablate.config.targets import FUNCTION, locate
from ablate.nets import own

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class Function(nn.Module):
    """A function of the user's as a module.

    Args:
        function: Tensor -> tensor.
        extra: Its keyword arguments.
    """

    def __init__(self, function: Any, extra: Mapping[str, Any]) -> None:
        super().__init__()
        self.function, self.extra = function, dict(extra)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function(x, **self.extra)
        return y


def activation_layer(activation: str | Mapping[str, Any]) -> nn.Module:
    """Make an activation: by its name, or the user's own class or function.

    Args:
        activation: `model.activation`: a name, or `_target_` and keyword arguments.

    Raises:
        AblateError: The user's own does not build.
    """
    if isinstance(activation, str):
        return ACTIVATIONS[activation]()
    target, knob = activation["_target_"], "model.activation._target_"
    extra = {name: value for name, value in activation.items() if name != "_target_"}
    if inspect.isclass(found := locate(target, knob, FUNCTION)):
        return own.part(target, knob, **extra)
    return Function(found, extra)
