"""Users' own code is tried before anything starts, on the device where it would train.

The meta device stands in for a GPU: it is as strict about where tensors are.
"""

import pytest
import torch
from torch import nn

from ablate import environment
from ablate.errors import AblateError
from ablate.plan import own_code
from tests.configs import config


def eye_on_the_cpu(parameters):
    weights = [p.flatten(1) for p in parameters.values() if p.dim() > 1]
    return sum((w @ w.T - torch.eye(len(w))).square().sum() for w in weights)


def eye_beside_the_weights(parameters):
    weights = [p.flatten(1) for p in parameters.values() if p.dim() > 1]
    return sum((w @ w.T - torch.eye(len(w), device=w.device)).square().sum() for w in weights)


def noise_on_the_cpu(x_BCHW):
    return x_BCHW + torch.randn(x_BCHW.shape)


def noise_beside_the_images(x_BCHW):
    return x_BCHW + torch.randn_like(x_BCHW)


def drawn_on_the_cpu(x_BCHW):
    return torch.randn(x_BCHW.shape)


class Attribute(nn.Module):
    def __init__(self, width=None):
        super().__init__()
        self.shift = torch.full((1,), 0.1)

    def forward(self, x):
        return x + self.shift


class Buffer(nn.Module):
    def __init__(self, width=None):
        super().__init__()
        self.register_buffer("shift", torch.full((1,), 0.1))

    def forward(self, x):
        return x + self.shift


class MaskOnTheCpu(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return torch.where(torch.rand(x.shape) < self.rate, 0, x) if self.training else x


class Net(nn.Module):
    def __init__(self, num_classes, on_the_cpu):
        super().__init__()
        self.linear, self.on_the_cpu = nn.Linear(64, num_classes), on_the_cpu

    def forward(self, x):
        positions = torch.arange(64.0, device="cpu" if self.on_the_cpu else x.device)
        return self.linear(x.flatten(1) + positions)


class LogitsOnTheCpu(Net):
    def forward(self, x):
        return 1 * torch.zeros(len(x), 10, requires_grad=True)


class Float32(nn.Module):
    def forward(self, x):
        return x @ torch.eye(x.shape[-1])


def own(part, **values):
    return {"_target_": f"tests.plan.test_own_code.{part}", **values}


def tried(device, monkeypatch, parts):
    monkeypatch.setattr(environment, "resolved_device", lambda asked: device)
    own_code.try_out(config(**parts), (1, 8, 8), 10)


NET = {"model": own("Net", name="custom", on_the_cpu=True), "init": "own"}
WRONG = {
    "regularize._target_=tests.plan.test_own_code.eye_on_the_cpu does not take the parameters": {
        "regularize._target_": "tests.plan.test_own_code.eye_on_the_cpu"
    },
    "augment._target_=tests.plan.test_own_code.noise_on_the_cpu does not take images": {
        "augment._target_": "tests.plan.test_own_code.noise_on_the_cpu"
    },
    "augment._target_=tests.plan.test_own_code.drawn_on_the_cpu gives images on cpu": {
        "augment._target_": "tests.plan.test_own_code.drawn_on_the_cpu"
    },
    "model.activation._target_=tests.plan.test_own_code.Attribute does not take images": {
        "model.activation": own("Attribute")
    },
    "norm._target_=tests.plan.test_own_code.Attribute does not take images": {
        "norm": own("Attribute", name="custom", position="before")
    },
    "dropout._target_=tests.plan.test_own_code.MaskOnTheCpu does not take images": {
        "dropout._target_": "tests.plan.test_own_code.MaskOnTheCpu",
        "dropout.dense": 0.5,
    },
    "model._target_=tests.plan.test_own_code.Net does not take images": NET,
    "model._target_=tests.plan.test_own_code.LogitsOnTheCpu gives logits on cpu": NET
    | {"model": own("LogitsOnTheCpu", name="custom", on_the_cpu=True)},
}
RIGHT = {
    "a penalty": {"regularize._target_": "tests.plan.test_own_code.eye_beside_the_weights"},
    "an augmentation": {"augment._target_": "tests.plan.test_own_code.noise_beside_the_images"},
    "an activation": {"model.activation": own("Buffer")},
    "a norm": {"norm": own("Buffer", name="custom", position="before")},
    "a network": NET | {"model": own("Net", name="custom", on_the_cpu=False)},
}


@pytest.mark.parametrize("told", WRONG)
def test_a_part_that_creates_a_tensor_on_the_cpu_is_refused_on_other_devices(told, monkeypatch):
    tried("cpu", monkeypatch, WRONG[told])
    with pytest.raises(AblateError) as caught:
        tried("meta", monkeypatch, WRONG[told])
    (fault,) = caught.value.faults
    assert fault.startswith(told)
    assert "(on meta); on the CPU it works" in fault
    assert "device=x.device" in fault
    assert caught.value.status == 2


@pytest.mark.parametrize("part", RIGHT)
@pytest.mark.parametrize("precision", ["fp32", "fp64"])  # there is no autocast on meta
def test_a_part_that_creates_its_tensors_with_its_input_works_on_every_device(
    part, precision, monkeypatch
):
    for device in ("cpu", "meta"):
        tried(device, monkeypatch, RIGHT[part] | {"precision": precision})


def test_a_device_that_is_out_of_memory_refuses_nothing(monkeypatch):
    real = own_code._logits

    def logits(config, network, x_BCHW):
        if x_BCHW.device.type == "cpu":
            return real(config, network, x_BCHW)
        raise AblateError("does not take images") from torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(own_code, "_logits", logits)
    tried(
        "meta",
        monkeypatch,
        WRONG["model._target_=tests.plan.test_own_code.Net does not take images"],
    )


def test_a_part_is_tried_in_the_precision_of_training(monkeypatch):
    parts = {"model.activation": own("Float32")}
    tried("cpu", monkeypatch, parts)
    with pytest.raises(AblateError, match=r"Float32 does not take images of shape \[1, 8, 8\]"):
        tried("cpu", monkeypatch, parts | {"precision": "fp64"})


def put(parameters):
    values = [p.flatten() for p in parameters.values()]
    places = [torch.arange(len(v), device=v.device) for v in values]
    return sum(
        torch.zeros_like(v).put_(place, v.square()).sum()
        for place, v in zip(places, values, strict=True)
    )


def test_a_part_without_a_deterministic_algorithm_is_refused_if_deterministic(
    monkeypatch,
):
    parts = {"regularize._target_": "tests.plan.test_own_code.put"}
    tried("cpu", monkeypatch, parts)
    with pytest.raises(AblateError) as caught:
        tried("cpu", monkeypatch, parts | {"deterministic": True})
    (fault,) = caught.value.faults
    assert fault.startswith("regularize._target_=tests.plan.test_own_code.put does not take")
    assert fault.endswith(
        "RuntimeError: put_ does not have a deterministic implementation (on cpu);"
        " deterministic=true refuses it: use another operation, or deterministic=false"
    )
    assert not torch.are_deterministic_algorithms_enabled()
