"""The central theorem: a stack of N equals N stacks of one."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from ablate import rng
from ablate.config.course import length_of
from ablate.data import load
from ablate.nets.build import build
from ablate.nets.dropout import Dropout
from ablate.nets.init import initialize
from ablate.optim import schedule
from ablate.train.batchable import unbatchable
from ablate.train.stack import Stack
from ablate.train.training import Training
from tests.configs import config

STEPS = 20
INITS = ("he_normal", "xavier_uniform", "orthogonal", "lecun_normal", "he_uniform")
BATCH_NORM = {
    "name": "batch",
    "position": "before",
    "affine": True,
    "eps": 1e-5,
    "momentum": 0.1,
    "eval": "running",
}

PLAIN_NORM = {"position": "before", "affine": True, "eps": 1e-5}
NORMS = {
    "batch": BATCH_NORM,
    "layer": {"name": "layer", **PLAIN_NORM},
    "instance": {"name": "instance", **PLAIN_NORM},
    "group": {"name": "group", **PLAIN_NORM, "groups": 2},
    "none": {"name": "none"},
}


def five(precision="fp32", **changes):
    """Five runs that differ in everything that may differ inside a stack."""
    return [
        config(
            **{
                "seed": 10 + i,
                "model.channels": [4, 6],
                "model.hidden": [10],
                "dropout.conv": 0.1 * i,
                "dropout.dense": [0.5 - 0.1 * i],
                "dropout.input": 0.05 * (i % 2),
                "norm": BATCH_NORM,
                "init": {"name": INITS[i], "gain": 1.0 + 0.1 * i, "bias": 0.01 * i},
                "optimizer": {
                    "name": "adamw",
                    "lr": 1e-3 * (i + 1),
                    "beta1": 0.9 - 0.1 * i,
                    "beta2": 0.999,
                    "eps": 1e-8,
                    "weight_decay": 0.01 * i,
                },
                "schedule": {"name": "cosine", "final": 0.0, "warmup_epochs": 0.2 * i},
                "data.train_size": 200,
                "batch_size": 16,
                "epochs": 3,
                "precision": precision,
                **changes,
            }
        )
        for i in range(5)
    ]


@pytest.fixture(scope="module")
def data():
    return {p: load(config(**{"data.train_size": 200, "precision": p})) for p in ("fp32", "fp64")}


def trained(configs, data, *, fused, steps=STEPS):
    """Train for some steps; return each run's tensors."""
    training = Training(configs, data, fused=fused)
    for _ in range(steps):
        training.advance()
    return [training.stack.slice(r) for r in range(len(configs))]


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def distance(one, other):
    return max((one[k].double() - other[k].double()).abs().max().item() for k in one)


def by_hand(config, data):
    """Train with a plain module, autograd and torch.optim, knowing only the streams' names."""
    module = build(config, data.shape, data.classes)
    initialize(module, config["init"], config["seed"])
    module.train()
    optimizer = config["optimizer"]
    adamw = torch.optim.AdamW(
        module.parameters(),
        lr=optimizer["lr"],
        betas=(optimizer["beta1"], optimizer["beta2"]),
        eps=optimizer["eps"],
        weight_decay=optimizer["weight_decay"],
    )
    count, batch = len(data.train), config["batch_size"]
    epoch_steps = count // batch
    length = length_of(config["epochs"], count, batch)
    rates = schedule.rates(config["schedule"], optimizer["lr"], length)
    order_key = rng.stream(config["seed"], "order")
    for step in range(STEPS):
        epoch, place = divmod(step, epoch_steps)
        order = rng.permutation(rng.fold(order_key, epoch), count)
        x, y = data.batch(order[place * batch : (place + 1) * batch])
        for name, layer in module.named_modules():
            if isinstance(layer, Dropout):
                layer.begin(rng.fold(rng.stream(config["seed"], f"dropout/{name}"), step))
        adamw.param_groups[0]["lr"] = rates[step].item()
        adamw.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        adamw.step()
    return dict(module.state_dict())


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_looped_stack_has_the_bits_of_plain_modules_with_torch_optim(data, width):
    configs = five()[:width]
    for run, state in zip(configs, trained(configs, data["fp32"], fused=False), strict=True):
        plain = by_hand(run, data["fp32"])
        assert same_bits(plain, {name: state[name] for name in plain})


def test_a_looped_run_has_the_same_bits_at_every_width_and_in_every_slot(data):
    configs = five()
    whole = trained(configs, data["fp32"], fused=False)
    for start, end in ((0, 1), (4, 5), (1, 3), (2, 5)):
        part = trained(configs[start:end], data["fp32"], fused=False)
        assert all(same_bits(a, b) for a, b in zip(part, whole[start:end], strict=True))


@pytest.mark.parametrize(
    ("activation", "kind"),
    [*(("relu", kind) for kind in NORMS), ("tanh", "batch"), ("tanh", "none")],
)
def test_a_fused_run_has_the_same_bits_at_every_width_from_two_and_under_permutation(
    data, activation, kind
):
    norm = NORMS[kind]
    configs = five(**{"model.activation": activation, "norm": norm})
    whole = trained(configs, data["fp32"], fused=True)
    for order in ((3, 4), (4, 2, 0, 1, 3), (0, 1, 2)):
        part = trained([configs[i] for i in order], data["fp32"], fused=True)
        assert all(same_bits(a, whole[i]) for a, i in zip(part, order, strict=True))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp64", 1e-9)])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_fused_and_looped_agree(data, precision, tolerance, norm):
    changes = {"norm": {"name": "none"}} if norm == "none" else {}
    configs = five(precision, **changes)
    fused = trained(configs, data[precision], fused=True)
    looped = trained(configs, data[precision], fused=False)
    assert max(map(distance, fused, looped)) < tolerance


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam"])
def test_every_optimizer_keeps_runs_apart(data, optimizer):
    extra = {"sgd": {}, "adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}}
    values = {"name": optimizer, **extra.get(optimizer, {"momentum": 0.9})}
    configs = [
        config | {"optimizer": {**values, "lr": 0.01 * (i + 1), "weight_decay": 0.01 * i}}
        for i, config in enumerate(five()[:3])
    ]
    whole = trained(configs, data["fp32"], fused=False)
    alone = [trained([c], data["fp32"], fused=False)[0] for c in configs]
    # Sound, but not a comparison of nothing: the runs themselves differ.
    assert distance(whole[0], whole[1]) > 1e-3
    assert all(same_bits(a, b) for a, b in zip(whole, alone, strict=True))


@pytest.mark.parametrize("fused", [False, True])
def test_a_diverged_run_leaves_its_mates_bit_identical(data, fused):
    configs = five()
    wild = config_with_lr(configs[2], 1e30)
    with_wild = [configs[0], configs[1], wild, configs[3], configs[4]]
    training = Training(with_wild, data["fp32"], fused=fused)
    while not training.done:
        training.advance()
    assert [c.diverged is not None for c in training.courses] == [False, False, True, False, False]
    calm = trained(configs, data["fp32"], fused=fused, steps=training.steps)
    for r in (0, 1, 3, 4):
        assert same_bits(training.stack.slice(r), calm[r])
    assert training.finish()[2] == {}


def config_with_lr(run, lr):
    return run | {"optimizer": run["optimizer"] | {"lr": lr}}


def test_training_ends_early_when_every_run_has_diverged(data):
    training = Training([config_with_lr(five()[0], 1e30)], data["fp32"], fused=False)
    while not training.done:
        training.advance()
    assert training.step < training.steps
    assert training.courses[0].diverged < training.epoch_steps


@pytest.mark.parametrize("fused", [False, True])
def test_a_training_that_goes_on_from_a_state_has_the_bits_of_an_undisturbed_one(data, fused):
    configs = [c | {"select": "best"} for c in five()[:2]]
    undisturbed = Training(configs, data["fp32"], fused=fused)
    states = {}
    while not undisturbed.done:
        undisturbed.advance()
        if undisturbed.step in (1, 12, 13, 30):  # an epoch has 12 steps
            states[undisturbed.step] = deepcopy([undisturbed.state(r) for r in range(2)])
    metrics = undisturbed.finish()
    assert len(states) == 4
    for stop, state in states.items():
        second = Training(configs, data["fp32"], fused=fused)
        second.restore(state)
        assert second.step == stop
        while not second.done:
            second.advance()
        assert [c.history for c in second.courses] == [c.history for c in undisturbed.courses]
        assert second.finish() == metrics
        assert all(same_bits(second.stack.slice(r), undisturbed.stack.slice(r)) for r in range(2))


def test_arms_that_share_a_seed_share_data_order_and_weights_where_shapes_agree(data):
    one, other = config(seed=3), config(**{"seed": 3, "model.hidden": [128, 64]})
    networks = [build(c, data["fp32"].shape, 10) for c in (one, other)]
    for network, c in zip(networks, (one, other), strict=True):
        initialize(network, c["init"], 3)
    weights = [dict(network.named_parameters()) for network in networks]
    shared = [
        k for k in weights[0] if k in weights[1] and weights[0][k].shape == weights[1][k].shape
    ]
    assert "conv.0.conv.weight" in shared
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in shared)


@pytest.mark.parametrize("source", ["init", "order", "dropout"])
def test_a_pinned_seed_fixes_its_source_and_no_other(data, source):
    def pinned(seed):
        run = five()[1]
        return run | {"seed": seed, "seeds": run["seeds"] | {source: 5}}

    networks = [Training([pinned(seed)], data["fp32"], fused=False) for seed in (1, 2)]
    start = [n.stack.slice(0)["conv.0.conv.weight"] for n in networks]
    for network in networks:
        network.batches.begin_epoch(0)
    orders = [n.batches._order_SRB for n in networks]
    keys = [n.stack._keys_at(0)["dense.layers.0.dropout.key"] for n in networks]
    same = {
        "init": torch.equal(*start),
        "order": torch.equal(*orders),
        "dropout": torch.equal(*keys),
    }
    assert same == {name: name == source for name in same}


def test_the_best_weights_are_those_of_the_best_validation_accuracy(data):
    run = five()[1] | {"select": "best", "epochs": 6}
    training = Training([config_with_lr(run, 0.05)], data["fp32"], fused=False)
    seen = []
    while not training.done:
        if training.advance():
            seen.append(training.stack.slice(0))
    scores = [(h["val/accuracy"], -h["val/loss"]) for h in training.courses[0].history]
    best = max(range(len(scores)), key=lambda epoch: scores[epoch])
    metrics = training.finish()[0]
    assert metrics["epochs_to_best"] == best + 1
    assert metrics["val/accuracy"] == scores[best][0]
    assert same_bits(training.stack.slice(0), seen[best])


# -- networks of the user's ------------------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, x):
        return self.layers(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(8, 16, batch_first=True)
        self.out = nn.Linear(16, 10)

    def forward(self, x):
        return self.out(self.cell(x.squeeze(1))[0][:, -1])


class Random(Plain):
    def forward(self, x):
        return nn.functional.dropout(self.layers(x), 0.5, self.training)


class Rebinding(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count = self.count + 1
        return self.layers(x) * (1 + 0.01 * self.count)


class Twice(nn.Module):
    """Calls one dropout after two layers of the same size."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 10)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.second(self.drop(self.drop(x.flatten(1) + 10)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64, bias=False)
        self.second = nn.Linear(64, 64, bias=False)
        self.second.weight = self.first.weight
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        return self.out(self.second(self.first(x.flatten(1)).relu()).relu())


def own(name, seed=0):
    return config(
        **{
            "seed": seed,
            "model": {"name": "custom", "_target_": f"tests.train.test_stack.{name}"},
            "init": {"name": "own"},
            "data.train_size": 200,
            "batch_size": 16,
            "epochs": 2,
        }
    )


@pytest.mark.parametrize(
    ("name", "batchable"),
    [("Plain", True), ("Tied", True), ("Recurrent", False), ("Random", False)],
)
def test_what_cannot_be_fused_is_found_by_trial(name, batchable):
    reason = unbatchable(globals()[name](), torch.zeros(2, 1, 8, 8))
    assert (reason is None) == batchable


@pytest.mark.parametrize("name", ["Plain", "Tied", "Recurrent", "Random", "Rebinding"])
@pytest.mark.filterwarnings("ignore:.*batching rule.*:UserWarning")
def test_a_network_of_the_users_does_not_depend_on_its_mates_or_the_global_generator(data, name):
    configs = [own(name, seed) for seed in range(3)]
    fused = name in ("Plain", "Tied")
    torch.manual_seed(1)
    whole = trained(configs, data["fp32"], fused=fused)
    torch.manual_seed(2)
    part = trained(configs[1:], data["fp32"], fused=fused)
    assert all(same_bits(a, b) for a, b in zip(part, whole[1:], strict=True))
    assert distance(whole[0], whole[1]) > 0


def test_a_buffer_that_a_module_binds_anew_is_kept_in_the_stack(data):
    state = trained([own("Rebinding")], data["fp32"], fused=False, steps=7)[0]
    assert state["count"].item() == 7


def test_tied_weights_stay_tied_and_stand_under_both_names(data):
    stack = Training([own("Tied")], data["fp32"], fused=False).stack
    weights = stack.state_dict(0)
    assert set(weights) == {"first.weight", "second.weight", "out.weight", "out.bias"}
    assert torch.equal(weights["first.weight"], weights["second.weight"])
    assert sum(p[0].numel() for p in stack.parameters.values()) == 64 * 64 + 650


def test_bf16_keeps_its_weights_in_float32_and_still_learns(data):
    run = config(**{"precision": "bf16", "data.train_size": 200, "batch_size": 16, "epochs": 6})
    training = Training([run], data["fp32"], fused=False)
    while not training.done:
        training.advance()
    assert {p.dtype for p in training.stack.parameters.values()} == {torch.float32}
    losses = [h["train/loss"] for h in training.courses[0].history]
    assert losses[-1] < losses[0] / 2


def test_a_full_batch_is_one_step_an_epoch(data):
    run = five()[0] | {"batch_size": len(data["fp32"].train)}
    training = Training([run], data["fp32"], fused=False)
    assert training.epoch_steps == 1
    assert training.advance()


def test_slices_of_a_looped_stack_are_aligned_as_if_alone():
    modules = [nn.Linear(3, 5) for _ in range(4)]
    stack = Stack(modules, [0] * 4, fused=False)
    for tensor in stack.parameters.values():
        assert all(slice_.data_ptr() % 64 == 0 for slice_ in tensor)


@pytest.mark.parametrize("fused", [False, True])
def test_a_dropout_that_is_called_twice_in_a_pass_draws_two_masks(data, fused):
    training = Training([own("Twice", seed) for seed in (0, 1)], data["fp32"], fused=fused)
    zeros = []
    module = training.stack.layers(0)
    module.second.register_forward_pre_hook(lambda _, x: zeros.append(x[0]))
    if fused:
        configs = [own("Twice", seed) for seed in (0, 1)]
        one, other = (trained(configs, data["fp32"], fused=f, steps=3) for f in (True, False))
        assert max(map(distance, one, other)) < 1e-5
        return
    training.advance()
    share = (zeros[0] == 0).double().mean().item()
    assert share == pytest.approx(0.75, abs=0.05), "0.5 dropped, then half of the rest"


@pytest.mark.long
def test_compiled_kernels_train_what_the_written_operations_train(data):
    def left(seed, compile_):
        run = five()[0] | {"stack": {"width": "auto", "capture": True, "compile": compile_}}
        runs = [run | {"seed": seed + i} for i in range(2)]
        training = Training(runs, data["fp32"], fused=True)
        while training.step < 8:
            training.advance()
        return training.stack.slice(1)

    for seed in (0, 5):  # the second stack meets the kernels of the first
        plain, fast = left(seed, False), left(seed, True)
        assert max(float((plain[k] - fast[k]).abs().max()) for k in plain) < 1e-5
    assert any(not torch.equal(plain[k], fast[k]) for k in plain)


def test_where_nothing_can_compile_the_operations_stay_as_they_are(data, monkeypatch):
    def none(function, **how):
        def fails(*inputs):
            raise torch._dynamo.exc.TorchDynamoException("no compiler\nfound")

        return fails

    monkeypatch.setattr(torch, "compile", none)
    monkeypatch.setattr("ablate.train.fused._KNOWN", {})
    run = five()[0] | {"stack": {"width": "auto", "capture": True, "compile": True}}
    training = Training([run, run | {"seed": 9}], data["fp32"], fused=True)
    with pytest.warns(UserWarning, match="stack.compile=true is left out: no compiler"):
        training.advance()
    training.advance()


def test_stacks_that_drop_in_other_layers_share_no_kernels(data, monkeypatch):
    """Rates are numbers, but whether a layer drops at all is not."""
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)
    monkeypatch.setattr("ablate.train.fused._KNOWN", {})

    def left(rates, compile_):
        run = five()[0] | {"stack": {"width": "auto", "capture": True, "compile": compile_}}
        run |= {"dropout": run["dropout"] | {"conv": rates}}
        training = Training([run, run | {"seed": 9}], data["fp32"], fused=True)
        while training.step < 4:
            training.advance()
        return training.stack.slice(0)

    for rates in ([0.5, 0.0], [0.0, 0.5], [0.0, 0.0]):
        plain, fast = left(rates, False), left(rates, True)
        assert all(torch.equal(plain[name], fast[name]) for name in plain)
