"""Gradients of convolutions against float64, by shape, layout, threads and instruction set."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from ablate.nets.convolution import Conv2d
from tests.configs import config
from tests.techniques import SIZES, begun

_SHAPES = [
    (kernel, stride, inputs, outputs, groups, layout, dtype, side)
    for kernel, stride, inputs, outputs, grouped, layout, dtype, side in itertools.product(
        (1, 3, 5), (1, 2, 3), (1, 3, 4, 6, 8, 16), (4, 8, 17), (False, True),
        ("channels first", "channels last"), ("float32", "bfloat16"), ((8, 8), (7, 9)),
    )
    for groups in [inputs if grouped else 1]
    if outputs % groups == 0 and not (grouped and inputs == 1)
]  # fmt: skip
_WITHIN = {"float32": 1e-5, "bfloat16": 0.1}  # of the largest number


def deviation(kernel, stride, inputs, outputs, groups, layout, dtype, side, *, plain=False):
    """Compare output and gradients with float64; relative to the largest number of each."""
    torch.manual_seed(0)
    layer = Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    x = torch.randn(5, inputs, *side)
    exact = results(x.double(), layer.weight.double(), layer, plain=True)
    x, weight = x.to(getattr(torch, dtype)), layer.weight.to(getattr(torch, dtype))
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    found = results(x, weight, layer, plain=plain)
    return max(
        float(((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-3)).nan_to_num(torch.inf))
        for a, b in zip(found, exact, strict=True)
    )


def results(x, weight, layer, *, plain):
    x, weight = (t.detach().requires_grad_() for t in (x, weight))
    if plain:
        y = F.conv2d(x, weight, None, layer.stride, layer.padding, 1, layer.groups)
    else:
        y = layer._conv_forward(x, weight, None)
    slopes = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape).to(y.dtype)
    return y.detach(), *torch.autograd.grad((y * slopes).sum(), [x, weight])


def sweep(threads):
    """Print the cases that deviate too far, and the largest deviation of the others."""
    torch.set_num_threads(threads)
    worst, bad = dict.fromkeys(_WITHIN, 0.0), []
    for shape in _SHAPES:
        off, dtype = deviation(*shape), shape[6]
        if off > _WITHIN[dtype]:
            bad.append([*shape, off])
        else:
            worst[dtype] = max(worst[dtype], off)
    print(json.dumps({"cases": len(_SHAPES), "bad": bad, "worst": worst}))


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("instructions", ["DEFAULT", "AVX2"])
def test_no_gradient_of_our_convolutions_is_wrong(instructions, threads):
    """In a separate process: oneDNN reads its limit once, and a wrong kernel may crash it."""
    done = subprocess.run(
        [sys.executable, "-c", f"from tests.nets.test_convolution import sweep; sweep({threads})"],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cases"] > 1000
    assert found["bad"] == []


@pytest.mark.parametrize("padding", [0, 1, (1, 2)])
@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_strided_kernel_of_one_pixel_gives_what_torchs_gives(stride, padding, groups):
    layer = Conv2d(4, 6, 1, stride, padding, groups=groups).double()
    x = torch.randn(2, 4, 7, 8, dtype=torch.float64)
    whole = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, 1, groups)
    torch.testing.assert_close(layer(x), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "resnet", "model.depth": 8, "model.width": 4},
        {"model": "cnn", "model.kernel_size": 1, "model.stride": 2, "model.channels": [4, 8]},
    ],
)
def test_no_strided_kernel_of_one_pixel_is_left_to_torch(changes, monkeypatch):
    seen = []
    plain = F.conv2d

    def spied(x, weight, bias=None, stride=1, *rest, **named):
        seen.append((tuple(weight.shape[2:]), stride))
        return plain(x, weight, bias, stride, *rest, **named)

    monkeypatch.setattr(F, "conv2d", spied)
    begun([config(**SIZES, norm="none", **changes)], fused=False).advance()
    assert seen
    assert all(kernel != (1, 1) or stride in (1, (1, 1)) for kernel, stride in seen)
