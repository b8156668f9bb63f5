"""Our rules for operations under vmap, on a CPU, against torch's own rules there."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from ablate.train import fused
from ablate.train.vmap_rules import vmap_rules
from tests.techniques import TECHNIQUES, begun, distance, ended, runs

CUDA = torch.device("cuda")  # whose rules are tried, on tensors of the CPU
RUNS, IMAGES = 3, 4


def stacked(module):
    """Stack a network's tensors over runs that differ, in float64."""
    draw = torch.Generator().manual_seed(0)
    held = dict(module.named_parameters()) | dict(module.named_buffers())
    return {
        name: t.detach().expand(RUNS, *t.shape)
        + (torch.rand(RUNS, *t.shape, generator=draw).double() if t.is_floating_point() else 0)
        for name, t in held.items()
    }


def applied(module, x, rules, *, apart=True):
    """Apply a network to all runs; return its output, gradients and buffers."""
    state = stacked(module)
    trained = {k: state[k].requires_grad_() for k, _ in module.named_parameters()}

    def one(s, x):
        with rules:
            return functional_call(module, s, (x,))

    y = vmap(one, in_dims=(0, 0 if apart else None))(state, x)
    found = torch.autograd.grad((y**2).sum(), list(trained.values()))
    return [y, *found, *(state[k] for k, _ in module.named_buffers())]


def network(*layers):
    return nn.Sequential(*layers).double()


def images(*shape, last=True):
    x = torch.rand(RUNS, IMAGES, *shape, generator=torch.Generator().manual_seed(1)).double()
    return x.movedim(2, -1).contiguous().movedim(-1, 2) if last and len(shape) == 3 else x


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.Tanh(), nn.MaxPool2d(2)], (2, 7, 8)),
        ([nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), nn.Tanh()], (2, 7, 8)),
        ([nn.Conv2d(2, 3, 1), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)], (2, 6, 6)),
        ([nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, affine=False)], (2, 4, 4)),
        ([nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)], (2, 4, 4)),
        ([nn.Linear(6, 5), nn.BatchNorm1d(5)], (6,)),
        ([nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)], (2, 6)),
    ],
)
def test_they_give_what_torchs_own_give(layers, shape, training, last):
    module = network(*layers).train(training)
    x = images(*shape, last=last)
    ours, torchs = (
        applied(module, x, vmap_rules(device, None)) for device in (CUDA, torch.device("cpu"))
    )
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_so_they_do_for_images_that_all_runs_share():
    module = network(nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Conv2d(2, 3, 2), nn.AvgPool2d(2))
    x = images(2, 8, 8)[0]
    ours, torchs = (
        applied(module, x, vmap_rules(device, None), apart=False)
        for device in (CUDA, torch.device("cpu"))
    )
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_pooling_that_is_asked_for_its_indices_gives_them():
    pool = nn.MaxPool2d(2, return_indices=True)
    x = images(2, 4, 4)

    def both(x):
        with vmap_rules(CUDA, None):
            return pool(x)

    for found, alone in zip(vmap(both)(x), pool(x.flatten(0, 1)), strict=True):
        assert torch.equal(found.flatten(0, 1), alone)


def test_a_batch_of_single_values_is_refused_as_torch_refuses_it():
    module = network(nn.BatchNorm1d(6))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        applied(module, torch.rand(RUNS, 1, 6).double(), vmap_rules(CUDA, None))


def test_pooling_copies_nothing_of_what_a_convolution_leaves():
    """[R, B, C, H, W] in the order of a vmapped convolution, B before R, stays in this order."""
    x_BRCHW = images(2, 4, 4, last=False).movedim(0, 1).contiguous()

    def pooled(x):
        with vmap_rules(CUDA, None):
            return nn.functional.max_pool2d(x, 2)

    y = vmap(pooled)(x_BRCHW.movedim(1, 0))
    assert y.movedim(0, 1).is_contiguous()


def test_under_autocast_activations_are_as_narrow_as_those_of_a_single_run():
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5))
    seen = []
    for layer in module:
        layer.register_forward_hook(lambda _, __, y: seen.append(y.dtype))
    stack = fused.Fused(module, torch.device("cpu"), torch.bfloat16)
    state = {k: torch.stack([p.detach()] * 2) for k, p in module.named_parameters()}
    x = torch.rand(2, 3, 1, 4, 4)
    logits = stack.logits(state, {}, x, apart=True)
    assert set(seen) == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module(x[0]), logits[0], rtol=2**-6, atol=2**-9)


def test_a_bias_is_narrowed_under_whatever_names_the_arguments_are_given():
    x, weight, bias = (torch.rand(RUNS, *shape) for shape in ((4, 3), (2, 3), (2,)))

    def linear(x, weight, bias):
        with torch.autocast("cpu", torch.bfloat16), vmap_rules(CUDA, torch.bfloat16):
            return nn.functional.linear(input=x, weight=weight, bias=bias)

    assert vmap(linear)(x, weight, bias).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "name",
    [
        "network: cnn",
        "network: lenet5",
        pytest.param("network: resnet of depth 9", marks=pytest.mark.slow),
        "norm: batch evaluated by running",
        "norm: batch evaluated by batch",
        "regularize: swa with batch norm",
    ],
)
def test_whole_trainings_agree_whichever_rules_serve(name, monkeypatch):
    assert name in TECHNIQUES
    torchs = ended(begun(runs(name, "fp64"), fused=True))
    monkeypatch.setattr(fused, "vmap_rules", lambda _, autocast: vmap_rules(CUDA, autocast))
    ours = ended(begun(runs(name, "fp64"), fused=True))
    assert max(map(distance, ours, torchs)) < 1e-9


@pytest.mark.long
def test_torch_compile_writes_kernels_for_them():
    module = network(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.AvgPool2d(2))
    state, x = stacked(module), images(1, 10, 10)

    def one(s, x):
        with vmap_rules(CUDA, None):
            return functional_call(module, s, (x,))

    written = vmap(one)(dict(state), x)
    fast = torch.compile(vmap(one), fullgraph=True)(stacked(module), x)
    torch.testing.assert_close(fast, written, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fused_", [True, False])
def test_a_finished_training_leaves_no_circle_that_would_keep_its_memory(fused_):
    """A stack takes gigabytes on a device, and Python collects cycles only now and then."""
    training = begun(runs("regularize: everything"), fused=fused_)
    training.advance()
    left = weakref.ref(training.stack)
    gc.collect()
    gc.disable()
    try:
        del training
        assert left() is None
    finally:
        gc.enable()
