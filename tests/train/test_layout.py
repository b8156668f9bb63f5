"""A user's network whose gradient needs images in plain order gets them so, on a CPU."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ablate.data import load
from ablate.errors import AblateError
from ablate.plan import own_code
from ablate.train.building import build_stack
from ablate.train.layout import SafeGradients, needs_plain_images, plain
from tests.configs import config

LAST = torch.channels_last


class Strided(nn.Module):
    """A shortcut such as a residual network's, of 4 channels."""

    def __init__(self, num_classes=10, stride=2):
        super().__init__()
        self.seen = []
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.shortcut = nn.Conv2d(4, 8, 1, stride)
        self.last = nn.Linear(8 * (8 // stride) ** 2, num_classes)

    def between(self, x):
        return x

    def forward(self, x):
        self.seen.append(x.stride())
        x = self.between(F.relu(self.first(x)))
        return self.last(F.relu(self.shortcut(x)).flatten(1))


class LastByItself(Strided):
    def between(self, x):
        return x.contiguous(memory_format=LAST)


class LastTo(Strided):
    def between(self, x):
        return x.to(memory_format=LAST)


class LastInMemory(Strided):
    """Has weights channels last, so its activations become so, too."""

    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.to(memory_format=LAST)


class Viewed(Strided):
    """Flattens with `view`, as torch's tutorials do."""

    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.last = nn.Linear(4 * 64, num_classes)
        del self.shortcut

    def forward(self, x):
        self.seen.append(x.stride())
        x = self.first(x)
        return self.last(x.view(x.size(0), -1))


def own(cls, **arguments):
    model = {"name": "custom", "_target_": f"tests.train.test_layout.{cls.__name__}", **arguments}
    return config(model=model, init="own", **{"data.train_size": 40, "batch_size": 20})


def told(cls, **arguments):
    return own_code.try_out(own(cls, **arguments), (1, 8, 8), 10).plain


@pytest.mark.parametrize("cls", [Strided, LastInMemory])
def test_a_plan_tells_of_a_strided_kernel_of_one_pixel(cls):
    assert told(cls) == (
        "the gradient of a 1 × 1 convolution with 4 input channels and stride 2 × 2 would be wrong"
        " with channels last"
    )


def test_a_network_that_takes_images_in_any_order_gets_them_as_they_lie():
    assert told(Strided, stride=1) is None


def test_a_network_that_flattens_by_view_gets_plain_images():
    assert "view size is not compatible" in told(Viewed)


@pytest.mark.parametrize("cls", [LastByItself, LastTo])
def test_a_network_that_orders_images_by_itself_is_refused_if_its_gradient_is_wrong_then(cls):
    with pytest.raises(AblateError, match=r"LastBy|LastTo.*with 4 input .* wrong on a CPU") as told:
        own_code.try_out(own(cls), (1, 8, 8), 10)
    assert "leave that out (memory_format=torch.channels_last)" in str(told.value)


@pytest.mark.parametrize(("width", "fused"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("cls", [Strided, LastInMemory, Viewed])
def test_a_stack_gives_plain_images_and_finds_the_gradients_of_float64(cls, width, fused):
    configs = [own(cls) | {"seed": seed} for seed in range(width)]
    data = load(configs[0])
    stack, _ = build_stack(configs, data, fused=fused)
    assert stack.fused == fused
    x, y = data.batch(torch.arange(20).expand(width, 20))
    assert x.stride()[2] == 1  # channels last
    _, _, found = stack.gradients(x, {"y": y}, 0, [True] * width)
    for r in range(width):
        exact = cls().double()
        exact.load_state_dict(stack.state_dict(r))
        F.cross_entropy(exact(plain(x[r]).double()), y[r]).backward()
        for name, p in exact.named_parameters():
            torch.testing.assert_close(found[name][r].double(), p.grad, rtol=1e-4, atol=1e-6)
    assert fused or stack.layers(0).seen[-1] == (64, 64, 8, 1)


def test_the_network_that_is_trained_has_not_been_applied_for_the_trial():
    one = [own(Strided, stride=1)]
    stack, _ = build_stack(one, load(one[0]), fused=False)
    assert len(stack.layers(0).seen) == 1  # under vmap


def test_what_onednn_does_not_compute_is_left_as_it_is():
    assert needs_plain_images(Strided().double(), torch.zeros(2, 1, 8, 8).double()) is None


# -- which calls are wrong -------------------------------------------------------------------------


CALLS = [
    (kernel, stride, padding, groups, inputs, transposed, order)
    for kernel, stride, padding, groups, inputs, transposed, order in itertools.product(
        (1, 3), (1, 2, (2, 1)), (0, 1), (1, 2), (1, 2, 3, 4, 6, 8, 12), (False, True),
        ("images last", "weights last", "plain"),
    )
    if inputs % groups == 0
]  # fmt: skip


def unforeseen():
    """Print the calls with wrong gradients that are not among the known ones; run the others."""
    torch.set_num_threads(1)
    bad, left_out = [], 0
    for kernel, stride, padding, groups, inputs, transposed, order in CALLS:
        torch.manual_seed(0)
        convolve = F.conv_transpose2d if transposed else F.conv2d
        shape = (inputs, 8 // groups) if transposed else (8, inputs // groups)
        x, weight = torch.randn(5, inputs, 8, 8), torch.randn(*shape, kernel, kernel)

        def gradients(*tensors, convolve=convolve, how=(None, stride, padding), groups=groups):
            tensors = [t.detach().requires_grad_() for t in tensors]
            return torch.autograd.grad(
                convolve(*tensors, *how, groups=groups).square().sum(), tensors
            )

        exact = gradients(x.double(), weight.double())
        x = x.movedim(1, -1).contiguous().movedim(-1, 1) if order == "images last" else x
        weight = weight.contiguous(memory_format=LAST) if order == "weights last" else weight
        with SafeGradients() as safe:
            found = gradients(x, weight)
        left_out += len(safe.wrong)
        off = max(
            float((a.double() - b).abs().max() / b.abs().max())
            for a, b in zip(found, exact, strict=True)
        )
        if not safe.wrong and not off < 1e-5:
            bad.append([kernel, stride, padding, groups, inputs, transposed, order, off])
    print(json.dumps({"bad": bad, "left out": left_out}))


@pytest.mark.long
def test_no_other_gradient_of_a_convolution_is_wrong():
    """In a separate process: oneDNN reads its limit once, and a wrong kernel may crash it."""
    done = subprocess.run(
        [sys.executable, "-c", "from tests.train.test_layout import unforeseen; unforeseen()"],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bad"] == []
    assert 0 < found["left out"] < 40
