"""Initial weights: the variance that each paper gives, its law, and whose stream it comes from."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from ablate import rng
from ablate.errors import AblateError
from ablate.nets.build import build
from ablate.nets.init import draw, fans, initialize
from tests.configs import config

KEY = rng.stream(0, "init/test")

# shape, n_in, n_out: units or channels times the kernel's area
FANS = {
    "dense": ((500, 300), 300, 500),
    "conv": ((96, 64, 3, 3), 576, 864),
    "oblong conv": ((48, 40, 7, 5), 1400, 1680),
    "conv1d": ((100, 200, 5), 1000, 500),
}

# the papers' variances
SCHEMES = {
    "he": lambda n_in, n_out: 2 / n_in,
    "xavier": lambda n_in, n_out: 2 / (n_in + n_out),
    "lecun": lambda n_in, n_out: 1 / n_in,
}


def plain_fans(shape):
    """Count n_in and n_out of [out, in, ...kernel] as torch does."""
    return nn.init._calculate_fan_in_and_fan_out(torch.empty(shape, device="meta"))


def weights(name, shape, **values):
    init = {"name": name, "gain": 1.0, "bias": 0.0} | values
    return draw(init, torch.Size(shape), KEY, plain_fans(shape))


def assert_normal(w, std):
    assert stats.kstest(w.flatten().numpy(), stats.norm(scale=std).cdf).pvalue > 1e-3
    # The sample variance of n normal numbers has the relative standard error √(2/n).
    assert abs(w.square().mean() / std**2 - 1) < 4 * math.sqrt(2 / w.numel())


def assert_uniform(w, bound):
    law = stats.uniform(-bound, 2 * bound)
    assert stats.kstest(w.flatten().numpy(), law.cdf).pvalue > 1e-3
    assert w.abs().max() < bound
    assert w.abs().max() > 0.999 * bound
    # Fourth moment b⁴/5, variance b²/3: the relative standard error is √(0.8/n).
    assert abs(w.square().mean() / (bound**2 / 3) - 1) < 4 * math.sqrt(0.8 / w.numel())


@pytest.mark.parametrize("layer", FANS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_normal_weights_have_the_variance_of_the_paper(scheme, layer):
    shape, n_in, n_out = FANS[layer]
    assert_normal(weights(f"{scheme}_normal", shape), math.sqrt(SCHEMES[scheme](n_in, n_out)))


@pytest.mark.parametrize("layer", FANS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_uniform_weights_have_the_variance_of_the_paper(scheme, layer):
    shape, n_in, n_out = FANS[layer]
    # A uniform law on (-b, b) has the variance b²/3.
    assert_uniform(weights(f"{scheme}_uniform", shape), math.sqrt(3 * SCHEMES[scheme](n_in, n_out)))


def test_plain_normal_and_uniform_weights_have_the_standard_deviation_asked_for():
    assert_normal(weights("normal", (300, 200), std=0.05), 0.05)
    assert_uniform(weights("uniform", (300, 200), std=0.05), 0.05 * math.sqrt(3))


@pytest.mark.parametrize("name", ["he_normal", "xavier_uniform", "lecun_normal", "orthogonal"])
def test_a_gain_multiplies_the_weights(name):
    once, thrice = weights(name, (8, 5, 3, 3)), weights(name, (8, 5, 3, 3), gain=3)
    torch.testing.assert_close(thrice, 3 * once, rtol=1e-14, atol=0)


def test_zeros_are_zeros():
    assert weights("zeros", (4, 3)).tolist() == [[0.0] * 3] * 4


@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.sampled_from([0.5, 1.0, 2.0]))
def test_an_orthogonal_weight_keeps_lengths(shape, gain):
    w = weights("orthogonal", shape, gain=gain)
    assert w.shape == torch.Size(shape)
    matrix = w.flatten(1)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    identity = torch.eye(len(wide), dtype=torch.float64)
    torch.testing.assert_close(wide @ wide.T, gain**2 * identity, rtol=0, atol=1e-12)


def test_orthogonal_weights_point_in_every_direction_alike():
    keys = rng.stream(torch.arange(1500), "init/test")
    init = {"name": "orthogonal", "gain": 1.0}
    drawn = torch.stack([draw(init, torch.Size((2, 2)), key, (2, 2)) for key in keys])
    for row in (0, 1):
        angle = torch.atan2(drawn[:, row, 1], drawn[:, row, 0])
        assert stats.kstest(angle.numpy(), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-3
    # Rotations and reflections, half each.
    rotations = int((torch.linalg.det(drawn) > 0).sum())
    assert stats.binomtest(rotations, 1500).pvalue > 1e-3


# -- fans of any layer -----------------------------------------------------------------------------

LAYERS = {
    "linear": (nn.Linear(5, 3), (5,)),
    "conv": (nn.Conv2d(4, 6, 3, padding=1), (4, 5, 5)),
    "grouped": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 8, (3, 1), padding=(1, 0), groups=4), (4, 5, 5)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, padding=1), (4, 5, 5)),
    "grouped and transposed": (nn.ConvTranspose1d(4, 6, 3, padding=1, groups=2), (4, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_fans_count_what_reaches_a_unit_and_what_a_unit_reaches(name):
    layer, shape = LAYERS[name]
    jacobian = torch.autograd.functional.jacobian(layer, torch.zeros(1, *shape))
    reached = (jacobian.flatten(0, len(shape)).flatten(1) != 0).sum
    # The units in the middle see no border, and no other unit has more on either side.
    assert fans(layer) == (int(reached(1).max()), int(reached(0).max()))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_grouped_transposed_convolution_has_the_variance_of_the_paper(scheme):
    layer = nn.ConvTranspose2d(64, 96, 3, groups=2, dtype=torch.float64)
    initialize(layer, {"name": f"{scheme}_normal", "gain": 1.0, "bias": 0.0}, seed=0)
    # An output sees 32 channels of 9 pixels, and a pixel reaches 48 of 9.
    assert_normal(layer.weight.detach(), math.sqrt(SCHEMES[scheme](288, 432)))


def test_every_group_of_an_orthogonal_convolution_keeps_lengths():
    layer = nn.Conv2d(20, 20, 3, groups=20, dtype=torch.float64)  # 20 filters of 9 numbers
    initialize(layer, {"name": "orthogonal", "gain": 1.0, "bias": 0.0}, seed=0)
    lengths = layer.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-12)
    assert not torch.isclose(layer.weight[0], layer.weight[1]).any(), (
        "each draws numbers of its own"
    )


# -- which weights of a network are drawn, and from which stream -----------------------------------


def network(**changes):
    c = config(**changes)
    module = build(c, (1, 8, 8), 10)
    initialize(module, c["init"], c["seed"])
    return module


def test_every_weight_comes_from_the_stream_of_its_own_name():
    module = network(seed=7, **{"model.channels": [3, 4], "model.hidden": [5]})
    names = [name for name, p in module.named_parameters() if name.endswith("weight")]
    assert len(names) == 4
    for name in names:
        held = module.get_parameter(name)
        key = rng.stream(7, f"init/{name}")
        own = draw(config()["init"], held.shape, key, plain_fans(held.shape))
        assert torch.equal(held, own.float())


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "batch"},
        {"dropout": "standard"},
        {"model.channels": [32, 16, 8]},
        {"model.hidden": []},
        {"model.hidden": [7, 7]},
        {"model.activation": "tanh"},
    ],
)
def test_a_weight_of_the_same_name_and_shape_is_the_same_whatever_else_the_network_holds(changes):
    plain, other = (network(seed=3, **c).state_dict() for c in ({}, changes))
    weights = [name for name, w in plain.items() if name.endswith(("conv.weight", "r.weight"))]
    common = [n for n in weights if n in other and other[n].shape == plain[n].shape]
    assert "conv.0.conv.weight" in common
    assert all(torch.equal(plain[name], other[name]) for name in common)


def test_other_seeds_and_other_layers_give_other_weights():
    four = {"model.channels": [8, 8, 8]}
    a, b = network(seed=0, **four), network(seed=1, **four)
    second, third = (a.get_parameter(f"conv.{i}.conv.weight") for i in (1, 2))
    assert second.shape == third.shape
    assert not torch.isclose(second, third).any()
    assert not torch.isclose(second, b.get_parameter("conv.1.conv.weight")).any()


def test_the_global_generator_does_not_matter():
    torch.manual_seed(0)
    first = network().state_dict()
    torch.manual_seed(1)
    second = network().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_biases_get_the_value_asked_for_and_norm_layers_start_as_the_identity():
    module = network(norm="batch", **{"init.bias": 0.25, "norm.position": "after"})
    affine = 0
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            affine += 1
            assert layer.weight.tolist() == [1] * layer.num_features
            assert layer.bias.tolist() == [0] * layer.num_features
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias.tolist() == [0.25] * len(layer.bias)
    assert affine == 3


@pytest.mark.parametrize(("model", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
@pytest.mark.parametrize("init", ["he_normal", "xavier_uniform", "orthogonal"])
def test_gates_are_drawn_one_by_one_as_layers_of_their_own(model, gates, init):
    module = network(model=model, init=init, seed=4, **{"model.hidden": [6]})
    for name in ("layers.0.input", "layers.0.hidden"):
        drawn = module.get_submodule(name).weight.split(6)
        assert len(drawn) == gates
        first = rng.stream(4, f"init/{name}.weight")
        for gate, weight in enumerate(drawn):
            key = rng.fold(first, gate) if gate else first
            scheme, ends = config(init=init)["init"], plain_fans(weight.shape)
            assert torch.equal(weight, draw(scheme, weight.shape, key, ends).float())


FOUR = {"model.channels": [3, 4], "model.hidden": [5]}  # and the output: four layers
FOUR_NAMES = ("conv.0.conv", "conv.1.conv", "dense.layers.0.linear", "dense.output")


def test_each_layer_may_have_a_scheme_of_its_own():
    layers = ["normal:0.01", "xavier_uniform:1.5", "zeros", "orthogonal"]
    module = network(seed=2, **FOUR, **{"init.layers": layers, "init.gain": 3, "init.bias": 0.5})
    schemes = (
        {"name": "normal", "std": 0.01},
        {"name": "xavier_uniform", "gain": 1.5},
        {"name": "zeros"},
        {"name": "orthogonal", "gain": 3},
    )
    for name, scheme in zip(FOUR_NAMES, schemes, strict=True):
        layer = module.get_submodule(name)
        key = rng.stream(2, f"init/{name}.weight")
        shape = layer.weight.shape
        assert torch.equal(layer.weight, draw(scheme, shape, key, plain_fans(shape)).float())
        assert bool((layer.bias == 0.5).all())


def test_the_same_scheme_in_every_layer_is_that_of_the_group():
    for init in ("he_normal", "uniform"):
        plain = network(init=init, **FOUR).state_dict()
        listed = network(init=init, **FOUR, **{"init.layers": [init] * 4}).state_dict()
        assert all(torch.equal(plain[name], listed[name]) for name in plain)


def test_a_scheme_without_its_number_takes_that_of_the_shipped_option():
    module = network(**FOUR, **{"init.layers": ["he_normal", "normal", "uniform", "zeros"]})
    normal = module.get_submodule("conv.1.conv").weight
    key = rng.stream(0, "init/conv.1.conv.weight")
    expected = draw(config(init="normal")["init"], normal.shape, key, plain_fans(normal.shape))
    assert torch.equal(normal, expected.float())


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_list_of_another_length_is_refused_with_both_numbers(count):
    with pytest.raises(AblateError, match=rf"init\.layers has {count} entries, .* 4 layers"):
        network(**FOUR, **{"init.layers": ["zeros"] * count})


def test_every_kind_of_weighted_layer_is_drawn():
    module = nn.Sequential(
        *(nn.Linear(2, 2), nn.Conv1d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv3d(2, 2, 1)),
        *(nn.ConvTranspose1d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1), nn.ConvTranspose3d(2, 2, 1)),
    )
    initialize(module, {"name": "zeros", "bias": 3.0}, seed=0)
    assert all(bool((layer.weight == 0).all()) for layer in module)
    assert all(bool((layer.bias == 3).all()) for layer in module)


def test_own_leaves_the_weights_as_the_constructor_drew_them():
    module = nn.Linear(3, 2)
    before = [p.clone() for p in module.parameters()]
    initialize(module, {"name": "own"}, seed=0)
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


def test_weights_of_different_precision_are_the_same_numbers_rounded():
    single, double = nn.Linear(20, 30), nn.Linear(20, 30, dtype=torch.float64)
    for module in (single, double):
        initialize(module, config()["init"], seed=5)
    assert torch.equal(single.weight, double.weight.float())
