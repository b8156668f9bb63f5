"""Augmentation of whole batches on the device: each transformation a pure function of images.

There is one strength per run, int64 or float64 [R], and one random number per image, [R, B],
uniform on (0, 1). Strength 0 leaves a run's images bit-identical, and no run's bits depend on the
other runs. `shift`, `crop`, `flip` and `cutout` take images of any type; `affine`, `brightness` and
`contrast` take floats. Shapes and types stay; results are channels last in memory, as the data are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ablate import rng
from ablate.axis import box_mask, channels_last, pairwise

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision has them


def numbers(key_R: Tensor, count: int) -> Tensor:
    """Draw numbers uniform on (0, 1), the same count for each key.

    Args:
        key_R: int64; other shapes [...] work too.
        count: Numbers per key.

    Returns:
        float64 [R, count]: 2^52 values, the middles of equal intervals.
    """
    index = torch.arange(count, dtype=torch.int64, device=key_R.device)
    upper = (rng.fold(key_R.unsqueeze(-1), index) >> 12) & (1 << 52) - 1
    return (upper.double() + 0.5) / 2**52


# -- by whole pixels -------------------------------------------------------------------------------


def shift(x_RBCHW: Tensor, pixels_R: Tensor, u_RB: Tensor, v_RB: Tensor) -> Tensor:
    """Move each image by whole pixels, each way from -s to s with equal chances; black enters.

    When it helps: objects that are not always centred; the first augmentation for digits, where a
    mirror image would be another sign.
    Settings: s = 1 to 4 pixels, an eighth of the side.

    Args:
        x_RBCHW: Images whose black is 0.
        pixels_R: s ≥ 0, int64.
        u_RB: Random numbers for the shift down.
        v_RB: Random numbers for the shift to the right.

    Source: Simard, Steinkraus & Platt 2003, ICDAR, section 2.
    """
    height, width = x_RBCHW.shape[-2:]
    row_RBH = _moved(pixels_R, u_RB, height)
    column_RBW = _moved(pixels_R, v_RB, width)
    outside_RBHW = _beyond(row_RBH, height)[..., :, None] | _beyond(column_RBW, width)[..., None, :]
    picked = _pick(x_RBCHW, row_RBH.clamp(0, height - 1), column_RBW.clamp(0, width - 1))
    return picked.masked_fill_(outside_RBHW[:, :, None], 0)


def crop(x_RBCHW: Tensor, pixels_R: Tensor, u_RB: Tensor, v_RB: Tensor) -> Tensor:
    """Pad by reflection and crop at a random place: a shift by -s to s where the mirror enters.

    When it helps: natural images, together with `flip`; the standard augmentation of CIFAR.
    Settings: s = 4 pixels of 32 for long training, 2 for less than 20 epochs.

    Args:
        x_RBCHW: Images.
        pixels_R: s ≥ 0, int64; clamped to side - 1, since no more can be reflected.
        u_RB: Random numbers for the shift down.
        v_RB: Random numbers for the shift to the right.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2 (with zeros); by reflection: Jordan 2024,
    arXiv:2404.00498, section 3.
    """
    height, width = x_RBCHW.shape[-2:]
    rows = _reflected(_moved(pixels_R.clamp(max=height - 1), u_RB, height), height)
    columns = _reflected(_moved(pixels_R.clamp(max=width - 1), v_RB, width), width)
    return _pick(x_RBCHW, rows, columns)


def flip(x_RBCHW: Tensor, mask_RB: Tensor) -> Tensor:
    """Mirror images left to right: those that a mask picks, by chance or by turns.

    When it helps: scenes and objects that look alike in a mirror; never digits, letters or signs.
    Settings: half of the images; or each image every other epoch, which repeats fewer views.

    Args:
        x_RBCHW: Images.
        mask_RB: bool.

    Source: Krizhevsky, Sutskever & Hinton 2012, NIPS 25, section 4.1; alternating: Jordan 2024,
    arXiv:2404.00498, section 3.6.
    """
    return channels_last(torch.where(mask_RB[:, :, None, None, None], x_RBCHW.flip(-1), x_RBCHW))


def cutout(
    x_RBCHW: Tensor, side_R: Tensor, u_RB: Tensor, v_RB: Tensor, fill_C: Tensor | None = None
) -> Tensor:
    """Fill a square, its centre uniform in the image, clipped at the border.

    When it helps: convolutional networks on natural images; they learn to use more than the one
    most telling part.
    Settings: sides of 16 of 32 pixels (CIFAR-10), 8 (CIFAR-100), 20 (SVHN).

    Args:
        x_RBCHW: Images.
        side_R: Side of the square in pixels, int64.
        u_RB: Random numbers for the centre's row.
        v_RB: Random numbers for its column.
        fill_C: Value in each channel; 0 by default, the mean of normalized images.

    Source: DeVries & Taylor 2017, arXiv:1708.04552, section 3.
    """
    side = side_R[:, None]
    box_RBHW = box_mask(u_RB, v_RB, side, side, *x_RBCHW.shape[-2:])
    fill = x_RBCHW.new_zeros(1) if fill_C is None else fill_C.to(x_RBCHW.dtype)
    return channels_last(torch.where(box_RBHW[:, :, None], fill[:, None, None], x_RBCHW))


# -- by interpolation ------------------------------------------------------------------------------


def affine(
    x_RBCHW: Tensor,
    degrees_R: Tensor,
    factor_R: Tensor,
    shear_R: Tensor,
    u_RB: Tensor,
    v_RB: Tensor,
    w_RB: Tensor,
) -> Tensor:
    """Turn, scale and shear each image about its centre, in one bilinear interpolation.

    When it helps: handwriting and other shapes that occur at any slant and size.
    Settings: 10 to 15 degrees, a factor of 0.1, a shear of 5 to 10 degrees for digits.

    Args:
        x_RBCHW: Images; 0 enters from outside.
        degrees_R: Largest rotation; an image gets a random one of either sign, clockwise if > 0.
        factor_R: Largest relative change of size, in [0, 1).
        shear_R: Largest horizontal shear, in degrees below 90.
        u_RB: Random numbers for the rotation.
        v_RB: Random numbers for the scale.
        w_RB: Random numbers for the shear.

    Source: Simard, Steinkraus & Platt 2003, ICDAR, section 2; conventions of torchvision's
    ``affine``.
    """
    turn_RB = torch.deg2rad(_either_way(degrees_R, u_RB))
    scale_RB = 1 + _either_way(factor_R, v_RB)
    lean_RB = torch.deg2rad(_either_way(shear_R, w_RB)).tan()
    cos_RB, sin_RB = turn_RB.cos() / scale_RB, turn_RB.sin() / scale_RB
    across = (cos_RB - sin_RB * lean_RB, cos_RB * lean_RB + sin_RB)
    grid = _grid(x_RBCHW, across, (-sin_RB, cos_RB))
    found = F.grid_sample(x_RBCHW.flatten(0, 1), grid.flatten(0, 1), align_corners=False)
    off_R = (degrees_R == 0) & (factor_R == 0) & (shear_R == 0)
    return _unless(off_R, x_RBCHW, found.view(x_RBCHW.shape))


def brightness(
    x_RBCHW: Tensor, strength_R: Tensor, u_RB: Tensor, high: float | None = None
) -> Tensor:
    """Multiply each image by a random factor between 1 - s and 1 + s.

    When it helps: photographs under varying light.
    Settings: s = 0.1 to 0.4.

    Args:
        x_RBCHW: Images whose black is 0, not yet normalized.
        strength_R: s in [0, 1]; beyond, a factor could be negative.
        u_RB: Random numbers.
        high: White (255 for images stored as uint8); results are clamped to [0, white].

    Source: Howard 2013, arXiv:1312.5402, section 2.
    """
    return _blended(x_RBCHW, torch.zeros((), dtype=x_RBCHW.dtype), strength_R, u_RB, high)


def contrast(
    x_RBCHW: Tensor, strength_R: Tensor, u_RB: Tensor, high: float | None = None
) -> Tensor:
    """Move each image away from its mean gray, or towards it, by a factor between 1 - s and 1 + s.

    When it helps: photographs that are hazy or taken with different cameras.
    Settings: s = 0.1 to 0.4.

    Args:
        x_RBCHW: Images whose black is 0, not yet normalized. The gray of three channels is their
            luma, of another number of channels their mean.
        strength_R: s in [0, 1], as for `brightness`.
        u_RB: Random numbers.
        high: White, as for `brightness`.

    Source: Howard 2013, arXiv:1312.5402, section 2.
    """
    return _blended(x_RBCHW, _mean_gray(x_RBCHW), strength_R, u_RB, high)


# -- details ---------------------------------------------------------------------------------------


def _moved(pixels_R: Tensor, u_RB: Tensor, length: int) -> Tensor:
    """For each place along an axis, compute where its pixel comes from, perhaps outside."""
    offset_RB = (u_RB * (2 * pixels_R + 1)[:, None]).long() - pixels_R[:, None]
    return torch.arange(length, device=u_RB.device) - offset_RB[..., None]


def _beyond(place: Tensor, length: int) -> Tensor:
    return (place < 0) | (place >= length)


def _reflected(place: Tensor, length: int) -> Tensor:
    """Mirror places outside the image at its outermost pixels, which are not repeated."""
    place = place.abs()
    return torch.minimum(place, 2 * (length - 1) - place)


def _pick(x_RBCHW: Tensor, row_RBH: Tensor, column_RBW: Tensor) -> Tensor:
    """Assemble each image from its own rows and columns, by index."""
    runs, batch, channels, height, width = x_RBCHW.shape
    image_RB = torch.arange(runs * batch, device=x_RBCHW.device).view(runs, batch)
    line_RBH = image_RB[..., None] * height + row_RBH
    index = line_RBH[..., :, None] * width + column_RBW[..., None, :]
    pixel = x_RBCHW.movedim(2, -1).reshape(-1, channels).index_select(0, index.flatten())
    return pixel.view(runs, batch, height, width, channels).movedim(-1, 2)


def _unless(off_R: Tensor, x_RBCHW: Tensor, changed_RBCHW: Tensor) -> Tensor:
    """Take the images as they were where a run's transformation is off."""
    return channels_last(torch.where(off_R[:, None, None, None, None], x_RBCHW, changed_RBCHW))


def _either_way(strength_R: Tensor, u_RB: Tensor) -> Tensor:
    return strength_R[:, None] * (2 * u_RB - 1)


def _grid(x_RBCHW: Tensor, across: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor]) -> Tensor:
    """For each pixel, compute where it comes from, [R, B, H, W, 2], in grid_sample's units.

    Elementwise: the batched product inside affine_grid rounds differently as R changes.
    """
    height, width = x_RBCHW.shape[-2:]
    x_W, y_H = (
        torch.arange(n, dtype=x_RBCHW.dtype, device=x_RBCHW.device) - (n - 1) / 2
        for n in (width, height)
    )
    places = []
    for (of_x, of_y), length in ((across, width), (down, height)):
        of_x, of_y = ((2 / length * t).to(x_W.dtype)[..., None, None] for t in (of_x, of_y))
        places.append(of_x * x_W + of_y * y_H[:, None])
    return torch.stack(places, -1)


def _blended(
    x_RBCHW: Tensor, anchor: Tensor, strength_R: Tensor, u_RB: Tensor, high: float | None
) -> Tensor:
    factor = (1 + _either_way(strength_R, u_RB)).to(x_RBCHW.dtype)[:, :, None, None, None]
    changed = (x_RBCHW - anchor) * factor + anchor
    if high is not None:
        changed = changed.clamp_(0, high)
    return _unless(strength_R == 0, x_RBCHW, changed)


def _mean_gray(x_RBCHW: Tensor) -> Tensor:
    channels, height, width = x_RBCHW.shape[2:]
    share = _LUMA if channels == 3 else (1 / channels,) * channels
    share_C = torch.stack([x_RBCHW.new_full((), s) for s in share])
    gray_RBCHW = x_RBCHW * share_C[:, None, None]
    return (pairwise(gray_RBCHW.flatten(2)) / (height * width))[:, :, None, None, None]
