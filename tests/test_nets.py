"""Layers and networks, held against torch's layers and against their arithmetic written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from ablate import rng
from ablate.errors import AblateError
from ablate.init import initialize
from ablate.nets.build import build
from ablate.nets.layers import (
    ACTIVATIONS,
    Dropout,
    norm_layer,
    per_layer,
    with_own_dropout,
    with_torch_dropout,
)
from ablate.nets.shapes import block_shapes
from tests import reference
from tests.configs import config


def images(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dropout(rate, key=0, **options):
    layer = Dropout(rate, **options).double()
    layer.key = torch.as_tensor(key, dtype=torch.int64)
    return layer


# -- dropout ---------------------------------------------------------------------------------------


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0.125, 0.5, 0.75]))
def test_dropout_zeroes_what_the_mask_says_and_scales_the_rest(key, rate):
    x = images(3, 4, 5)
    mask = rng.keep_mask(torch.tensor(key), torch.tensor(1 - rate), x.shape)
    torch.testing.assert_close(dropout(rate, key)(x), x.masked_fill(mask == 0, 0) / (1 - rate))
    torch.testing.assert_close(dropout(rate, key)(x), reference.dropout(x, rate, key))


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.9])
def test_dropout_zeroes_the_share_that_its_rate_says_and_keeps_the_mean(rate):
    keys = rng.stream(torch.arange(10), "dropout/test")
    y = torch.stack([dropout(rate, key)(torch.ones(100, 200)) for key in keys])
    assert stats.binomtest(int((y == 0).sum()), y.numel(), rate).pvalue > 1e-3
    # Each element has the variance rate / (1 - rate).
    assert abs(y.mean() - 1) < 4 * (rate / (1 - rate) / y.numel()) ** 0.5


def test_dropout_scales_as_torchs_does():
    x, rate = images(50, 40), 0.3
    ours, torchs = dropout(rate, 1)(x), nn.Dropout(rate)(x)
    both = (ours != 0) & (torchs != 0)
    assert int(both.sum()) > 500
    # The rate is held in single precision.
    torch.testing.assert_close(ours[both], torchs[both], rtol=1e-7, atol=0)


def test_a_rate_of_zero_is_the_identity():
    x = images(4, 3)
    assert dropout(0.0)(x) is x


def test_a_rate_of_zero_among_mates_that_drop_is_the_identity_too():
    layer, x = dropout(0.0, 3), images(4, 30)
    layer.active = True
    assert torch.equal(layer(x), x)


def test_evaluation_is_the_identity():
    x = images(4, 3)
    assert dropout(0.5).eval()(x) is x


def test_another_key_draws_another_mask_and_the_same_key_the_same():
    x, keys = torch.ones(40, 40), rng.stream(torch.tensor([1, 1, 2]), "dropout/test")
    first, again, other = (dropout(0.5, key)(x) for key in keys)
    assert torch.equal(first, again)
    # Two independent masks of rate 1/2 agree in half of the elements.
    assert stats.binomtest(int((first == other).sum()), 1600).pvalue > 1e-3


def test_whole_channels_fall_together():
    x = 1 + images(30, 40, 3, 2).abs()
    layer = dropout(0.25, 9, whole_channels=True)
    per_channel = (layer(x) / x).flatten(2)
    factors = per_channel[..., 0]
    torch.testing.assert_close(per_channel, factors[..., None].expand_as(per_channel))
    zeroed = int((factors == 0).sum())
    assert stats.binomtest(zeroed, 1200, 0.25).pvalue > 1e-3
    torch.testing.assert_close(factors[factors != 0], torch.full((1200 - zeroed,), 4 / 3).double())


def test_the_gradient_of_dropout_is_its_mask():
    x = images(6, 7).requires_grad_()
    y = dropout(0.5, 4)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, (y / x).detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout_keeps_the_type_of_its_input(dtype):
    layer = Dropout(0.5)
    layer.key = torch.tensor(1)
    x = images(20, 20, dtype=torch.float64).to(dtype)
    y = layer(x)
    assert y.dtype == dtype
    assert torch.equal(y[y != 0], 2 * x[y != 0])


@given(st.lists(st.sampled_from([0.0, 0.25, 0.9]), min_size=1, max_size=4), st.booleans())
def test_under_vmap_each_run_has_its_own_rate_and_mask(rates, whole_channels):
    x, width = images(2, 3, 4), len(rates)
    state = {"rate": torch.tensor(rates).double(), "key": torch.arange(width)}
    layer = Dropout(0.5, whole_channels)

    def run(s):
        return torch.func.functional_call(layer, s, (x,))

    fused = torch.func.vmap(run)(state)
    alone = [dropout(r, k, whole_channels=whole_channels)(x) for k, r in enumerate(rates)]
    torch.testing.assert_close(fused, torch.stack(alone), rtol=1e-6, atol=0)


def test_rate_and_key_are_no_part_of_what_is_saved():
    assert Dropout(0.5).state_dict() == {}


# -- exchanging torch's dropout and ours -----------------------------------------------------------


class Nested(nn.Module):
    """Torch's dropouts at several depths; one of them used in two places."""

    def __init__(self):
        super().__init__()
        shared = nn.Dropout(0.1)
        self.first = nn.Sequential(nn.Linear(2, 2), shared, nn.ReLU(), shared)
        self.blocks = nn.ModuleList([nn.ModuleDict({"a": nn.Dropout2d(0.2)}), nn.Dropout3d(0.3)])
        self.last = nn.Dropout1d(0.4)
        self.other = nn.AlphaDropout(0.5)
        self.missing = None


def dropouts(module, cls):
    named = module.named_modules(remove_duplicate=False)
    return {name: layer for name, layer in named if type(layer) in cls}


def test_torchs_dropout_is_replaced_wherever_it_stands():
    found = dropouts(with_own_dropout(Nested()), (Dropout,))
    assert {
        name: (pytest.approx(float(layer.rate)), layer.whole_channels)
        for name, layer in found.items()
    } == {
        "first.1": (0.1, False),
        "first.3": (0.1, False),
        "blocks.0.a": (0.2, True),
        "blocks.1": (0.3, True),
        "last": (0.4, True),
    }


def test_no_dropout_of_torchs_is_left_but_of_other_kinds():
    module = with_own_dropout(Nested())
    assert not dropouts(module, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d))
    assert type(module.other) is nn.AlphaDropout


def test_our_dropout_is_replaced_by_torchs_for_use_elsewhere():
    module = with_torch_dropout(with_own_dropout(Nested()))
    assert not dropouts(module, (Dropout,))
    assert type(module.first[1]) is nn.Dropout
    assert type(module.first[3]) is nn.Dropout
    assert type(module.blocks[0]["a"]) is nn.Dropout2d
    assert module.first[1].p == pytest.approx(0.1)
    assert module.last.p == pytest.approx(0.4)


def test_a_dropout_alone_is_replaced_too():
    assert isinstance(with_own_dropout(nn.Dropout(0.5)), Dropout)
    assert isinstance(with_torch_dropout(Dropout(0.5)), nn.Dropout)


# -- normalization ---------------------------------------------------------------------------------


def norm(name, **values):
    return config(norm=name)["norm"] | values


def torchs_norm(name, width, size):
    return {
        "batch": nn.BatchNorm2d(width, eps=1e-5, momentum=0.1),
        "layer": nn.LayerNorm([width, size, size], eps=1e-5),
        "group": nn.GroupNorm(2, width, eps=1e-5),
        "instance": nn.InstanceNorm2d(width, eps=1e-5),
    }[name].double()


@pytest.mark.parametrize("name", ["batch", "layer", "group", "instance"])
def test_spatial_norms_agree_with_torchs_layer_and_with_the_arithmetic(name):
    x = 3 + 2 * images(5, 4, 6, 6)
    y = norm_layer(norm(name, groups=2), 4, spatial=True).double()(x)
    torch.testing.assert_close(y, torchs_norm(name, 4, 6)(x))
    torch.testing.assert_close(y, reference.normalize(x, name, groups=2))


def test_norms_of_units_agree_with_torchs_layers():
    x = 3 + 2 * images(7, 6)
    for ours, torchs in (
        (norm("batch"), nn.BatchNorm1d(6)),
        (norm("layer"), nn.LayerNorm(6)),
        (norm("group", groups=3), nn.GroupNorm(3, 6)),
    ):
        y = norm_layer(ours, 6, spatial=False).double()(x)
        torch.testing.assert_close(y, torchs.double()(x))


@pytest.mark.parametrize("spatial", [True, False])
def test_running_statistics_follow_the_batches_and_serve_in_evaluation(spatial):
    shape = (8, 3, 2, 2) if spatial else (8, 3)
    layer = norm_layer(norm("batch", momentum=0.25), 3, spatial).double()
    mean, variance = torch.zeros(3).double(), torch.ones(3).double()
    for seed in range(3):
        x = seed + (1 + seed) * images(*shape, seed=seed)
        layer(x)
        values_CN = x.transpose(0, 1).flatten(1)
        mean = 0.75 * mean + 0.25 * values_CN.mean(1)
        variance = 0.75 * variance + 0.25 * values_CN.var(1, correction=1)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, variance)
    x, along = images(*shape, seed=9), (1, 3, *[1] * (len(shape) - 2))
    expected = (x - mean.view(along)) / (variance.view(along) + 1e-5).sqrt()
    torch.testing.assert_close(layer.eval()(x), expected)


def test_batch_statistics_may_serve_in_evaluation_too():
    x = 5 + images(8, 3, 2, 2)
    layer = norm_layer(norm("batch", eval="batch"), 3, spatial=True).double()
    layer(images(8, 3, 2, 2, seed=1))
    torch.testing.assert_close(layer.eval()(x), reference.normalize(x, "batch"))
    assert "running_mean" not in layer.state_dict()


@pytest.mark.parametrize("name", ["batch", "layer", "group", "instance"])
@pytest.mark.parametrize("affine", [True, False])
def test_scale_and_shift_are_learned_where_asked_for(name, affine):
    layer = norm_layer(norm(name, affine=affine), 8, spatial=True)
    assert [p.numel() for p in layer.parameters()] == ([8, 8] if affine else [])


@pytest.mark.parametrize("name", ["batch", "layer", "group", "instance"])
def test_epsilon_is_added_to_the_variance(name):
    x = images(4, 4, 3, 3)
    layer = norm_layer(norm(name, groups=2, eps=0.5), 4, spatial=True).double()
    torch.testing.assert_close(layer(x), reference.normalize(x, name, groups=2, eps=0.5))


@pytest.mark.parametrize(("groups", "width", "used"), [(8, 32, 8), (8, 12, 4), (8, 5, 1)])
def test_channels_that_do_not_divide_evenly_take_the_greatest_common_divisor(groups, width, used):
    assert norm_layer(norm("group", groups=groups), width, spatial=True).num_groups == used


def test_there_is_nothing_to_normalize_without_a_norm_or_in_one_unit_of_an_instance():
    assert norm_layer(norm("none"), 4, spatial=True) is None
    assert norm_layer(norm("instance"), 4, spatial=False) is None


# -- whole networks --------------------------------------------------------------------------------


@st.composite
def configs(draw, model):
    """Draw configurations of small networks, of every structure."""

    def one_of(*values):
        return draw(st.sampled_from(values))

    changes = {
        "model": model,
        "norm": one_of("none", "batch", "layer", "group", "instance"),
        "model.hidden": one_of([], [5], [6, 4]),
        "model.activation": one_of(*ACTIVATIONS),
        "init.bias": 0.1,
    }
    changes |= {f"dropout.{k}": one_of(0, 0.25, 0.5) for k in ("input", "conv", "dense", "output")}
    if model == "cnn":
        kernel = one_of(1, 2, 3)
        changes |= {
            "model.channels": one_of([3], [4, 2], [2, 2, 4, 2]),
            "model.kernel_size": kernel,
            "model.stride": one_of(1, 2),
            # `same` pads an even kernel by too little for a map of one pixel.
            "model.padding": 1 if kernel == 2 else one_of("same", 1),
            "model.pool": one_of("max", "avg", "none"),
        }
    if changes["norm"] != "none":
        changes |= {"norm.position": one_of("before", "after"), "norm.affine": one_of(True, False)}
    return config(**changes)


def network(c, shape=(2, 7, 6), classes=3):
    """Build a network in double precision; give each dropout a key, and return those too."""
    module = build(c, shape, classes).double()
    initialize(module, c["init"], c["seed"])
    with torch.no_grad():
        for name, p in module.named_parameters():
            if "norm" in name:  # neither 1 nor 0, so that both are seen to be used
                p += images(*p.shape, seed=1)
    keys = {name: i for i, name in enumerate(dropouts(module, (Dropout,)), start=1)}
    for name, key in keys.items():
        module.get_submodule(name).key = torch.tensor(key)
    return module, keys


@pytest.mark.parametrize("model", ["cnn", "mlp"])
@given(data=st.data())
@settings(max_examples=40)
def test_a_network_computes_what_its_configuration_says(model, data):
    c, x = data.draw(configs(model)), images(4, 2, 7, 6)
    module, keys = network(c)
    expected = getattr(reference, model)(c, module.state_dict(), x, keys)
    torch.testing.assert_close(module(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", ["cnn", "mlp"])
@given(data=st.data())
def test_a_bias_stands_everywhere_but_right_before_a_norm(model, data):
    c = data.draw(configs(model))
    module, _ = network(c)
    for block in [*getattr(module, "conv", []), *module.dense.layers]:
        weighted, after = list(block)[:2]
        normed = not isinstance(after, tuple(ACTIVATIONS.values()))
        assert (weighted.bias is None) == normed
    assert module.dense.output.bias is not None


def test_each_block_and_each_hidden_layer_may_have_its_own_rate():
    rates = {"dropout.conv": [0.125, 0.25], "dropout.dense": [0.5, 0.75]}
    module, _ = network(config(**rates, **{"model.channels": [2, 3], "model.hidden": [4, 5]}))
    found = {name: float(layer.rate) for name, layer in dropouts(module, (Dropout,)).items()}
    assert found == {
        "input_dropout": 0,
        "conv.0.dropout": 0.125,
        "conv.1.dropout": 0.25,
        "dense.layers.0.dropout": 0.5,
        "dense.layers.1.dropout": 0.75,
        "dense.output_dropout": 0,
    }


def test_one_rate_serves_every_layer_and_a_list_each_its_own():
    assert per_layer(0.5, 3) == [0.5, 0.5, 0.5]
    assert per_layer((0.1, 0.2), 2) == [0.1, 0.2]


def test_an_mlp_without_hidden_layers_is_softmax_regression():
    module, _ = network(config(model="mlp", **{"model.hidden": []}), (1, 4, 4), 10)
    x, (weight, bias) = images(5, 1, 4, 4), module.parameters()
    torch.testing.assert_close(module(x), x.view(5, 16) @ weight.T + bias)


def test_a_default_network_on_mnist_has_421642_parameters():
    # 32·9 + 32, 64·32·9 + 64, 128·64·7·7 + 128, 10·128 + 10: the network of many tutorials.
    module = build(config(), (1, 28, 28), 10)
    assert sum(p.numel() for p in module.parameters()) == 320 + 18_496 + 401_536 + 1_290 == 421_642


# -- sizes of feature maps -------------------------------------------------------------------------


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.fixed_dictionaries(
        {
            "channels": st.sampled_from([[1], [1, 1], [1, 1, 1]]),
            "kernel_size": st.integers(1, 5),
            "stride": st.integers(1, 3),
            "padding": st.sampled_from(["same", 0, 1, 2]),
            "pool": st.sampled_from(["max", "none"]),
        }
    ),
)
@settings(max_examples=100)
def test_sizes_are_those_of_torchs_layers_or_the_request_is_refused(height, width, model):
    x = torch.zeros(1, 1, height, width)
    try:
        shapes = block_shapes(model, height, width)
    except AblateError:
        assert not runs(model, x)
        return
    assert runs(model, x)
    for shape in shapes:
        x = nn.Conv2d(1, 1, model["kernel_size"], model["stride"], shape.padding)(x)
        assert shape.pooled == (model["pool"] == "max" and min(x.shape[2:]) > 1)
        x = nn.MaxPool2d(2)(x) if shape.pooled else x
        assert x.shape[2:] == (shape.height, shape.width)


def runs(model, x):
    """Tell whether torch's layers take an image through all blocks."""
    kernel, padding = model["kernel_size"], model["padding"]
    padding = (kernel - 1) // 2 if padding == "same" else padding
    try:
        for _ in model["channels"]:
            x = nn.Conv2d(1, 1, kernel, model["stride"], padding)(x)
            x = nn.MaxPool2d(2)(x) if model["pool"] == "max" and min(x.shape[2:]) > 1 else x
    except RuntimeError:
        return False
    return True


def test_same_padding_keeps_the_size_for_odd_kernels():
    model = {"channels": [1], "kernel_size": 5, "stride": 1, "padding": "same", "pool": "none"}
    (shape,) = block_shapes(model, 9, 6)
    assert (shape.padding, shape.height, shape.width) == (2, 9, 6)


def test_a_kernel_that_does_not_fit_is_named_with_its_block_and_the_map_it_meets():
    model = {"channels": [1, 1], "kernel_size": 5, "stride": 1, "padding": 0, "pool": "max"}
    with pytest.raises(AblateError, match=r"model\.kernel_size=5 .* 2 × 2 map that block 2"):
        block_shapes(model, 8, 8)
