"""L1 penalty: λ‖w‖₁ in the loss pulls every weight towards 0 by the same force λ.

When it helps: many inputs or units carry nothing; weights that the loss does not defend are driven
to 0 and stay about it, so that the network can be pruned afterwards.
Settings: λ from 1e-6 to 1e-4 for small networks; the penalty grows with the number of weights.
Source: Tibshirani 1996, J. R. Stat. Soc. B 58(1); Goodfellow, Bengio & Courville 2016,
Deep Learning, section 7.1.2.
"""

from __future__ import annotations

from torch import Tensor

from ablate.axis import Stacked, pushed, total


def penalty(weights: Stacked, strength_R: Tensor) -> Tensor:
    """Compute λ‖w‖₁ of each run.

    Args:
        weights: name -> [R, ...], at least one.
        strength_R: λ ≥ 0, float64.

    Returns:
        [R], of the weights' type.
    """
    norm_R = total(weight.abs() for weight in weights.values())
    return strength_R.to(norm_R.dtype) * norm_R


def add_gradient(gradients: Stacked, weights: Stacked, strength_R: Tensor) -> Stacked:
    """Add the penalty's gradient λ sign(w), where sign(0) = 0.

    Args:
        gradients: name -> [R, ...]; not changed.
        weights: The penalized parameters.
        strength_R: λ ≥ 0, float64; a run with 0 keeps its gradients bit for bit.

    Returns:
        All gradients; only those of the weights are new tensors.
    """
    return pushed(gradients, ((k, w.sign()) for k, w in weights.items()), strength_R)
