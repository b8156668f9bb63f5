"""Layers and networks, compared with torch's layers and with their arithmetic written out.

Dropout has its own tests.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from math import prod

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ablate.errors import AblateError
from ablate.nets import shapes
from ablate.nets.activations import ACTIVATIONS
from ablate.nets.build import build
from ablate.nets.dropout import Dropout
from ablate.nets.gains import gain_of
from ablate.nets.init import initialize
from ablate.nets.layers import per_layer
from ablate.nets.norms import DenseBatchNorm, norm_layer
from ablate.nets.shapes import block_shapes
from ablate.train.stack import Stack
from tests import reference
from tests.configs import config


def images(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


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


RECURRENT = ("rnn", "lstm", "gru")
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
RATES = (0, 0.25, 0.5)


@st.composite
def configs(draw, model):
    """Draw configurations of small networks, of every structure."""

    def one_of(*values):
        return draw(st.sampled_from(values))

    hidden = one_of([5], [6, 4], *([] if model in RECURRENT else [[]]))
    changes = {
        "model": model,
        "norm": one_of("none", "batch", "layer", "group", "instance"),
        "model.hidden": hidden,
        "init.bias": 0.1,
    }
    changes |= {f"dropout.{k}": one_of(*RATES) for k in ("input", "conv", "dense", "output")}
    if model not in ("lstm", "gru"):
        changes["model.activation"] = one_of(*ACTIVATIONS)
    if model in RECURRENT:
        changes["dropout.dense"] = [one_of(*RATES) for _ in hidden]
    if model == "lstm":
        changes["model.forget_bias"] = one_of(0, 1)
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
    if model == "resnet":
        depth = one_of(8, 9, 14)
        changes |= {"model.depth": depth, "model.width": one_of(2, 3)}
        units = {8: 3, 9: 5, 14: 6}[depth]
        changes["dropout.conv"] = [one_of(*RATES) for _ in range(units)]
        changes["regularize.stochastic_depth"] = one_of(0, 0.5)
    if changes["norm"] != "none":
        changes |= {"norm.position": one_of("before", "after"), "norm.affine": one_of(True, False)}
    return config(**changes)


def network(c, shape=(2, 7, 6), classes=3):
    """Build a network in double precision; give each dropout a key, and return the keys too."""
    module = build(c, shape, classes).double()
    initialize(module, c["init"], c["seed"])
    with torch.no_grad():
        for name, p in module.named_parameters():
            if "norm" in name:  # neither 1 nor 0, so that both are seen to be used
                p += images(*p.shape, seed=1)
    keys = {name: i for i, name in enumerate(dropouts(module), start=1)}
    for name, key in keys.items():
        module.get_submodule(name).key = torch.tensor(key)
    return module, keys


def dropouts(module):
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, Dropout)}


@pytest.mark.parametrize("model", ["cnn", "mlp", "resnet", *RECURRENT])
@given(data=st.data())
def test_a_network_computes_what_its_configuration_says(model, data):
    c, x = data.draw(configs(model)), images(4, 2, 7, 6)
    module, keys = network(c)
    written = getattr(reference, "recurrent" if model in RECURRENT else model)
    expected = written(c, module.state_dict(), x, keys)
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


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("depth", [8, 9])
def test_a_convolution_of_a_resnet_has_a_bias_unless_a_norm_follows(norm, position, depth):
    changes = {"norm": norm} | ({"norm.position": position} if norm == "batch" else {})
    module = build(config(model="resnet", **changes, **{"model.depth": depth}), (1, 8, 8), 10)
    for layer in module.modules():
        for weighted, after in pairwise([*getattr(layer, "_modules", {}).values(), None]):
            if isinstance(weighted, nn.Conv2d):
                assert (weighted.bias is None) == isinstance(after, nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("model", "norm", "biased"),
    [
        ("rnn", "none", False),
        ("lstm", "none", False),
        ("gru", "none", True),
        ("rnn", "batch", False),
        ("lstm", "batch", False),
        ("gru", "batch", False),
    ],
)
def test_only_a_gru_without_a_norm_has_a_bias_on_both_products(model, norm, biased):
    layer = build(config(model=model, norm=norm), (1, 8, 8), 10).layers[0]
    assert (layer.input.bias is not None) == biased
    assert layer.hidden.bias is not None


def test_each_block_and_each_hidden_layer_may_have_its_own_rate():
    rates = {"dropout.conv": [0.125, 0.25], "dropout.dense": [0.5, 0.75]}
    module, _ = network(config(**rates, **{"model.channels": [2, 3], "model.hidden": [4, 5]}))
    found = {name: float(layer.rate) for name, layer in dropouts(module).items()}
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


# -- networks of the literature, held against torch's and torchvision's layers ---------------------


def copy_in_order(source, target):
    """Copy parameters one after another; the two networks list them alike."""
    with torch.no_grad():
        for p, q in zip(target.parameters(), source.parameters(), strict=True):
            p.copy_(q)


def assert_same_network(c, written, shape, parameters):
    """Compare a network with the same one made of torch's layers, and with its published size."""
    ours = build(c, shape, 10).double()
    initialize(ours, c["init"], 0)
    copy_in_order(ours, written.double())
    assert sum(p.numel() for p in ours.parameters()) == parameters
    x = images(5, *shape)
    for mode in (True, False):
        theirs = written.train(mode)(x)
        torch.testing.assert_close(ours.train(mode)(x), theirs, rtol=1e-9, atol=1e-9)


def test_lenet5_is_that_of_1998_with_61706_parameters():
    written = nn.Sequential(
        *(nn.ZeroPad2d(2), nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )
    assert_same_network(config(model="lenet5"), written, (1, 28, 28), 61_706)


@pytest.mark.parametrize(
    ("size", "frame"), [(28, (2, 2)), (9, (11, 12)), (32, (0, 0)), (40, (0, 0))]
)
def test_smaller_images_are_framed_with_zeros_and_larger_ones_are_left(size, frame):
    module = build(config(model="lenet5"), (1, size, size), 10)
    seen = []
    module.conv[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    module(images(2, 1, size, size, dtype=torch.float32))
    expected = nn.functional.pad(images(2, 1, size, size, dtype=torch.float32), (*frame, *frame))
    assert torch.equal(seen[0], expected)


def test_vgg_pools_at_the_end_of_a_stage_alone():
    def conv(inputs, out):
        return nn.Conv2d(inputs, out, 3, padding=1), nn.ReLU()

    written = nn.Sequential(
        *(*conv(3, 4), nn.MaxPool2d(2), *conv(4, 6), *conv(6, 6), *conv(6, 6), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(6 * 4, 7), nn.ReLU(), nn.Linear(7, 10)),
    )
    c = config(
        model="vgg", **{"model.channels": [4, 6], "model.depth": [1, 3], "model.hidden": [7]}
    )
    assert_same_network(c, written, (3, 8, 8), 112 + 222 + 2 * 330 + 175 + 80)


def test_resnet_20_is_built_of_the_blocks_of_he_et_al():
    # 0.27 million, their table 6; with option B 2,752 more than the 269,722 of option A.
    def stage(inputs, out, stride):
        project = nn.Sequential(nn.Conv2d(inputs, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        first = block(inputs, out, stride, project if stride > 1 else None)
        return first, block(out, out), block(out, out)

    block = torchvision.models.resnet.BasicBlock
    written = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(*stage(16, 16, 1), *stage(16, 32, 2), *stage(32, 64, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )
    c = config(model="resnet", norm="batch")
    assert_same_network(c, written, (3, 32, 32), 269_722 + 2_752)


class Sum(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def test_depth_9_is_the_network_of_the_dawnbench_contest():
    def conv(inputs, out, *more):
        layers = nn.Conv2d(inputs, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
        return nn.Sequential(*layers, *more)

    pool = nn.MaxPool2d(2)
    written = nn.Sequential(
        *(conv(3, 64), conv(64, 128, pool), Sum(conv(128, 128), conv(128, 128))),
        *(conv(128, 256, pool), conv(256, 512, pool), Sum(conv(512, 512), conv(512, 512))),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(512, 10)),
    )
    c = config(model="resnet", norm="batch", **{"model.depth": 9, "model.width": 64})
    widths = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 512)]
    weights = 9 * (sum(map(prod, widths)) + 2 * 512**2)
    norms = 2 * (64 + 3 * 128 + 256 + 3 * 512)
    assert_same_network(c, written, (3, 8, 8), weights + norms + 5_130)


@pytest.mark.parametrize(
    ("name", "cls"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)], ids=RECURRENT
)
def test_recurrent_networks_are_torchs(name, cls):
    c = config(model=name, **{"model.hidden": [6, 6], "init.bias": 0.3})
    ours = build(c, (2, 5, 3), 4).double()
    initialize(ours, c["init"], 0)
    theirs = cls(6, 6, num_layers=2).double()
    with torch.no_grad():
        for i, layer in enumerate(ours.layers):
            for part, product in (("ih", layer.input), ("hh", layer.hidden)):
                bias = torch.zeros_like(layer.hidden.bias) if product.bias is None else product.bias
                getattr(theirs, f"weight_{part}_l{i}").copy_(product.weight)
                getattr(theirs, f"bias_{part}_l{i}").copy_(bias)
            if name == "lstm":
                getattr(theirs, f"bias_hh_l{i}")[6:12] += 1  # gates in the order i, f, g, o
    x_BCHW = images(7, 2, 5, 3)
    rows_TBF = x_BCHW.permute(2, 0, 1, 3).reshape(5, 7, 6)
    expected = ours.output(theirs(rows_TBF)[0][-1])
    torch.testing.assert_close(ours(x_BCHW), expected, rtol=1e-12, atol=1e-12)


def test_a_rate_of_stochastic_depth_rises_linearly_to_the_last_branch():
    def rates(**changes):
        c = config(model="resnet", **changes, **{"regularize.stochastic_depth": 0.6})
        found = dropouts(build(c, (1, 8, 8), 10)).items()
        return [layer.p for name, layer in found if name.endswith("stochastic_depth")]

    assert rates() == pytest.approx([0.6 * i / 9 for i in range(1, 10)])
    assert rates(**{"model.depth": 9}) == pytest.approx([0.3, 0.6])


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        *[(name, {}) for name in ("cnn", "lenet5", "vgg", "mlp", "deep_mlp", *RECURRENT)],
        *[("resnet", {"model.depth": depth, "model.width": 4}) for depth in (9, 20)],
    ],
)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_every_network_learns_images_of_every_size(model, changes, norm):
    for shape in ((1, 8, 8), (1, 28, 28), (3, 32, 32)):
        c = config(model=model, norm=norm, **changes)
        module = build(c, shape, 3)
        initialize(module, c["init"], 0)
        x, y = images(9, *shape, dtype=torch.float32), torch.arange(9) % 3
        optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
        losses = []
        for _ in range(6):
            loss = nn.functional.cross_entropy(module(x), y)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("model", ["cnn", "lenet5", "vgg", "mlp", "deep_mlp", "resnet", *RECURRENT])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_every_network_is_the_same_fused_and_looped(model, norm):
    small = {"resnet": {"model.depth": 8, "model.width": 4}, "vgg": {"model.channels": [4, 6]}}
    rates = [{f"dropout.{k}": 0.2 * i for k in ("input", "conv", "dense")} for i in range(3)]
    rates = [r | {"regularize.stochastic_depth": 0.3 * i} for i, r in enumerate(rates)]
    runs = [config(model=model, norm=norm, seed=3, **r, **small.get(model, {})) for r in rates]
    x, target = images(3, 6, 1, 8, 8), {"y": torch.arange(18).view(3, 6) % 10}
    found = {}
    for fused in (True, False):
        modules = [build(c, (1, 8, 8), 10).double() for c in runs]
        for r, module in enumerate(modules):
            initialize(module, runs[r]["init"], r)
        stack = Stack(modules, [0, 1, 2], fused=fused)
        losses, _, gradients = stack.gradients(x, target, 5, [True] * 3)
        found[fused] = {"loss": losses, "logits": stack.predict(x[0]), **gradients}
    for name, tensor in found[True].items():
        torch.testing.assert_close(tensor, found[False][name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("model", ["cnn", "mlp", "resnet", *RECURRENT])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.filterwarnings("ignore:.*batching rule.*:UserWarning")
def test_every_network_computes_in_sixteen_bits_what_it_does_in_thirty_two(model, norm, fused):
    c = config(model=model, norm=norm, **({"model.depth": 8} if model == "resnet" else {}))
    x, target = images(2, 8, 1, 8, 8, dtype=torch.float32), {"y": torch.arange(16).view(2, 8) % 10}
    losses = []
    for low in (torch.bfloat16, None):
        modules = [build(c, (1, 8, 8), 10) for _ in range(2)]
        for r, module in enumerate(modules):
            initialize(module, c["init"], r)
        stack = Stack(modules, [0, 1], fused=fused, autocast=low)
        loss, _, gradients = stack.gradients(x, target, 0, [True] * 2)
        assert {g.dtype for g in gradients.values()} == {torch.float32}
        losses.append(loss)
    torch.testing.assert_close(*losses, rtol=0.05, atol=0.05)


# -- parts of the user's own -----------------------------------------------------------------------


class RMSNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.scale, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        along = (-1, *[1] * (x.dim() - 2))
        return self.scale.view(along) * x / (x.square().mean(1, keepdim=True) + self.eps).sqrt()


class Slope(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.slope = nn.Parameter(start * torch.rand(()))

    def forward(self, x):
        return x.maximum(self.slope * x)


def own_norm(position="before"):
    target = "tests.nets.test_nets.RMSNorm"
    return {"name": "custom", "_target_": target, "position": position, "eps": 1e-3}


@pytest.mark.parametrize("model", ["cnn", "mlp", "resnet", "gru"])
@pytest.mark.parametrize("position", ["before", "after"])
def test_a_norm_of_the_users_stands_where_a_shipped_one_does(model, position):
    mine = build(config(model=model, norm=own_norm(position)), (1, 8, 8), 10)
    shipped = config(model=model, norm="batch", **{"norm.position": position})

    def places(module, cls):
        return [name for name, layer in module.named_modules() if isinstance(layer, cls)]

    assert places(mine, RMSNorm) == places(build(shipped, (1, 8, 8), 10), NORMS)
    assert next(m for m in mine.modules() if isinstance(m, RMSNorm)).eps == 1e-3
    assert mine(images(2, 1, 8, 8, dtype=torch.float32)).shape == (2, 10)


def test_a_bias_stays_before_a_norm_of_the_users_which_may_leave_a_mean():
    module = build(config(norm=own_norm()), (1, 8, 8), 10)
    assert all(layer.bias is not None for layer in module.modules() if isinstance(layer, nn.Linear))


def test_an_activation_of_the_users_may_be_a_class_or_a_function():
    def built(activation):
        return build(config(**{"model.activation": activation}), (1, 8, 8), 10)

    module = built({"_target_": "tests.nets.test_nets.Slope", "start": 0.5})
    slopes = [layer for layer in module.modules() if isinstance(layer, Slope)]
    assert len(slopes) == 3
    function = built({"_target_": "torch.nn.functional.leaky_relu", "negative_slope": 0.2})
    x = images(4, 5)
    expected = nn.functional.leaky_relu(x, 0.2)
    assert torch.equal(function.conv[0].activation(x), expected)


def test_what_a_part_of_the_users_draws_follows_the_seed_and_nothing_else():
    def slope(seed):
        torch.manual_seed(seed + 100)
        own = {"_target_": "tests.nets.test_nets.Slope", "start": 0.5}
        return build(config(seed=seed % 10, **{"model.activation": own}), (1, 8, 8), 10).conv[0]

    first, again, other = (slope(seed).activation.slope.item() for seed in (1, 11, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"norm": own_norm() | {"nonsense": 1}},
            r"norm\._target_=tests\.nets\.test_nets\.RMSNorm does not",
        ),
        (
            {"norm": own_norm() | {"_target_": "builtins.dict"}},
            r"norm\._target_.* no torch\.nn\.Mod",
        ),
        ({"norm": own_norm() | {"_target_": "tests.nowhere.X"}}, r"norm\._target_.* no module"),
        (
            {"model.activation": {"_target_": "tests.nets.test_nets.Slope"}},
            r"model\.activation\._target_.*start",
        ),
        ({"dropout._target_": "torch.nn.Linear"}, r"dropout\._target_=torch\.nn\.Linear does not"),
    ],
)
def test_a_part_that_does_not_build_is_told_with_its_knob(changes, message):
    with pytest.raises(AblateError, match=message):
        build(config(**changes), (1, 8, 8), 10)


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
            "depth": st.integers(1, 2),
            "pad_to": st.sampled_from([None, 6]),
        }
    ),
)
@settings(max_examples=100)
def test_sizes_are_those_of_torchs_layers_or_the_request_is_refused(height, width, model):
    x = torch.zeros(1, 1, height, width)
    try:
        maps = block_shapes(model, height, width)
    except AblateError:
        assert not runs(model, x)
        return
    assert runs(model, x)
    x = torch.zeros(1, 1, *(max(side, model["pad_to"] or 0) for side in (height, width)))
    for number, shape in enumerate(maps, start=1):
        x = nn.Conv2d(1, 1, model["kernel_size"], model["stride"], shape.padding)(x)
        ends = number % model["depth"] == 0
        assert shape.pooled == (ends and model["pool"] == "max" and min(x.shape[2:]) > 1)
        x = nn.MaxPool2d(2)(x) if shape.pooled else x
        assert x.shape[2:] == (shape.height, shape.width)


def runs(model, x):
    """Tell whether torch's layers take an image through all blocks."""
    kernel, padding = model["kernel_size"], model["padding"]
    padding = (kernel - 1) // 2 if padding == "same" else padding
    x = torch.zeros(1, 1, *(max(side, model["pad_to"] or 0) for side in x.shape[2:]))
    try:
        for _ in model["channels"]:
            for _ in range(model["depth"]):
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


# -- sizes by arithmetic ---------------------------------------------------------------------------


@st.composite
def sized(draw):
    """Draw a network, its norm and an image's shape."""

    def one_of(*values):
        return draw(st.sampled_from(values))

    model = one_of("cnn", "lenet5", "vgg", "mlp", "deep_mlp", "resnet", *RECURRENT)
    changes = {"model.hidden": one_of([5], [6, 4], [])}
    if model == "vgg":
        changes |= {"model.channels": [3, 4], "model.depth": one_of(2, [1, 3])}
    if model == "resnet":
        changes |= {"model.width": 3, "model.depth": one_of(8, 9, 20)}
    c = config(model=model, norm="batch", **changes, **{"norm.position": one_of("before", "after")})
    return c, (one_of(1, 3), one_of(8, 11), one_of(8, 9))


@given(sized())
def test_the_multiplications_are_those_that_torch_counts(drawn):
    c, shape = drawn
    module = build(c, shape, 10).eval()
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, *shape))
    assert 2 * shapes.multiply_adds(c["model"], shape, 10) == counter.get_total_flops()


@given(sized())
def test_layers_are_counted_as_they_are_built(drawn):
    c, shape = drawn
    module, model = build(c, shape, 10), c["model"]
    weighted = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert shapes.weighted_layers(model) == len(weighted)
    assert [layer.weights for layer in shapes.layers(model, shape, 10)] == [
        layer.weight.numel() for layer in weighted
    ]
    for knob, count in (("conv", shapes.conv_layers), ("dense", shapes.dense_layers)):
        rates = [(i + 1) / 100 for i in range(count(model))]
        c["dropout"][knob] = rates or 0
        found = [layer.p for layer in dropouts(build(c, shape, 10)).values() if layer.p]
        assert found == rates
        c["dropout"][knob] = 0


@given(sized())
def test_every_place_that_is_normalized_is_listed_with_its_size(drawn):
    c, shape = drawn
    module, seen = build(c, shape, 10), []

    def note(layer, x):
        dense = isinstance(layer, DenseBatchNorm)
        seen.append((layer.num_features, None if dense else prod(x[0].shape[2:])))

    for layer in module.modules():
        if isinstance(layer, NORMS):
            layer.register_forward_pre_hook(note)
    module(torch.zeros(2, *shape))
    listed = shapes.norm_sites(c["model"], *shape[1:], position=c["norm"]["position"])
    assert sorted(map(str, listed)) == sorted(map(str, seen))


@pytest.mark.parametrize("depth", [8, 9, 14, 20, 32, 44, 56, 110, 1202])
def test_depths_of_residual_networks_are_legal(depth):
    assert shapes.illegal_depth({"name": "resnet", "depth": depth}) is None


@pytest.mark.parametrize("depth", [1, 2, 10, 18, 34, [20], None])
def test_other_depths_of_residual_networks_are_not(depth):
    fault = shapes.illegal_depth({"name": "resnet", "depth": depth})
    assert f"model.depth={depth}" in fault
    assert "6n + 2" in fault


def test_a_depth_a_stage_needs_as_many_numbers_as_stages():
    def fault(depth):
        return shapes.illegal_depth({"name": "vgg", "channels": [4, 8], "depth": depth})

    assert fault(3) is fault([1, 2]) is None
    assert "3 numbers, but model.channels has 2 stages" in fault([1, 2, 3])


def test_sizes_and_gains_are_known_without_torch():
    code = "import sys, ablate.nets.shapes, ablate.nets.gains; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- gains -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_that_torch_knows_are_torchs(name):
    assert gain_of(name) == pytest.approx(nn.init.calculate_gain(name), rel=1e-15)


@pytest.mark.parametrize("name", ["elu", "gelu", "silu"])
def test_other_gains_keep_the_second_moment_of_a_normal_signal(name):
    def density(z):
        phi = ACTIVATIONS[name]()(torch.tensor(z, dtype=torch.float64)).item()
        return phi**2 * stats.norm.pdf(z)

    halves = [integrate.quad(density, *ends, epsabs=1e-12)[0] for ends in ((-15, 0), (0, 15))]
    assert gain_of(name) == pytest.approx(sum(halves) ** -0.5, rel=1e-9)


def test_every_shipped_activation_has_a_gain():
    assert all(gain_of(name) > 0 for name in ACTIVATIONS)
