"""Augmentation of whole batches, compared image by image with torchvision and slow references."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import functional as theirs
from torchvision.transforms.functional import InterpolationMode

from ablate import rng
from ablate.data import transforms
from ablate.data.strength import beyond, pixels
from tests import reference

DTYPES = st.sampled_from([torch.uint8, torch.float32, torch.float64])
FLOATS = st.sampled_from([torch.float32, torch.float64])
CHANNELS = st.sampled_from([1, 3])
SIDES = st.integers(2, 9)
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-9}  # absolute, of images from 0 to 255


def channels_last(x_RBCHW):
    return x_RBCHW.movedim(2, -1).contiguous().movedim(-1, 2)


def is_channels_last(x_RBCHW):
    return x_RBCHW.movedim(2, -1).is_contiguous()


@st.composite
def images(draw, dtypes=DTYPES, channels=CHANNELS, least=2):
    """Draw raw images [R, B, C, H, W] from 0 to 255, in either layout."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    sides = st.integers(least, 9)
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(channels))
    shape = (*shape, draw(sides), draw(sides))
    x_RBCHW = torch.randint(0, 256, shape, generator=generator).to(draw(dtypes))
    return channels_last(x_RBCHW) if draw(st.booleans()) else x_RBCHW


def strengths(data, x_RBCHW, each):
    return [data.draw(each) for _ in x_RBCHW]


def draws(x_RBCHW, *names):
    """Draw numbers for each image, one set per name."""
    keys_R = torch.arange(len(x_RBCHW))
    return [
        transforms.numbers(rng.stream(keys_R, f"test/{name}"), x_RBCHW.shape[1]) for name in names
    ]


def every_image(x_RBCHW):
    runs, batch = x_RBCHW.shape[:2]
    return [(r, b) for r in range(runs) for b in range(batch)]


def floats(values):
    return torch.tensor(values, dtype=torch.float64)


# -- what all share --------------------------------------------------------------------------------

RAW = {
    "shift": lambda x, s, u, v, w: transforms.shift(x, (s * 4).long(), u, v),
    "crop": lambda x, s, u, v, w: transforms.crop(x, (s * 4).long(), u, v),
    "flip": lambda x, s, u, v, w: transforms.flip(x, u < s[:, None]),
    "cutout": lambda x, s, u, v, w: transforms.cutout(x, (s * 8).long(), u, v),
}
FLOATING = {
    "rotation": lambda x, s, u, v, w: transforms.affine(x, 90 * s, 0 * s, 0 * s, u, v, w),
    "scale": lambda x, s, u, v, w: transforms.affine(x, 0 * s, s / 2, 0 * s, u, v, w),
    "shear": lambda x, s, u, v, w: transforms.affine(x, 0 * s, 0 * s, 45 * s, u, v, w),
    "brightness": lambda x, s, u, v, w: transforms.brightness(x, s, u, 255.0),
    "contrast": lambda x, s, u, v, w: transforms.contrast(x, s, u, 255.0),
    "unclamped contrast": lambda x, s, u, v, w: transforms.contrast(x, s, u),
}
ALL = RAW | FLOATING


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
def test_a_run_has_the_same_bits_with_any_mates_in_any_slot(name, data):
    x_RBCHW = data.draw(images(DTYPES if name in RAW else FLOATS, st.integers(1, 4)))
    s_R = floats(strengths(data, x_RBCHW, st.sampled_from([0.0, 0.3, 1.0])))
    numbers = draws(x_RBCHW, *"uvw")
    together = ALL[name](x_RBCHW, s_R, *numbers)
    for r in range(len(x_RBCHW)):
        alone = ALL[name](x_RBCHW[[r]], s_R[[r]], *(n[[r]] for n in numbers))
        assert torch.equal(together[[r]], alone)


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
def test_a_run_of_strength_zero_keeps_its_bits(name, data):
    x_RBCHW = data.draw(images(DTYPES if name in RAW else FLOATS, st.integers(1, 4)))
    if x_RBCHW.is_floating_point():
        x_RBCHW = -x_RBCHW  # -0.0, and numbers that would be clamped
    s_R = floats([0.0, *strengths(data, x_RBCHW[1:], st.sampled_from([0.3, 1.0]))])
    found = ALL[name](x_RBCHW, s_R, *draws(x_RBCHW, *"uvw"))[0]
    assert torch.equal(found, x_RBCHW[0])
    assert torch.equal(found.double().signbit(), x_RBCHW[0].double().signbit())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_type_and_layout_stay(name, channels):
    for dtype in [torch.uint8] * (name in RAW) + [torch.float32, torch.float64]:
        x_RBCHW = channels_last(torch.full((2, 3, channels, 5, 4), 7, dtype=dtype))
        before = x_RBCHW.clone()
        for strength in (0.0, 1.0):
            found = ALL[name](x_RBCHW, floats([strength] * 2), *draws(x_RBCHW, *"uvw"))
            assert (found.shape, found.dtype) == (x_RBCHW.shape, dtype)
            assert is_channels_last(found)
        assert torch.equal(x_RBCHW, before)


# -- numbers and strengths -------------------------------------------------------------------------


def test_numbers_are_the_upper_bits_of_a_hash_of_their_index():
    keys_R = rng.stream(torch.arange(3), "augment/shift")
    for row, key in zip(transforms.numbers(keys_R, 5).tolist(), keys_R.tolist(), strict=True):
        hashes = [reference.fold(key, index) for index in range(5)]
        assert row == [((h >> 12) + 0.5) / 2**52 for h in hashes]


def test_numbers_are_uniform_and_never_0_or_1():
    numbers = transforms.numbers(rng.stream(torch.arange(4), "test"), 5000).flatten()
    assert stats.kstest(numbers.numpy(), "uniform").pvalue > 1e-3
    assert 0 < 0.5 / 2**52 < (2**52 - 0.5) / 2**52 < 1  # the two ends of what can be drawn


def test_more_numbers_leave_the_first_ones_as_they_were():
    keys_R = rng.stream(torch.arange(2), "test")
    assert torch.equal(transforms.numbers(keys_R, 9)[:, :4], transforms.numbers(keys_R, 4))


@pytest.mark.parametrize(
    ("strength", "side", "expected"),
    [
        *((0, 28, 0), (0.125, 28, 4), (0.125, 8, 1), (0.01, 8, 1), (0.0625, 32, 2), (0.5, 8, 4)),
        *((1, 28, 1), (2, 28, 2), (4.0, 32, 4), (2.5, 28, 3), (0.1, 28, 3), (0.1, 25, 3)),
    ],
)
def test_a_strength_below_one_is_a_fraction_of_the_side(strength, side, expected):
    found = pixels(strength, side)
    assert (found, type(found)) == (expected, int)


# -- the strongest that leave something ------------------------------------------------------------

ENDS = torch.tensor([[0.0, 0.5, 1 - 1e-9]], dtype=torch.float64)


def left(name, strength, height, width):
    """Tell whether an extreme draw of a transformation leaves anything of a white image."""
    if name == "cutout":  # whatever is drawn
        grid = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double() + 0.5
        u_RB, v_RB = grid[:, :1].T / height, grid[:, 1:].T / width
    else:
        u_RB, v_RB = torch.cartesian_prod(ENDS[0], ENDS[0]).T[:, None]
    white = torch.ones(1, u_RB.shape[1], 1, height, width, dtype=torch.float64)
    strength_R, off_R = torch.tensor([strength]), torch.zeros(1)
    found = {
        "shift": lambda: transforms.shift(white, strength_R, u_RB, v_RB),
        "cutout": lambda: transforms.cutout(white, strength_R, u_RB, v_RB),
        "scale": lambda: transforms.affine(white, off_R, strength_R, off_R, *[u_RB] * 3),
        "shear": lambda: transforms.affine(white, off_R, off_R, strength_R, *[u_RB] * 3),
    }[name]()
    each = found.flatten(2).ne(0).any(-1)
    return bool(each.any() if name == "cutout" else each.all())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (3, 2), (4, 4), (5, 8)])
@pytest.mark.parametrize("name", ["shift", "cutout"])
def test_the_strongest_in_pixels_is_the_last_that_leaves_something(name, height, width):
    legal = [s for s in range(1, 20) if beyond(name, s, height, width) is None]
    assert legal == [s for s in range(1, 20) if left(name, s, height, width)]


def test_the_widest_border_that_reflects_is_the_side_less_one():
    legal = [s for s in range(1, 20) if beyond("crop", s, 6, 5) is None]
    image = torch.ones(1, 1, 6, 5)
    assert legal == [1, 2, 3, 4]
    torch.nn.functional.pad(image, [4] * 4, mode="reflect")
    with pytest.raises(RuntimeError, match="less than the corresponding input dim"):
        torch.nn.functional.pad(image, [5] * 4, mode="reflect")


def test_a_fraction_that_rounds_to_the_side_is_as_much_as_the_side():
    assert beyond("shift", 0.93, 8, 8) is None  # 7.44 pixels, that is 7
    assert beyond("shift", 0.94, 8, 8) == "at most 7 pixels, and this is 8"


def test_the_strongest_scale_and_shear_leave_something_and_little_more_does_not():
    # 1 - 1/8, and the angle whose tangent is 16, twice the width.
    for name, last, gone in (("scale", 0.875, 0.9), ("shear", 86.42, 86.43)):
        assert beyond(name, last, 8, 8) is None
        assert left(name, last, 8, 8)
        assert not left(name, gone, 8, 8)
        assert beyond(name, gone, 8, 8) is not None
    assert beyond("scale", 0.89, 10, 28) is None
    assert beyond("scale", 0.91, 10, 28) == "at most 0.9"
    assert beyond("shear", 86.43, 8, 8) == "at most 86.423 degrees"


# -- by whole pixels -------------------------------------------------------------------------------


@given(data=st.data())
def test_shifting_moves_each_image_and_lets_black_enter(data):
    x_RBCHW = data.draw(images(channels=st.integers(1, 4)))
    most = strengths(data, x_RBCHW, st.integers(0, 11))
    u_RB, v_RB = draws(x_RBCHW, "u", "v")
    found = transforms.shift(x_RBCHW, torch.tensor(most), u_RB, v_RB)
    for r, b in every_image(x_RBCHW):
        down, right = (reference.offset(n[r, b].item(), most[r]) for n in (u_RB, v_RB))
        assert torch.equal(found[r, b], reference.shifted(x_RBCHW[r, b], down, right))


@given(data=st.data())
def test_cropping_is_torchvisions_reflection_and_crop(data):
    x_RBCHW = data.draw(images(least=6))
    most = strengths(data, x_RBCHW, st.integers(0, 5))
    u_RB, v_RB = draws(x_RBCHW, "u", "v")
    found = transforms.crop(x_RBCHW, torch.tensor(most), u_RB, v_RB)
    height, width = x_RBCHW.shape[-2:]
    for r, b in every_image(x_RBCHW):
        down, right = (reference.offset(n[r, b].item(), most[r]) for n in (u_RB, v_RB))
        padded = theirs.pad(x_RBCHW[r, b], [most[r]] * 4, padding_mode="reflect")
        expected = theirs.crop(padded, most[r] - down, most[r] - right, height, width)
        assert torch.equal(found[r, b], expected)


def test_a_crop_beyond_the_image_is_taken_as_side_minus_one():
    x_RBCHW = torch.arange(24.0).view(1, 1, 1, 4, 6)
    u_RB = v_RB = floats([[1e-9]])
    most, more = (transforms.crop(x_RBCHW, torch.tensor([s]), u_RB, v_RB) for s in (5, 50))
    assert torch.equal(most, more)
    # Up by 3 and left by 5: places 3, 4 ... are reflected to 3, 2, 1, 0, and 5, 4 ... 0.
    assert torch.equal(more, x_RBCHW.flip(-1, -2))


@pytest.mark.parametrize("move", [transforms.shift, transforms.crop])
def test_all_offsets_are_as_frequent_both_ways(move):
    x_RBCHW = torch.zeros(1, 4000, 1, 9, 9)
    x_RBCHW[..., 4, 4] = 1
    found = move(x_RBCHW, torch.tensor([2]), *draws(x_RBCHW, "u", "v"))
    counts = found[0, :, 0].sum(0)
    assert counts.nonzero().amin(0).tolist() == [2, 2]
    assert counts.nonzero().amax(0).tolist() == [6, 6]
    assert stats.chisquare(counts[2:7, 2:7].flatten()).pvalue > 1e-3


@given(images(channels=st.integers(1, 4)))
def test_flipping_mirrors_the_images_that_the_mask_names(x_RBCHW):
    mask_RB = draws(x_RBCHW, "u")[0] < 0.5
    found = transforms.flip(x_RBCHW, mask_RB)
    for r, b in every_image(x_RBCHW):
        image = x_RBCHW[r, b]
        assert torch.equal(found[r, b], theirs.hflip(image) if mask_RB[r, b] else image)


@given(data=st.data())
def test_cutout_fills_a_clipped_square(data):
    x_RBCHW = data.draw(images(channels=st.integers(1, 4)))
    sides = strengths(data, x_RBCHW, st.integers(0, 12))
    u_RB, v_RB = draws(x_RBCHW, "u", "v")
    channels, height, width = x_RBCHW.shape[2:]
    fill_C = torch.arange(channels) + 3
    for fill in (None, fill_C):
        found = transforms.cutout(x_RBCHW, torch.tensor(sides), u_RB, v_RB, fill)
        for r, b in every_image(x_RBCHW):
            at, side = (u_RB[r, b].item(), v_RB[r, b].item()), sides[r]
            inside = reference.box(*at, side, side, height, width)
            expected = x_RBCHW[r, b].clone()
            for c in range(channels):
                expected[c][inside] = 0 if fill is None else 3 + c
            assert torch.equal(found[r, b], expected)


# -- in between pixels -----------------------------------------------------------------------------


def either_way(strength, number):
    return strength * (2 * number.item() - 1)


def torchvision_affine(image, degrees, scale, shear):
    return theirs.affine(image, degrees, [0, 0], scale, [shear, 0.0], InterpolationMode.BILINEAR)


@given(data=st.data())
def test_affine_is_torchvisions(data):
    x_RBCHW = data.draw(images(FLOATS))
    some = st.sampled_from([0.0, 5.0, 30.0])
    degrees, shears = strengths(data, x_RBCHW, some), strengths(data, x_RBCHW, some)
    factors = strengths(data, x_RBCHW, st.sampled_from([0.0, 0.1, 0.6]))
    numbers = draws(x_RBCHW, "u", "v", "w")
    of_runs = (floats(degrees), floats(factors), floats(shears))
    found = transforms.affine(x_RBCHW, *of_runs, *numbers)
    for r, b in every_image(x_RBCHW):
        u, v, w = (n[r, b] for n in numbers)
        turn, lean = either_way(degrees[r], u), either_way(shears[r], w)
        scale = 1 + either_way(factors[r], v)
        expected = torchvision_affine(x_RBCHW[r, b], turn, scale, lean)
        # torchvision's grid is float32's at best to a few units in the last place of a coordinate.
        torch.testing.assert_close(found[r, b], expected, rtol=0, atol=1e-2)
        as_uint8 = torchvision_affine(x_RBCHW[r, b].to(torch.uint8), turn, scale, lean)
        assert (found[r, b] - as_uint8.double()).abs().max() <= 0.51


def test_half_a_turn_is_a_point_reflection():
    x_RBCHW = torch.arange(24.0, dtype=torch.float64).view(1, 1, 2, 3, 4)
    half, none = floats([180.0]), floats([0.0])
    number = floats([[1.0]])
    found = transforms.affine(x_RBCHW, half, none, none, number, number, number)
    torch.testing.assert_close(found, x_RBCHW.flip(-1, -2))


# -- brightness and contrast -----------------------------------------------------------------------

COLOURS = {
    "brightness": (transforms.brightness, theirs.adjust_brightness),
    "contrast": (transforms.contrast, theirs.adjust_contrast),
}


@pytest.mark.parametrize("name", COLOURS)
@given(data=st.data())
def test_brightness_and_contrast_are_torchvisions(name, data):
    ours, expected_of = COLOURS[name]
    x_RBCHW = data.draw(images(FLOATS))
    s = strengths(data, x_RBCHW, st.sampled_from([0.0, 0.2, 0.9]))
    (u_RB,) = draws(x_RBCHW, "u")
    found = ours(x_RBCHW, floats(s), u_RB, 255.0)
    for r, b in every_image(x_RBCHW):
        factor = 1 + either_way(s[r], u_RB[r, b])
        expected = 255 * expected_of(x_RBCHW[r, b] / 255, factor)
        atol = TOLERANCE[x_RBCHW.dtype]
        torch.testing.assert_close(found[r, b], expected, rtol=0, atol=atol)
        # torchvision cuts the gray of uint8 images and the result to whole numbers.
        as_uint8 = expected_of(x_RBCHW[r, b].to(torch.uint8), factor)
        assert (found[r, b] - as_uint8.double()).abs().max() <= 2


def test_without_a_white_nothing_is_clamped():
    # The factor is 1 + 0.5·(2·0.9 - 1) = 1.4; the mean gray is 150.
    x_RBCHW = torch.tensor([100.0, 200.0]).view(1, 1, 1, 1, 2)
    s_R, u_RB = floats([0.5]), floats([[0.9]])
    bright = transforms.brightness(x_RBCHW, s_R, u_RB).flatten().tolist()
    assert bright == pytest.approx([140, 280])
    assert transforms.contrast(x_RBCHW, s_R, u_RB).flatten().tolist() == pytest.approx([80, 220])
    clamped = transforms.brightness(x_RBCHW, s_R, u_RB, 255.0).flatten().tolist()
    assert clamped == pytest.approx([140, 255])


def test_the_gray_of_other_numbers_of_channels_is_their_mean():
    # Two channels, 0 and 100 all over: gray 50; the factor 1 + 1·(2·0.75 - 1) = 1.5.
    x_RBCHW = torch.tensor([0.0, 100.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 3, 3)
    found = transforms.contrast(x_RBCHW, floats([1.0]), floats([[0.75]]))
    assert found[0, 0, :, 0, 0].tolist() == pytest.approx([-25, 125])
    assert math.isclose(found.mean().item(), 50)
