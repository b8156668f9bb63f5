"""The whitening first layer, compared with numpy's eigenvectors and its own definition."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import ablate
from ablate.config import schema
from ablate.data import load
from ablate.data.tensors import Split, Tensors
from ablate.errors import AblateError
from ablate.measure.observe import of_training
from ablate.nets import shapes
from ablate.nets.build import build
from ablate.nets.init import initialize
from ablate.nets.whiten import EPS, Whitening, covariance, filters
from ablate.plan.resolve import resolve
from ablate.plan.run import key
from ablate.train.proof import acting, prove
from ablate.train.training import Training
from ablate.train.whitening import fit
from tests.configs import config
from tests.techniques import SIZES, begun, ended, runs

MODELS = ("cnn", "lenet5", "vgg")
SMALL = {"model.channels": [3, 4], "model.hidden": [8]}


def patches(images, side):
    """Cut out every patch of images [N, C, H, W], one after another: [patches, C·side·side]."""
    _, _, height, width = images.shape
    corners = itertools.product(range(height - side + 1), range(width - side + 1))
    cut = [images[:, :, y : y + side, x : x + side].reshape(len(images), -1) for y, x in corners]
    return np.concatenate(cut)


def dataset(seed, shape, dtype=torch.uint8):
    """Make images whose pixels are like their neighbours, and whose channels are alike."""
    count, channels, height, width = shape
    random = np.random.default_rng(seed)
    rough = random.normal(size=(count, 1, height + 2, width + 2))
    smooth = sum(rough[:, :, y : y + height, x : x + width] for y in (0, 1, 2) for x in (0, 1, 2))
    values = 100 + 20 * smooth * (1 + np.arange(channels))[:, None, None] / channels
    values = values + 5 * random.normal(size=shape)
    images = torch.from_numpy(values.clip(0, 255)).to(dtype)
    std, mean = torch.std_mean(images.double(), dim=(0, 2, 3), correction=0)
    split = Split(images, torch.arange(count) % 3)
    moments = {"mean": mean[:, None, None], "std": std[:, None, None]}
    return Tensors(split, split, split, **moments, classes=3, dtype=torch.float64)


def fitted(data, side, **changes):
    network = build(config(**{"model.whiten": side, **changes}), data.shape, data.classes).double()
    fit([network], data)
    return network


sides = st.sampled_from([2, 3])
images = st.tuples(st.integers(20, 40), st.integers(1, 3), st.integers(4, 7), st.integers(4, 7))
dtypes = st.sampled_from([torch.uint8, torch.float32])


# -- the filters -----------------------------------------------------------------------------------


@given(st.integers(0, 99), images, dtypes, sides)
def test_the_covariance_is_that_of_every_patch_of_the_normalized_images(seed, shape, dtype, side):
    data = dataset(seed, shape, dtype)
    found = covariance(data.train.images, data.std, side)
    expected = np.cov(patches(data.normalized(data.train.images).numpy(), side).T, bias=True)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 99), images, sides)
def test_the_filters_are_numpys_eigenvectors_over_the_deviation_with_either_sign(seed, shape, side):
    data = dataset(seed, shape)
    normalized = patches(data.normalized(data.train.images).numpy(), side)
    values, vectors = np.linalg.eigh(np.cov(normalized.T, bias=True))
    expected = []
    for i in reversed(range(len(values))):
        v = vectors[:, i]
        v = -v if v[np.abs(v).argmax()] < 0 else v
        expected.append(v / np.sqrt(values[i] + 5e-4))
    found = fitted(data, side).whiten.conv.weight.flatten(1).numpy()
    np.testing.assert_allclose(found, [*expected, *(-v for v in expected)], rtol=1e-6, atol=1e-6)


@given(st.integers(0, 99), images, sides)
def test_what_comes_out_is_uncorrelated_and_of_variance_1(seed, shape, side):
    data = dataset(seed, shape)
    y = fitted(data, side).whiten.conv(data.normalized(data.train.images)).detach().numpy()
    half = y.shape[1] // 2
    np.testing.assert_allclose(y[:, :half], -y[:, half:])
    values = np.linalg.eigvalsh(covariance(data.train.images, data.std, side).numpy())[::-1]
    found = np.cov(y[:, :half].transpose(1, 0, 2, 3).reshape(half, -1), bias=True)
    np.testing.assert_allclose(found, np.diag(values / (values + EPS)), atol=1e-9)


def test_real_images_come_out_within_a_hundredth_of_the_identity():
    training = begun([config(**{"model.whiten": 2})], fused=False)
    data, layer = training.data, training.stack.layers(0).whiten.conv
    y_NCHW = layer(data.normalized(data.train.images)).detach()
    found = torch.cov(y_NCHW[:, :4].movedim(1, 0).flatten(1))
    torch.testing.assert_close(found, torch.eye(4), rtol=0, atol=1e-2)


def test_uint8_images_give_the_same_bits_in_whatever_order_they_are_summed():
    data = dataset(0, (500, 2, 9, 9))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    one, other = (covariance(x, data.std, 3) for x in (data.train.images, data.train.images[order]))
    assert torch.equal(one, other)


def test_5000_training_images_count_whatever_the_order_and_no_others():
    data = dataset(0, (5010, 1, 4, 4))
    some = data.train.order[:5000].sort().values
    part = Split(data.train.images[some], data.train.labels[some])
    black = Split(0 * data.train.images, data.train.labels)
    others = replace(data, train=part, val=black, test=black)
    one, other = (fitted(d, 2).whiten.conv.weight for d in (data, others))
    assert torch.equal(one, other)
    assert not torch.equal(one, fitted(replace(data, train=black), 2).whiten.conv.weight)


def test_signs_and_the_order_of_equal_eigenvalues_are_fixed():
    # By hand: eigenvalues 3, 1, 1; (1, 1, 0)/√2 and (1, -1, 0)/√2, whose first entry decides.
    matrix = torch.tensor([[2.0, 1, 0], [1, 2, 0], [0, 0, 3]], dtype=torch.float64)
    found = filters(matrix)
    half, thick, thin = 0.5**0.5, 3.0005**0.5, 1.0005**0.5
    assert torch.equal(found[:3], -found[3:])
    torch.testing.assert_close(found[2].tolist(), [half / thin, -half / thin, 0.0])
    for row in found[:2]:
        assert row[row.abs().argmax()] > 0
    torch.testing.assert_close(found[:2].norm(dim=1).tolist(), [1 / thick] * 2)
    alike = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(filters(alike)[:4], alike / 1.0005**0.5)


def test_directions_without_variance_are_no_obstacle():
    gray = dataset(0, (30, 1, 5, 5))
    rgb = gray.train.images.expand(-1, 3, -1, -1)
    split = Split(rgb, gray.train.labels)
    data = replace(gray, train=split, mean=gray.mean.expand(3, 1, 1), std=gray.std.expand(3, 1, 1))
    y_NCHW = fitted(data, 2).whiten.conv(data.normalized(rgb))
    assert y_NCHW.isfinite().all()
    variances = y_NCHW[:, :12].var((0, 2, 3)).detach()
    torch.testing.assert_close(variances[4:], torch.zeros(8).double(), rtol=0, atol=1e-12)
    assert (variances[:4] > 0.9).all()


# -- in a network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [2, 3])
def test_a_network_is_whitening_its_activation_and_the_network_behind_it(side):
    data = dataset(0, (30, 2, 8, 9), torch.float32)
    changes = {"model.activation": "gelu", "norm": "batch", "init.bias": 0.1, **SMALL}
    ours = fitted(data, side, **changes)
    c = config(**changes)
    initialize(ours, c["init"], 0)
    assert not ours.whiten.conv.bias.any()  # an initial bias is that of what is initialized
    nn.init.normal_(ours.whiten.conv.bias)
    rest = build(c, (4 * side**2 * 1, 9 - side, 10 - side), 3).double()
    rest.load_state_dict({k: v for k, v in ours.state_dict().items() if "whiten" not in k})
    x = data.normalized(data.train.images)
    written = nn.functional.conv2d(x, ours.whiten.conv.weight, ours.whiten.conv.bias)
    for mode in (True, False):
        expected = rest.train(mode)(nn.functional.gelu(written))
        torch.testing.assert_close(ours.train(mode)(x), expected, rtol=1e-9, atol=1e-9)


def test_initial_weights_of_the_other_layers_are_drawn_as_if_it_were_not_there():
    networks = [build(config(**{"model.whiten": side}), (1, 8, 8), 10) for side in (None, 2)]
    schemes = config(**{"init.layers": ["he_normal", "zeros", "normal:0.1", "lecun_uniform"]})
    for network in networks:
        initialize(network, schemes["init"], 0)
    plain, whitened = (dict(network.named_parameters()) for network in networks)
    assert torch.equal(plain["dense.output.weight"], whitened["dense.output.weight"])
    assert torch.equal(whitened["conv.1.conv.weight"], 0 * plain["conv.1.conv.weight"])
    assert not whitened["whiten.conv.weight"].any()


@given(st.sampled_from(MODELS), sides, st.sampled_from([(1, 8, 8), (3, 11, 9)]), st.integers(1, 9))
def test_sizes_are_known_by_arithmetic(model, side, shape, batch):
    small = {"model.channels": [3, 4]} if model != "lenet5" else {}
    c = config(model=model, norm="batch", **small, **{"model.whiten": side})
    module, values = build(c, shape, 10).eval(), c["model"]
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, *shape))
    assert 2 * shapes.multiply_adds(values, shape, 10) == counter.get_total_flops()
    weighted = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    layers = shapes.layers(values, shape, 10)
    assert [layer.weights for layer in layers] == [layer.weight.numel() for layer in weighted]
    assert [x.fixed for x in layers] == [isinstance(layer, Whitening) for layer in weighted]
    assert shapes.weighted_layers(values) == len(weighted) - 1
    assert shapes.conv_layers(values) == len(module.conv)
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    assert len(shapes.norm_sites(values, *shape[1:])) == len(norms)


def test_only_its_bias_counts_among_the_parameters():
    plain, whitened = (
        begun([config(**SMALL, **{"model.whiten": side})], fused=False).stack for side in (None, 2)
    )
    # 8 biases; the next kernels see 7 channels more, and maps of 7 rather than 8 pixels are pooled
    # to 1 rather than 2 × 2, so that each of 8 units sees 12 numbers fewer.
    assert whitened.sizes - plain.sizes == 8 + 3 * 9 * 7 - 8 * 12


def test_padding_frames_what_comes_of_whitening():
    module = build(config(model="lenet5", **{"model.whiten": 2}), (1, 28, 28), 10)
    seen = []
    module.conv[0].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    module(torch.ones(2, 1, 28, 28))
    assert seen[0].shape == (2, 8, 32, 32)
    assert not seen[0][:, :, :2].any()


@pytest.mark.parametrize("model", MODELS)
def test_images_smaller_than_a_patch_are_refused_by_name(model):
    changes = {"model": model, "data.image_size": 2, "model.whiten": 3}
    with pytest.raises(AblateError, match=r"model\.whiten=3 does not fit into images of 2 × 2"):
        resolve(config(**changes), {"model.whiten"})
    assert resolve(config(**changes | {"model.whiten": 2, "model": "cnn"}), {"model.whiten"})


def test_it_is_part_of_a_runs_key_and_of_its_graph():
    plain, two, three = (config(**{"model.whiten": side}) for side in (None, 2, 3))
    without = copy.deepcopy(plain)
    del without["model"]["whiten"]
    assert key(plain, "d") == key(without, "d")  # as it was before there was such a knob
    assert len({key(c, "d") for c in (plain, two, three)}) == 3
    assert schema.graph(two) != schema.graph(three)


# -- in training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True], ids=["looped", "fused"])
def test_filters_are_the_same_for_every_seed_and_stay_while_the_bias_learns(fused):
    configs = runs("network: whitening")
    training = begun(configs, fused=fused)
    before = [training.stack.slice(r) for r in range(len(configs))]
    alone = begun(configs[1:2], fused=False).stack.slice(0)
    left = [run.weights for run in ended(training)]
    for start, end in zip(before, left, strict=True):
        assert torch.equal(start["whiten.conv.weight"], alone["whiten.conv.weight"])
        assert torch.equal(end["whiten.conv.weight"], alone["whiten.conv.weight"])
        assert not start["whiten.conv.bias"].any()
        assert end["whiten.conv.bias"].all()
    assert alone["whiten.conv.weight"].any()


@pytest.mark.parametrize(
    "changes",
    [
        {"regularize.l1": 0.1},
        {"regularize.l2": 0.1},
        {"regularize.max_norm": 0.01},
        {"optimizer": "muon", "optimizer.weight_decay": 0.5},
        {"optimizer": "adamw", "optimizer.weight_decay": 0.5},
        {"regularize.ema": 0.9},
        {"regularize.sam": 0.1},
        {"optimizer": "lbfgs", "batch_size": SIZES["data.train_size"]},
        {"precision": "bf16"},
        {"dropout.kind": "dropconnect", "dropout.conv": 0.5},
        {"regularize._target_": "tests.techniques.own_penalty"},
    ],
    ids=str,
)
def test_nothing_that_changes_weights_touches_the_filters(changes):
    plain = SIZES | {"epochs": 1} | SMALL
    training = begun([config(**plain | {"model.whiten": 2} | changes)], fused=False)
    before = training.stack.slice(0)
    assert "whiten.conv.weight" not in training.update.objective.weights
    after = ended(training)[0].weights
    assert torch.equal(before["whiten.conv.weight"], after["whiten.conv.weight"])
    assert not torch.equal(before["conv.0.conv.weight"], after["conv.0.conv.weight"])


def test_what_was_fitted_is_recorded_and_what_was_not_is_refused():
    c = config(**SMALL, **{"model.whiten": 3})
    training = begun([c], fused=False)
    network, objective = training.stack.layers(0), training.update.objective
    assert acting(c, network)["whiten"] == {"side": 3, "filters": 18}
    prove(c, network, objective, training.data)
    assert "whiten" not in acting(config(), build(config(), (1, 8, 8), 10))
    for unfitted in (build(c, (1, 8, 8), 10), build(config(**SMALL), (1, 8, 8), 10)):
        with pytest.raises(AblateError, match=r"model\.whiten=3 touches nothing"):
            prove(c, unfitted, objective, training.data)


def test_a_look_inside_sees_the_layer():
    found = of_training(begun([config(**SMALL, **{"model.whiten": 2})], fused=False))
    assert found["signal/whiten.conv/sd"] == pytest.approx(1, abs=0.1)
    assert found["signal/whiten.conv/bias_grad_norm"] > 0
    assert "signal/whiten.conv/grad_norm" not in found
    assert found["signal/whiten.activation/zeros"] == pytest.approx(0.5, abs=0.2)


def test_a_saved_run_has_the_filters_that_its_data_give(tmp_path):
    found = ablate.run(
        [
            *("model.channels=[3,4]", "model.hidden=[8]", "model.whiten=2", "epochs=1"),
            *("save=weights", "data.train_size=100", f"out={tmp_path}"),
        ]
    )
    module = ablate.load_model(tmp_path / "digits-cnn" / found["key"])
    fresh = Training([found["config"]], load(found["config"]), fused=False).stack
    assert found["active"]["whiten"] == {"side": 2, "filters": 8}
    assert found["parameters"] == fresh.sizes
    assert torch.equal(module.whiten.conv.weight, fresh.slice(0)["whiten.conv.weight"])
    assert not module.whiten.conv.weight.requires_grad
    assert module.whiten.conv.bias.any()
