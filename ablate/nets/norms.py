"""Normalization: activations are brought to mean 0 and variance 1, then scaled and shifted anew.

Here it stands between the product of every hidden layer and its activation, where the layer has no
bias, since the norm would take it away; with `norm.position=after` behind the activation. Scale and
shift are learned, one of each a channel (in layer norm, too, where Ba et al. have one a unit).

When it helps: networks of more than a few layers. Signals and gradients keep their size whatever
that of the weights, so that rates ten times as high still train, and weights that are too small at
first do no harm (too large ones do, for their gradients shrink as they grow); the noise of a
batch's statistics regularizes a little. It hurts, as batch norm, where a batch is small: from 32
images to 2, ResNet-50's error on ImageNet rises from 23.6 to 34.7 %, while with group norm it stays
at 24.1; and behind dropout, which shifts its statistics in evaluation.
Settings: batch norm for batches of 16 and more, else group norm with 8 groups (32 in wide
networks); eps 1e-5; a momentum of 0.1, or more where training has fewer than a hundred steps.
Source: Ioffe & Szegedy 2015, arXiv:1502.03167, sections 3.2 (position), 3.3 (rates, and gradients
of large weights) and 3.4 (noise); Wu & He 2018, arXiv:1803.08494, table 2 (batches); Li et al.
2019, arXiv:1801.05134 (dropout).

    batch: Mean and variance over the pixels of a channel in all images of the batch; in evaluation
        running averages stand for both, or with `norm.eval=batch` the evaluated batch's own.
        Source: Ioffe & Szegedy 2015, arXiv:1502.03167, algorithms 1 and 2.
    layer: Mean and variance over all channels and pixels of an image. For recurrent layers; on conv
        nets it trails batch norm (ResNet-50 on ImageNet: 25.3 against 23.6 %, Wu & He, table 1).
        Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450, equation 3 and section 6.7.
    group: Mean and variance over the pixels of a group of channels, image by image: one group is
        layer norm, a group a channel instance norm. Source: Wu & He 2018, arXiv:1803.08494,
        equation 7.
    instance: Mean and variance over the pixels of a channel, image by image; dense layers stay
        without. It takes away an image's contrast, which suits pictures' styles better than classes
        (28.4 % in that table). Source: Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022, section
        2.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any

from torch import Tensor, nn

from ablate.nets import own


class BatchNorm(nn.BatchNorm2d):
    """Batch norm of [B, C, H, W]; maps of one pixel are laid out as `DenseBatchNorm` does."""

    def forward(self, x: Tensor) -> Tensor:
        lifted = _lifted(x, self)
        if x.shape[-2:].numel() > 1:
            return super().forward(lifted).to(x.dtype)
        # A copy: torch 2.15's backward is wrong for the transposed view itself, unless vmapped.
        y_1CB1 = super().forward(lifted.flatten(1).t().contiguous()[None, :, :, None])
        return y_1CB1[0, :, :, 0].t().to(x.dtype).view_as(x)


class DenseBatchNorm(nn.BatchNorm1d):
    """Batch norm of [B, C], computed as [1, C, B].

    The same statistics, but each channel is summed along contiguous memory. Under vmap torch lays
    [B, R × C] side by side and sums columns in blocks of the vector width, so that a run's last
    bits would depend on its slot.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_lifted(x, self).t()[None])[0].t().to(x.dtype)


def _lifted(x: Tensor, norm: nn.modules.batchnorm._NormBase) -> Tensor:
    """Give x the type of the norm's own tensors: under vmap, on a CPU, torch takes no other."""
    if x.is_cuda:
        return x
    held = norm.weight if norm.running_mean is None else norm.running_mean
    return x if held is None else x.to(held.dtype)


def norm_layer(norm: Mapping[str, Any], width: int, spatial: bool) -> nn.Module | None:
    """Make the normalization of a layer.

    Args:
        norm: The `norm` part of a configuration.
        width: Channels or units.
        spatial: Whether the input is [B, C, H, W] rather than [B, C].

    Returns:
        The module, or None where there is nothing to normalize (no norm; one unit an instance).

    Raises:
        AblateError: A norm of the user's own does not build.
    """
    kind = norm["name"]
    if kind == "none" or (kind == "instance" and not spatial):
        return None
    if kind == "custom":
        extra = {k: v for k, v in norm.items() if k not in ("name", "_target_", "position")}
        return own.part(norm["_target_"], "norm._target_", width, **extra)
    if kind == "batch":
        cls = BatchNorm if spatial else DenseBatchNorm
        running = norm["eval"] == "running"
        return cls(
            width,
            eps=norm["eps"],
            momentum=norm["momentum"],
            affine=norm["affine"],
            track_running_stats=running,
        )
    # Layer norm over [C, H, W] is one group, instance norm is a group a channel.
    groups = {"layer": 1, "group": gcd(norm.get("groups", 1), width), "instance": width}[kind]
    return nn.GroupNorm(groups, width, eps=norm["eps"], affine=norm["affine"])


def keeps_bias(norm: Mapping[str, Any]) -> bool:
    """Tell whether a layer right before this norm needs a bias.

    A norm of the user's own may take no mean away, as RMS norm does not.
    """
    return bool(norm["name"] == "custom")
