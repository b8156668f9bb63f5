"""Stochastic depth: in training a residual branch is left out, for a whole image, at its own rate.

When it helps: residual networks of many blocks (tens and more); it shortens the path of gradients
and averages over depths. Early blocks, whose features all later ones need, are dropped least.
Settings: a rate of 0.5 for the last of 50 blocks, 0.1 to 0.2 for shallow networks.
Source: Huang et al. 2016, arXiv:1603.09382, equation 4.
"""

from __future__ import annotations


def rates(last: float, branches: int) -> list[float]:
    """Compute the drop rate of each branch, growing linearly: the l-th of L has l/L·last.

    Args:
        last: Drop rate of the last branch, in [0, 1).
        branches: Number of residual branches L, at least 1.
    """
    return [number / branches * last for number in range(1, branches + 1)]
