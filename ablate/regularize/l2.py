"""L2 penalty: λ‖w‖₂² in the loss shrinks every weight in proportion to its size.

When it helps: nearly always a little; it keeps the function smooth where data are few. With an
adaptive optimizer it acts less on weights with large gradients than ``weight_decay`` of AdamW does,
and before a norm layer it only sets the effective learning rate.
Settings: λ from 1e-5 to 1e-3. In plain descent it equals a weight decay of 2λ.
Source: Krogh & Hertz 1992, NIPS 4; Loshchilov & Hutter 2019, arXiv:1711.05101,
propositions 1 and 2.
"""

from __future__ import annotations

from torch import Tensor

from ablate.axis import Stacked, pushed, total


def penalty(weights: Stacked, strength_R: Tensor) -> Tensor:
    """Compute λ‖w‖₂² of each run.

    Args:
        weights: name -> [R, ...], at least one.
        strength_R: λ ≥ 0, float64.

    Returns:
        [R], of the weights' type.
    """
    square_R = total(weight.square() for weight in weights.values())
    return strength_R.to(square_R.dtype) * square_R


def add_gradient(gradients: Stacked, weights: Stacked, strength_R: Tensor) -> Stacked:
    """Add the penalty's gradient 2λw.

    Args:
        gradients: name -> [R, ...]; not changed.
        weights: The penalized parameters.
        strength_R: λ ≥ 0, float64; a run with 0 keeps its gradients bit for bit.

    Returns:
        All gradients; only those of the weights are new tensors.
    """
    return pushed(gradients, weights.items(), 2 * strength_R)
