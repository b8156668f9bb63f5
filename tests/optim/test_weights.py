"""What counts as a weight, for penalties, max-norm and muon."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ablate.nets.build import build
from ablate.nets.weights import weights
from ablate.optim.muon import orthogonalized
from ablate.optim.optimizer import Optimizer
from ablate.train.proof import acting
from tests.configs import config


class TrackNorm(nn.Module):
    """A user's norm whose parameters have more than one axis."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 4, 4))


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.layer = nn.LayerNorm([3, 6, 6])
        self.own = TrackNorm()
        self.rms = nn.RMSNorm([6, 6])
        self.table = nn.Parameter(torch.ones(2, 3))
        self.bias_map = nn.Parameter(torch.ones(3, 6, 6))
        self.cell = nn.LSTM(6, 5)
        self.gru = nn.GRUCell(5, 4)


def test_norms_biases_and_vectors_are_no_weights():
    assert weights(Mixed()) == {
        "table": 1,
        "conv.weight": 1,
        "cell.weight_ih_l0": 4,
        "cell.weight_hh_l0": 4,
        "gru.weight_ih": 3,
        "gru.weight_hh": 3,
    }


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
def test_shipped_networks_have_their_matrices_and_kernels(norm):
    network = build(config(model="cnn", norm=norm), (1, 8, 8), 10)
    matrices = {name for name, p in network.named_parameters() if p.dim() > 1}
    assert set(weights(network)) == matrices
    assert weights(build(config(model="gru"), (1, 8, 8), 10))["layers.0.hidden.weight"] == 3


def test_the_record_says_how_many_numbers_each_penalty_touches():
    changes = {"regularize.l1": 0.1, "regularize.max_norm": 1.0, "optimizer.weight_decay": 0.1}
    c = config(model="mlp", **{"model.hidden": [8], **changes}, optimizer="adamw")
    found = acting(c, build(c, (1, 8, 8), 10))
    of_weights = 64 * 8 + 8 * 10
    assert found["parameters"] == {
        "l1": of_weights,
        "max_norm": of_weights,
        "weight_decay": of_weights + 8 + 10,  # as torch's AdamW: biases too
    }
    assert "parameters" not in acting(config(), build(config(), (1, 8, 8), 10))


def test_muon_steps_along_each_gate_by_itself():
    draw = torch.Generator().manual_seed(0)
    gradient = torch.randn(1, 12, 5, generator=draw)
    kind = config(optimizer="muon")["optimizer"] | {"momentum": 0.0, "weight_decay": 0.0}
    parameters = {"w": torch.zeros(1, 12, 5)}
    muon = Optimizer([kind], parameters, {"w": 3})
    muon.step({"w": gradient}, torch.tensor([1.0], dtype=torch.float64), 1)
    gates = [orthogonalized(gate, kind["ns_steps"]) for gate in gradient.chunk(3, 1)]
    expected = -0.2 * 5**0.5 * torch.cat(gates, 1)
    torch.testing.assert_close(parameters["w"], expected)


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_muon_trains_gates_and_single_matrices_in_one_network(model):
    run = config(model=model, optimizer="muon")
    run["model"]["hidden"] = [3]
    network = build(run, (1, 8, 8), 10)
    parameters = {name: p.detach()[None].clone() for name, p in network.named_parameters()}
    before = {name: p.clone() for name, p in parameters.items()}
    optimizer = Optimizer([run["optimizer"]], parameters, weights(network))
    optimizer.step({k: torch.ones_like(p) for k, p in parameters.items()}, torch.ones(1), 1)
    assert all(not torch.equal(p, before[name]) for name, p in parameters.items())
