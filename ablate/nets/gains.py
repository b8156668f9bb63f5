"""Gains of activations: factors on a layer's weights that keep the size of signals.

Source: torch.nn.init.calculate_gain, for the activations that it knows; for the others the factor
that keeps the second moment of a standard normal input, He et al. 2015, arXiv:1502.01852,
section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Final

_TORCHS: Final = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "selu": 3 / 4,
}
_OTHERS: Final[dict[str, Callable[[float], float]]] = {
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "gelu": lambda z: z * math.erfc(-z / math.sqrt(2)) / 2,
    "silu": lambda z: z / (1 + math.exp(-z)),
}
_REACH, _INTERVALS = 12, 2000  # of the integral on each side of zero, since elu bends there


@cache
def gain_of(activation: str) -> float:
    """Return the gain of a shipped activation, or of ``linear``.

    For elu, gelu and silu it is 1/√E[φ(z)²] over standard normal z.

    Raises:
        KeyError: It is not a shipped activation.
    """
    if activation in _TORCHS:
        return _TORCHS[activation]
    phi = _OTHERS[activation]

    def density(z: float) -> float:
        return phi(z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return 1 / math.sqrt(_simpson(density, -_REACH, 0) + _simpson(density, 0, _REACH))


def _simpson(f: Callable[[float], float], low: float, high: float) -> float:
    """Integrate by Simpson's rule."""
    width = (high - low) / _INTERVALS
    inner = sum((4 if i % 2 else 2) * f(low + i * width) for i in range(1, _INTERVALS))
    return width / 3 * (f(low) + inner + f(high))
