"""Dropout of every kind: against torch, against its arithmetic, and in a stack against itself."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from ablate import rng
from ablate.nets.build import build
from ablate.nets.dropout import DropConnectConv2d, DropConnectLinear, Dropout
from ablate.nets.init import initialize
from ablate.nets.own_dropout import with_own_dropout, with_torch_dropout
from ablate.train.batchable import unbatchable
from ablate.train.stack import Stack
from tests import reference
from tests.configs import config

KINDS = ("bernoulli", "gaussian", "spatial", "alpha", "dropconnect", "image")
MODELS = ("cnn", "mlp", "resnet", "gru")


def images(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dropout(rate, key=0, kind="bernoulli", scaling="inverted"):
    layer = Dropout(rate, kind, scaling).double()
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_of_zero_among_mates_that_drop_is_the_identity_too(kind):
    layer, x = dropout(0.0, 3, kind), images(4, 30)
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
    layer = dropout(0.25, 9, "spatial")
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout_keeps_the_type_of_its_input(dtype, kind):
    layer = Dropout(0.5, kind, "test")
    layer.key = torch.tensor(1)
    x = images(20, 20).to(dtype)
    y = layer(x)
    assert y.dtype == layer.eval()(x).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_half_dropped_is_the_rest_doubled_in_every_type(dtype):
    x = images(20, 20).to(dtype)
    y = dropout(0.5, 1)(x)
    assert torch.equal(y[y != 0], 2 * x[y != 0])


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.9]), min_size=1, max_size=4))
def test_under_vmap_each_run_has_its_own_rate_and_mask(kind, rates):
    x, width = images(2, 3, 4), len(rates)
    state = {"rate": torch.tensor(rates, dtype=torch.float64), "key": torch.arange(width)}
    layer = Dropout(0.5, kind).double()

    def run(s):
        return torch.func.functional_call(layer, s, (x,))

    fused = torch.func.vmap(run)(state)
    alone = [dropout(r, k, kind)(x) for k, r in enumerate(rates)]
    torch.testing.assert_close(fused, torch.stack(alone), rtol=1e-12, atol=1e-12)


def test_rate_and_key_are_no_part_of_what_is_saved():
    assert Dropout(0.5).state_dict() == {}


# -- kinds and scalings ----------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["inverted", "test", "none"])
@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0.125, 0.5, 0.75]))
def test_every_kind_computes_its_formula(kind, scaling, key, rate):
    x = images(3, 4, 2, 2)
    expected = reference.dropped(x, kind, scaling, rate, key)
    torch.testing.assert_close(dropout(rate, key, kind, scaling)(x), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["bernoulli", "spatial", "dropconnect", "image"])
def test_what_is_not_scaled_in_training_is_scaled_at_test_or_never(kind):
    x = images(5, 6)
    assert torch.equal(dropout(0.25, 0, kind).eval()(x), x)
    assert torch.equal(dropout(0.25, 0, kind, "test").eval()(x), 0.75 * x)
    assert torch.equal(dropout(0.25, 0, kind, "none").eval()(x), x)
    for scaling in ("test", "none"):
        y = dropout(0.25, 0, kind, scaling)(x)
        assert bool(((y == 0) | (y == x)).all())


@pytest.mark.parametrize("kind", ["gaussian", "alpha"])
def test_kinds_that_keep_the_mean_by_themselves_ignore_the_scaling(kind):
    x = images(5, 6)
    for scaling in ("test", "none"):
        assert torch.equal(dropout(0.25, 3, kind, scaling)(x), dropout(0.25, 3, kind)(x))
        assert torch.equal(dropout(0.25, 3, kind, scaling).eval()(x), x)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_gaussian_noise_has_mean_one_and_the_variance_of_bernoulli_dropout(rate):
    std = math.sqrt(rate / (1 - rate))
    for key in rng.stream(torch.arange(3), "dropout/test"):
        factors = dropout(rate, key, "gaussian")(torch.ones(200, 301, dtype=torch.float64))
        assert stats.kstest(factors.flatten().numpy(), stats.norm(1, std).cdf).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_alpha_dropout_is_torchs_where_both_keep_and_where_both_drop(rate):
    x = images(50, 40)
    ours, torchs = dropout(rate, 1, "alpha")(x), F.alpha_dropout(x, rate, training=True)
    dropped = [y == y.flatten().mode().values for y in (ours, torchs)]
    for both in (dropped[0] & dropped[1], ~dropped[0] & ~dropped[1]):
        assert int(both.sum()) > 0
        torch.testing.assert_close(ours[both], torchs[both], rtol=1e-7, atol=1e-7)
    assert stats.binomtest(int(dropped[0].sum()), 2000, rate).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance_of_a_standard_signal(rate):
    x = images(400, 500)
    y = dropout(rate, 2, "alpha")(x)
    assert abs(y.mean()) < 4 / math.sqrt(y.numel())
    assert abs(y.var() - 1) < 0.02


def test_spatial_dropout_of_units_drops_each_alone():
    x, key = images(30, 40), 5
    assert torch.equal(dropout(0.5, key, "spatial")(x), dropout(0.5, key)(x))


def test_images_fall_whole_and_the_others_are_scaled():
    x = images(300, 2, 3, 3)
    factors = (dropout(0.25, 4, "image")(x) / x).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    dropped = int((factors[:, 0] == 0).sum())
    assert stats.binomtest(dropped, 300, 0.25).pvalue > 1e-3
    assert factors.max() == pytest.approx(4 / 3)


def test_dropconnect_drops_weights_by_one_mask_for_all_images():
    layer = DropConnectLinear(6, 5, True, dropout(0.5, 3)).double()
    with torch.no_grad():
        layer.bias += 1
    weight = reference.dropout(layer.weight.detach(), 0.5, 3)
    x = images(7, 6)
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias)
    torch.testing.assert_close(layer.eval()(x), x @ layer.weight.T + layer.bias)


def test_dropconnect_of_a_convolution_convolves_with_the_weights_that_are_left():
    layer = DropConnectConv2d(dropout(0.5, 3), 2, 3, 3, 2, 1, bias=True).double()
    weight = reference.dropout(layer.weight.detach(), 0.5, 3)
    x = images(4, 2, 5, 5)
    expected = F.conv2d(x, weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(layer(x), expected)


def test_dropconnect_without_scaling_in_training_takes_the_mean_weight_at_test():
    layer = DropConnectLinear(6, 5, False, dropout(0.25, 3, "dropconnect", "test")).double()
    x = images(7, 6)
    torch.testing.assert_close(layer.eval()(x), 0.75 * x @ layer.weight.T)


# -- in networks -----------------------------------------------------------------------------------


SITES = ("input", "conv", "dense", "output")
SMALL = {
    "cnn": {"model.channels": [3, 4], "model.hidden": [6]},
    "mlp": {"model.hidden": [7, 6]},
    "resnet": {"model.depth": 9, "model.width": 2, "model.hidden": [5]},
    "gru": {"model.hidden": [6, 5]},
}


def small(model, kind, rates, scaling="inverted", **changes):
    """Configure a small network that drops at every site."""
    rates = dict(zip(SITES, rates, strict=True))
    if kind == "dropconnect":
        rates["input"] = 0
    knobs = {f"dropout.{site}": rate for site, rate in rates.items()}
    knobs |= {"dropout.kind": kind, "dropout.scaling": scaling}
    return config(model=model, **knobs, **SMALL[model], **changes)


def built(c, seed, dtype=torch.float64):
    module = build(c, (1, 8, 8), 10)
    initialize(module, c["init"], seed)
    return module.to(dtype)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("kind", "scaling"),
    [*((kind, "inverted") for kind in KINDS[:-1]), ("bernoulli", "test"), ("dropconnect", "test")],
)
def test_in_a_fused_stack_every_run_equals_the_plain_module_whatever_its_mates_rates(
    model, kind, scaling
):
    rates = [(0.1, 0.2, 0.3, 0.1), (0, 0, 0, 0), (0.3, 0.0, 0.6, 0.2)]
    runs = [small(model, kind, r, scaling) for r in rates]
    seeds, step = [5, 6, 7], 11
    stack = Stack([built(c, s) for c, s in zip(runs, seeds, strict=True)], seeds, fused=True)
    x, y = images(3, 6, 1, 8, 8), torch.arange(18).view(3, 6) % 10
    losses, _, gradients = stack.gradients(x, {"y": y}, step, [True] * 3)
    logits = stack.predict(x[0])
    for r, (c, seed) in enumerate(zip(runs, seeds, strict=True)):
        plain = built(c, seed)
        for name, layer in plain.named_modules():
            if isinstance(layer, Dropout):
                layer.begin(rng.fold(rng.stream(seed, f"dropout/{name}"), step))
        loss = F.cross_entropy(plain(x[r]), y[r])
        loss.backward()
        torch.testing.assert_close(losses[r], loss.detach(), rtol=1e-9, atol=1e-9)
        for name, p in plain.named_parameters():
            torch.testing.assert_close(gradients[name][r], p.grad, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(logits[r], plain.eval()(x[0]).detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_in_a_fused_stack_of_single_precision_a_run_has_the_same_bits_beside_other_mates(kind):
    runs = [small("cnn", kind, [0.1 * i] * 4) for i in range(5)]
    x, y = images(5, 6, 1, 8, 8, dtype=torch.float32), torch.arange(30).view(5, 6) % 10

    def gradients(chosen):
        modules = [built(runs[i], i, torch.float32) for i in chosen]
        stack = Stack(modules, chosen, fused=True)
        found = stack.gradients(x[chosen], {"y": y[chosen]}, 3, [True] * len(chosen))[2]
        return [{name: g[r] for name, g in found.items()} for r in range(len(chosen))]

    whole = gradients([0, 1, 2, 3, 4])
    for chosen in ([3, 4], [4, 2, 0, 1, 3], [0, 1, 2]):
        for r, one in zip(chosen, gradients(chosen), strict=True):
            assert all(torch.equal(one[name], whole[r][name]) for name in one)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_network_can_be_batched_with_every_kind(model, kind):
    module = built(small(model, kind, [0.1] * 4), 0, torch.float32)
    assert unbatchable(module, torch.zeros(2, 1, 8, 8)) is None


def rates_by_site(module):
    found = module.named_modules()
    return {name: layer.p for name, layer in found if isinstance(layer, Dropout)}


def test_with_dropconnect_the_weights_in_front_of_a_site_are_dropped_and_nothing_after():
    assert rates_by_site(built(small("cnn", "dropconnect", (0, 0.1, 0.2, 0.3)), 0)) == {
        "conv.0.conv.dropout": 0.1,
        "conv.1.conv.dropout": 0.1,
        "dense.layers.0.linear.dropout": 0.2,
        "dense.output.dropout": 0.3,
    }
    assert rates_by_site(built(small("gru", "dropconnect", (0, 0, 0.2, 0.3)), 0)) == {
        "layers.0.hidden.dropout": 0.2,
        "layers.1.hidden.dropout": 0.2,
        "output.dropout": 0.3,
    }
    rates = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert rates_by_site(built(small("resnet", "dropconnect", (0, rates, 0, 0)), 0)) == {
        "units.0.conv.dropout": 0.1,
        "units.1.branch.first.conv.dropout": 0.2,
        "units.1.stochastic_depth": 0,
        "units.2.conv.dropout": 0.3,
        "units.3.conv.dropout": 0.4,
        "units.4.branch.first.conv.dropout": 0.5,
        "units.4.stochastic_depth": 0,
        "dense.layers.0.linear.dropout": 0,
        "dense.output.dropout": 0,
    }


@pytest.mark.parametrize("model", MODELS)
def test_parameters_keep_their_names_and_first_values_with_every_kind(model):
    plain = built(small(model, "bernoulli", [0] * 4), 3).state_dict()
    for kind in KINDS[:-1]:
        other = built(small(model, kind, [0.1] * 4), 3).state_dict()
        assert list(other) == list(plain)
        assert all(torch.equal(other[name], plain[name]) for name in plain)


def test_a_recurrent_layer_drops_the_same_weights_at_every_step():
    module = built(small("gru", "dropconnect", (0, 0, 0.5, 0)), 0)
    first, x = module.layers[0], images(8, 3, 8)
    first.hidden.dropout.begin(torch.tensor(9))
    dropped = first(x)
    weight = reference.dropout(first.hidden.weight.detach(), 0.5, 9)
    first.eval()
    with torch.no_grad():
        first.hidden.weight.copy_(weight)
    torch.testing.assert_close(dropped, first(x))


def test_spatial_dropout_of_a_sequence_drops_a_unit_at_all_steps():
    module = built(small("gru", "spatial", (0, 0, 0.5, 0)), 0)
    seen = []
    module.layers[1].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    module.dropouts[0].begin(torch.tensor(1))
    module(images(20, 1, 8, 8))
    zero_TBU = seen[0] == 0
    assert torch.equal(zero_TBU.all(0), zero_TBU.any(0))
    assert stats.binomtest(int(zero_TBU.all(0).sum()), 20 * 6).pvalue > 1e-3


class Own(nn.Module):
    def __init__(self, rate, scale):
        super().__init__()
        self.rate, self.scale = rate, scale

    def forward(self, x):
        return x * self.scale if self.training else x


@pytest.mark.parametrize(("model", "sites"), [("cnn", 5), ("mlp", 4), ("resnet", 8), ("gru", 4)])
def test_a_dropout_of_the_users_stands_wherever_a_rate_says_so_even_of_zero(model, sites):
    own = {"_target_": "tests.nets.test_dropout.Own", "scale": 2.0}
    c = small(model, "bernoulli", (0, 0.1, 0, 0.2))
    module = built(c | {"dropout": c["dropout"] | own}, 0)
    found = [layer for layer in module.modules() if isinstance(layer, Own)]
    assert len(found) == sites
    assert {layer.rate for layer in found} == (
        {0, 0.2, 0.1} if model in ("cnn", "resnet") else {0, 0.2}
    )
    assert all(layer.scale == 2 for layer in found)
    assert module(images(2, 1, 8, 8)).shape == (2, 10)


def test_torchs_dropout_in_the_users_place_is_replaced_by_ours():
    c = small("cnn", "bernoulli", (0, 0.1, 0, 0.2))
    module = built(c | {"dropout": c["dropout"] | {"_target_": "torch.nn.AlphaDropout"}}, 0)
    assert {layer.kind for layer in module.modules() if isinstance(layer, Dropout)} == {"alpha"}


# -- exchanging torch's dropout and ours -----------------------------------------------------------


class Nested(nn.Module):
    """Torch's dropouts at several depths; one of them used in two places."""

    def __init__(self):
        super().__init__()
        shared = nn.Dropout(0.1)
        self.first = nn.Sequential(nn.Linear(2, 2), shared, nn.ReLU(), shared)
        self.blocks = nn.ModuleList([nn.ModuleDict({"a": nn.Dropout2d(0.2)}), nn.Dropout3d(0.3)])
        self.last = nn.Dropout1d(0.4)
        self.alpha = nn.AlphaDropout(0.5)
        self.other = nn.FeatureAlphaDropout(0.5)
        self.missing = None


def dropouts(module, cls):
    named = module.named_modules(remove_duplicate=False)
    return {name: layer for name, layer in named if isinstance(layer, cls)}


def test_torchs_dropout_is_replaced_wherever_it_stands():
    found = dropouts(with_own_dropout(Nested()), (Dropout,))
    assert {
        name: (pytest.approx(float(layer.rate)), layer.kind) for name, layer in found.items()
    } == {
        "first.1": (0.1, "bernoulli"),
        "first.3": (0.1, "bernoulli"),
        "blocks.0.a": (0.2, "spatial"),
        "blocks.1": (0.3, "spatial"),
        "last": (0.4, "spatial"),
        "alpha": (0.5, "alpha"),
    }


def test_no_dropout_of_torchs_is_left_but_of_other_kinds():
    module = with_own_dropout(Nested())
    torchs = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
    assert all(isinstance(layer, Dropout) for layer in dropouts(module, torchs).values())
    assert type(module.other) is nn.FeatureAlphaDropout


def test_our_dropout_is_replaced_by_torchs_for_use_elsewhere():
    module = with_torch_dropout(with_own_dropout(Nested()))
    assert not dropouts(module, (Dropout,))
    assert type(module.first[1]) is nn.Dropout
    assert type(module.first[3]) is nn.Dropout
    assert type(module.blocks[0]["a"]) is nn.Dropout2d
    assert type(module.last) is nn.Dropout1d
    assert module.first[1].p == pytest.approx(0.1)
    assert type(module.alpha) is nn.AlphaDropout
    assert module.last.p == pytest.approx(0.4)


def test_what_torch_has_no_equal_of_stays_ours():
    for kind, scaling in (("gaussian", "inverted"), ("bernoulli", "test"), ("image", "inverted")):
        ours = Dropout(0.25, kind, scaling)
        assert with_torch_dropout(ours) is ours


@pytest.mark.parametrize("model", MODELS)
def test_a_network_predicts_the_same_with_torchs_dropout(model):
    for kind, scaling in (("dropconnect", "inverted"), ("alpha", "inverted"), ("spatial", "test")):
        module, x = built(small(model, kind, [0.2] * 4, scaling), 0).eval(), images(3, 1, 8, 8)
        expected = module(x)
        assert torch.equal(with_torch_dropout(module).eval()(x), expected)


def test_a_dropout_alone_is_replaced_too():
    assert isinstance(with_own_dropout(nn.Dropout(0.5)), Dropout)
    assert isinstance(with_torch_dropout(Dropout(0.5)), nn.Dropout)
