"""Signal statistics: against closed forms, without affecting training, and as users call them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.special import erfc
from torch import nn

import ablate
from ablate import record
from ablate.commands.asking import Words
from ablate.commands.inspect import pictures, request
from ablate.commands.inspect.look import look as look_at
from ablate.commands.inspect.page import frames, show
from ablate.data import load
from ablate.errors import AblateError
from ablate.measure.layers import layers_of
from ablate.measure.observe import fixed_batch, observe, of_training
from ablate.measure.signals import BINS, flat, look, norm, signals
from ablate.nets import shapes
from ablate.nets.build import build
from ablate.nets.init import initialize
from ablate.train.training import Training
from tests.calls import called
from tests.configs import config
from tests.files import listing

TINY = ["model=mlp", "model.hidden=[8]", "data.train_size=96", "batch_size=32", "epochs=2"]


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def gaussian(count, units, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, units, generator=generator, dtype=torch.float64)


def network(*layers, init="he_normal", **values):
    made = nn.Sequential(*layers).double()
    initialize(made, {"name": init, "bias": 0.0, **values}, seed=0)
    return made


def looked(words, arms=()):
    """Inspect runs without drawing pictures."""
    return frames(look_at(request.checked(Words(words, arms))))


def trained(*, fused=False, **changes):
    """Make a training of one run, or of one run per element if a value is a tuple."""
    width = max((len(v) for v in changes.values() if isinstance(v, tuple)), default=1)
    configs = [
        config(**{k: v[i] if isinstance(v, tuple) else v for k, v in changes.items()})
        for i in range(width)
    ]
    for one in configs:
        one["data"] |= {"train_size": 96}
        one |= {"batch_size": 32, "epochs": 2}
    return Training(configs, load(configs[0]), fused=fused)


# -- closed forms ----------------------------------------------------------------------------------

INPUTS, UNITS = 200, 300
# The variance of a unit's output for standard normal inputs is n_in times that of a weight.
VARIANCES = {
    "he_normal": 2.0,
    "he_uniform": 2.0,
    "xavier_normal": 2 * INPUTS / (INPUTS + UNITS),
    "xavier_uniform": 2 * INPUTS / (INPUTS + UNITS),
    "lecun_normal": 1.0,
    "lecun_uniform": 1.0,
    "normal": 0.05**2 * INPUTS,
    "uniform": 0.05**2 * INPUTS,
    "orthogonal": INPUTS / UNITS,  # more units than inputs: columns are orthonormal
    "zeros": 0.0,
}


@pytest.mark.parametrize("init", VARIANCES)
def test_the_variance_of_a_layers_output_follows_from_its_init(init):
    made = network(nn.Linear(INPUTS, UNITS), init=init, std=0.05)
    (row,) = look(made, gaussian(4000, INPUTS)).layers
    assert row["sd"] ** 2 == pytest.approx(VARIANCES[init], rel=0.03)
    assert row["mean"] == pytest.approx(0, abs=0.01)
    assert row["shape"] == (UNITS,)


@given(st.sampled_from(["he_normal", "xavier_normal", "lecun_uniform"]), st.floats(0.2, 5))
def test_a_gain_scales_the_deviation_of_a_layers_output(init, gain):
    x = gaussian(50, 20)
    plain, scaled = (look(network(nn.Linear(20, 30), init=init, gain=g), x) for g in (1, gain))
    assert scaled.layers[0]["sd"] == pytest.approx(gain * plain.layers[0]["sd"], rel=1e-9)


def deep(activation, init, layers=8, **values):
    steps = [part for _ in range(layers) for part in (nn.Linear(600, 600), activation())]
    return look(network(*steps, init=init, **values), gaussian(300, 600), None).layers


def test_he_weights_keep_the_variance_before_each_relu_at_two():
    # He et al. 2015, section 2.2: Var y = n_in Var w E[x²], and E[x²] = Var y / 2 after a relu.
    for row in deep(nn.ReLU, "he_normal"):
        if row["kind"] == "linear":
            assert row["sd"] ** 2 == pytest.approx(2, rel=0.15)
        else:
            assert row["mean"] == pytest.approx(math.sqrt(2 / (2 * math.pi)), rel=0.1)
            assert row["zeros"] == pytest.approx(0.5, abs=0.03)


def test_xavier_weights_halve_the_variance_at_each_relu():
    rows = [row for row in deep(nn.ReLU, "xavier_normal") if row["kind"] == "linear"]
    for depth, row in enumerate(rows):
        assert row["sd"] ** 2 == pytest.approx(0.5**depth, rel=0.15)


def test_xavier_weights_keep_the_scale_of_a_linear_chain_and_its_gradients():
    steps = [nn.Linear(400, 400) for _ in range(6)]
    made = network(*steps, nn.Linear(400, 400), init="xavier_normal")
    x, labels = gaussian(200, 400), torch.arange(200)
    found = look(made, x, labels)
    assert all(row["sd"] == pytest.approx(1, rel=0.1) for row in found.layers)
    norms = [row["grad_norm"] for row in found.weights if row["matrix"]]
    assert max(norms) / min(norms) < 1.3  # Glorot & Bengio 2010, equation 12


@pytest.mark.parametrize(("activation", "factor"), [(nn.Tanh, 1), (nn.Sigmoid, 2)])
@pytest.mark.parametrize("units", [25, 100, 400])
def test_the_saturated_share_with_unit_weights_is_a_normal_tail(activation, factor, units):
    made = network(nn.Linear(units, 200), activation(), init="normal", std=1.0)
    row = look(made, gaussian(3000, units)).layers[1]
    # z is N(0, units); |tanh z| > 0.97, and |2σ(z) - 1| = |tanh(z/2)| > 0.97.
    expected = erfc(factor * math.atanh(0.97) / math.sqrt(2 * units))
    assert row["saturated"] == pytest.approx(expected, abs=0.01)


def test_zero_weights_have_gradients_of_exactly_zero_below_the_last_layer():
    layers = (nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 10))
    found = look(network(*layers, init="zeros"), gaussian(64, 20), torch.arange(64) % 9)
    norms = {row["parameter"]: row["grad_norm"] for row in found.weights}
    # Every gradient but that of the last bias is multiplied by zeros.
    assert norms.pop("4.bias") > 0
    assert set(norms.values()) == {0.0}
    assert all(row["dead"] == 1 and row["zeros"] == 1 for row in found.layers)


@given(st.integers(1, 12), st.integers(0, 12), st.integers(2, 30))
def test_units_that_never_change_are_dead(alive, dead, count):
    made = nn.Sequential(nn.Linear(3, alive + dead), nn.ReLU()).double()
    with torch.no_grad():
        made[0].bias[:alive], made[0].bias[alive:] = 100.0, -100.0
    linear, relu = look(made, gaussian(count, 3)).layers
    assert linear["dead"] == 0
    assert relu["dead"] == pytest.approx(dead / (alive + dead))
    assert relu["zeros"] == pytest.approx(dead / (alive + dead))
    assert relu["saturated"] is None


def test_a_channel_is_dead_if_all_its_pixels_are_equal_in_all_images():
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    with torch.no_grad():
        made[0].weight[0], made[0].bias[0] = 0.0, 1.0
        made[0].bias[1] = -1000.0
    shares = [row["dead"] for row in look(made, torch.randn(8, 1, 9, 9)).layers]
    assert shares == [0.25, 0.5, 0.5]


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 5))
def test_statistics_agree_with_numpy(count, units, seed):
    x = gaussian(count, units, seed).round(decimals=1)
    row = look(nn.Sequential(nn.Identity(), nn.ReLU()), x).layers[0]
    y = x.relu().numpy()
    assert row["mean"] == pytest.approx(y.mean(), abs=1e-12)
    assert row["sd"] == pytest.approx(y.std(), abs=1e-12)
    assert row["zeros"] == pytest.approx((y == 0).mean())
    assert (row["low"], row["high"]) == (y.min(), y.max())
    assert sum(row["histogram"]) == y.size
    assert len(row["histogram"]) == BINS


@given(st.integers(-44, 36), st.integers(0, 5))
def test_tiny_and_huge_signals_keep_their_deviation(power, seed):
    x = (gaussian(40, 30, seed) * 10.0**power).float()
    made = nn.Sequential(nn.Hardtanh(-math.inf, math.inf))
    row = look(made, x).layers[0]
    expected = x.double().std(correction=0)
    assert row["sd"] == pytest.approx(float(expected), rel=1e-5)
    assert norm(x) == pytest.approx(float(x.double().norm()), rel=1e-5)


def test_a_histogram_of_many_numbers_is_taken_from_an_even_subset():
    x = gaussian(500, 400)
    row = look(nn.Sequential(nn.Tanh()), x).layers[0]
    counts, _ = np.histogram(x.tanh().numpy(), BINS, (row["low"], row["high"]))
    drawn = np.array(row["histogram"])
    assert 20_000 < drawn.sum() <= 2**15
    np.testing.assert_allclose(drawn / drawn.sum(), counts / counts.sum(), atol=0.006)


def test_gradients_agree_with_autograd_on_the_mean_cross_entropy():
    made, x = network(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)), gaussian(9, 6)
    labels = torch.arange(9) % 4
    found = {row["parameter"]: row for row in look(made, x, labels).weights}
    nn.functional.cross_entropy(made(x), labels).backward()
    for name, p in made.named_parameters():
        assert found[name]["grad_norm"] == pytest.approx(float(p.grad.norm()))
        assert found[name]["grad_sd"] == pytest.approx(float(p.grad.std(correction=0)))
        assert found[name]["weight_norm"] == pytest.approx(float(p.detach().norm()))
        low, high = found[name]["low"], found[name]["high"]
        counts, _ = np.histogram(p.grad.numpy(), BINS, (low, high))
        assert found[name]["histogram"] == counts.tolist()


NETWORKS = {
    "cnn": {"model.channels": [4, 6], "norm": "batch"},
    "lenet5": {},
    "vgg": {"norm": "group"},
    "resnet": {"model.depth": 8, "model.width": 4, "norm": "batch"},
    "mlp": {"norm": "layer"},
    "deep_mlp": {"norm": "batch"},
    "rnn": {"model.hidden": [12, 8], "norm": "batch"},
    "lstm": {"model.hidden": [12]},
    "gru": {"model.hidden": [12]},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_multiply_adds_of_layers_sum_to_those_of_the_network(name):
    made = config(model=name, **NETWORKS[name])
    module = build(made, (1, 8, 8), 10)
    rows = look(module, torch.randn(5, 1, 8, 8), torch.arange(5), training=True).layers
    assert sum(row["parameters"] for row in rows) == sum(p.numel() for p in module.parameters())
    expected = shapes.multiply_adds(made["model"], (1, 8, 8), 10)
    assert sum(row["multiply_adds"] for row in rows) == expected
    assert rows[-1]["shape"] == (10,)
    assert all(math.isfinite(row["sd"]) for row in rows)


def test_a_recurrent_layer_has_one_row_over_all_its_states():
    made = config(model="rnn", **{"model.hidden": [12]})
    rows = look(build(made, (1, 8, 8), 10), torch.randn(5, 1, 8, 8)).layers
    assert [(r["layer"], r["kind"], r["shape"]) for r in rows] == [
        ("layers.0.input", "linear", (8, 12)),
        ("layers.0", "recurrent", (8, 12)),
        ("output", "linear", (10,)),
    ]


class Shared(nn.Module):
    """A user's network that calls one in-place activation twice and draws its own dropout."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 6), nn.Linear(6, 10)
        self.relu, self.rnn = nn.ReLU(inplace=True), nn.GRU(6, 6, batch_first=True)

    def forward(self, x):
        y = self.relu(self.first(x.flatten(1)))
        y = nn.functional.dropout(y, 0.5, self.training)
        y, _ = self.rnn(y[:, None])
        return self.second(self.relu(y[:, 0]))


def test_a_layer_called_twice_has_a_row_per_call():
    rows = look(Shared(), torch.randn(7, 1, 8, 8)).layers
    assert [row["layer"] for row in rows] == ["first", "relu", "rnn", "relu#2", "second"]
    assert rows[0]["zeros"] == 0, "measured after the activation changed it in place"
    assert rows[2]["multiply_adds"] == 2 * 3 * 6 * 6


def test_flat_names_hold_the_values_of_the_rows():
    made, x = network(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)), gaussian(9, 6)
    found = signals(made, x, torch.arange(9) % 4)
    assert found["signal/1/saturated"] == look(made, x).layers[1]["saturated"]
    assert found["signal/0/grad_norm"] == look(made, x, torch.arange(9) % 4).weights[0]["grad_norm"]
    assert {"signal/0/sd", "signal/0/bias_grad_norm", "signal/2/weight_sd"} <= set(found)
    assert "signal/0/saturated" not in found
    assert all(isinstance(value, float) for value in found.values())
    assert not any(name.endswith("grad_norm") for name in signals(made, x))


# -- inspecting changes nothing --------------------------------------------------------------------

CASES = {
    "dropout and batch norm": {"norm": "batch", "dropout": "standard", "model.channels": [3]},
    "recurrent": {"model": "gru", "model.hidden": [6], "dropout.dense": 0.3},
    "dropconnect": {"model": "mlp", "dropout.kind": "dropconnect", "dropout.dense": 0.4},
    "own": {"model": {"name": "custom", "_target_": "tests.measure.test_inspect.Shared"}},
}


def states(training):
    return [training.state(r) for r in range(training.stack.width)]


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one == other


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fused", [False, True])
def test_inspecting_does_not_change_training(case, fused):
    seeds = (0, 1, 2)
    watched, alone = (trained(fused=fused, seed=seeds, **CASES[case]) for _ in range(2))
    generator = torch.get_rng_state()
    while not watched.done:
        for r in range(3):
            assert of_training(watched, r, images=20)
            observe(watched, r, *fixed_batch(watched.data, 10), training_mode=False)
        watched.advance()
        alone.advance()
    for one, other in zip(states(watched), states(alone), strict=True):
        assert same({**one, "seconds": 0, "spent": 0}, {**other, "seconds": 0, "spent": 0})
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(m._forward_hooks for m in watched.stack.layers(0).modules())


def test_a_look_draws_the_masks_of_its_step_and_seed():
    training = trained(**CASES["dropout and batch norm"], seed=(0, 1))
    training.stack.put({k: p[:1].expand_as(p) for k, p in training.stack.parameters.items()})
    first, other = of_training(training, 0), of_training(training, 1)
    assert of_training(training, 0) == first
    assert first["signal/dense.output/sd"] != other["signal/dense.output/sd"]


def test_signals_agree_between_a_fused_and_a_looped_stack():
    changes = {**CASES["dropout and batch norm"], "seed": (0, 1), "init": "he_uniform"}
    stacks = [trained(fused=fused, **changes) for fused in (True, False)]
    for training in stacks:
        for _ in range(4):
            training.advance()
    for r in range(2):
        fused, looped = (of_training(training, r) for training in stacks)
        assert fused.keys() == looped.keys()
        for name in fused:
            assert fused[name] == pytest.approx(looped[name], rel=1e-3, abs=1e-4), name


def test_looking_at_a_plain_network_keeps_its_mode_and_statistics():
    made = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    made[0].eval()
    before = {name: t.clone() for name, t in made.state_dict().items()}
    look(made, torch.randn(9, 4), torch.arange(9) % 3, training=True)
    assert same(dict(made.state_dict()), before)
    assert (made[0].training, made[1].training) == (False, True)
    assert all(p.grad is None for p in made.parameters())


# -- as users call it ------------------------------------------------------------------------------


def test_the_update_ratio_is_the_optimizers_own_step():
    found = looked(
        [*TINY, "batch_size=full", "images=96", "optimizer=sgd", "optimizer.lr=0.3", "train=false"]
    )
    for row in found["weights"].to_dict("records"):
        if row["matrix"]:  # plain gradient descent on exactly the inspected images
            expected = 0.3 * row["grad_norm"] / row["weight_norm"]
            assert row["update_ratio"] == pytest.approx(expected, rel=1e-3)
        else:
            assert math.isnan(row["update_ratio"]), (
                "biases start at zero, so the ratio is undefined"
            )


def test_a_finished_run_is_inspected_from_its_files_and_not_trained_again():
    done = ablate.run([*TINY, "norm=batch"])
    folder = Path("results/digits-mlp") / done["key"]
    before = listing(folder)
    found = ablate.inspect([*TINY, "norm=batch"])
    after = listing(folder)
    assert {name: after[name] for name in before} == before
    assert found.folder == folder / "inspect"
    weights = record.load_weights(folder)
    end = found.weights[found.weights["moment"] == "end"].set_index("parameter")
    for name, row in end.iterrows():
        assert row["weight_norm"] == pytest.approx(float(weights[name].norm()), rel=1e-6)
    norms = found.norms[found.norms["mode"] == "eval"].set_index(["moment", "tensor"])
    assert norms.loc[("start", "gamma"), ["mean", "sd"]].tolist() == [1, 0]
    assert norms.loc[("start", "running_var"), "mean"] == 1
    expected = float(weights["dense.layers.0.norm.running_mean"].mean())
    assert norms.loc[("end", "running_mean"), "mean"] == pytest.approx(expected, rel=1e-6)
    assert end["step"].unique() == [6]


def test_looks_during_training_end_where_the_recorded_run_ends():
    words = [*TINY, "dropout.dense=0.2", "seed=3"]
    way, recorded = looked([*words, "inspect.every=2"]), looked(words)
    steps = way["layers"].drop_duplicates(["moment", "step"])[["moment", "step"]]
    assert steps.to_numpy().tolist() == [["start", 0], ["step", 2], ["step", 4], ["end", 6]]
    assert {"train", "eval"} == set(way["layers"]["mode"])
    for name in ("layers", "weights"):
        one, other = (found[name] for found in (way, recorded))
        one = one[one["moment"] != "step"].reset_index(drop=True)
        pd.testing.assert_frame_equal(one, other, check_dtype=False)


def test_the_course_is_drawn_if_there_are_looks_during_training():
    words = [*TINY, "every=3", "dropout.dense=0.2"]
    seen = look_at(request.checked(Words(words))).seen
    figures = pictures.draw(seen)
    assert set(figures) == {"overview", "activations", "gradients", "course"}
    lines = [axis.get_lines() for axis in figures["course"].axes]
    assert [len(each) for each in lines] == [2, 2, 2]
    assert lines[0][0].get_xdata().tolist() == [0, 3, 6]
    assert lines[2][0].get_xdata().tolist() == [0, 3], "no step follows the last look"


def test_a_deep_tanh_network_reproduces_the_textbook_picture():
    arms = ["init=normal init.std=0.01", "init=normal init.std=1", "init=xavier_normal"]
    words = Words(["model=deep_mlp", "train=false"], arms)
    inspected = look_at(request.checked(words))
    found = frames(inspected)
    rows = found["layers"][found["layers"]["kind"] == "activation"]
    sd = rows.pivot(index="layer", columns="arm", values="sd").to_numpy()
    full = rows.pivot(index="layer", columns="arm", values="saturated").to_numpy()
    vanishing, saturated, held = sd.T
    # A unit's variance is 100 · 0.01² times that of the layer before: the deviation falls tenfold.
    np.testing.assert_allclose(vanishing[1:] / vanishing[:-1], 0.1, rtol=0.2)
    assert (saturated > 0.9).all()
    assert (full[:, 1] > 0.75).all()
    assert (held > 0.15).all()
    assert (full[:, 2] < 0.05).all()
    gradients = found["weights"][found["weights"]["matrix"]].pivot(
        index="layer", columns="arm", values="grad_norm"
    )
    assert gradients.iloc[:, 0].max() < 1e-8
    assert gradients.iloc[0, 1] > 100 * gradients.iloc[-2, 1]
    figures = pictures.draw(inspected.seen)
    assert len(figures["overview"].axes[0].get_lines()) == 3, "the arms do not share a figure"


def test_every_file_is_written_and_can_be_read_back():
    found = ablate.inspect([*TINY, "norm=none,batch", "launch=inline"], multirun=True)
    assert found.folder == Path("results/digits-mlp/inspect")
    names = {path.name for path in found.folder.iterdir()}
    figures = {f"{n}.{e}" for n in ("overview", "activations", "gradients") for e in ("png", "svg")}
    assert names == figures | {
        *("inspect.json", "inspect.files.json"),
        *(f"{n}.parquet" for n in ("layers", "weights", "norms")),
    }
    frame = pd.read_parquet(found.folder / "layers.parquet")
    assert frame["sd"].tolist() == found.layers["sd"].tolist()
    assert all(len(counts) == BINS for counts in frame["histogram"])
    looks = json.loads((found.folder / "inspect.json").read_text())["looks"]
    first = looks[0]["signals"]
    one = found.layers.iloc[0]
    assert first[f"signal/{one['layer']}/sd"] == one["sd"]
    assert {entry["arm"] for entry in looks} == {"norm=none", "norm=batch"}


@pytest.mark.parametrize(("asked", "told"), [(64, False), (500, True)])
def test_having_fewer_images_than_requested_is_noted(asked, told):
    words = Words([*TINY, "train=false", f"images={asked}"])
    asked_for = request.checked(words)
    inspected = look_at(asked_for)
    console = Console(width=100)
    with console.capture() as page:
        show(asked_for, inspected, Path("here"), console)
    assert inspected.images == min(asked, 96)
    assert ("images=500 is more than there are: all 96 were used" in page.get()) == told


def test_a_diverged_run_is_reported_and_still_inspected():
    found = ablate.inspect([*TINY, "optimizer=sgd", "optimizer.lr=1e30"])
    assert "diverged" in found.failures[0]
    end = found.layers[found.layers["moment"] == "end"]
    assert end["sd"].isna().all()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["every=0"], "every=0 is not legal: it takes a whole number ≥ 1"),
        (["images=1"], "images=1 is not legal"),
        (["inspect.evry=3"], "there is no setting inspect.evry; did you mean 'every'?"),
        (["every=3", "train=false"], "every=3 touches nothing: train=false"),
        (["evry=3"], "there is no setting, knob or group evry; did you mean 'every'?"),
        (["every=2", "inspect.every=3"], "every is set twice"),
        (["save=none"], "save=none keeps no weights to look at"),
        (["seed=0,1"], "names several values"),
    ],
)
def test_a_wrong_request_is_refused(words, told):
    with pytest.raises(AblateError) as raised:
        ablate.inspect([*TINY, *words])
    assert told in str(raised.value)
    assert not Path("results").exists()


def test_a_finished_run_without_weights_is_refused_with_how_to_get_them():
    ablate.run([*TINY, "save=none"])
    with pytest.raises(AblateError, match=r"keeps no weights.*rerun=all trains it again"):
        ablate.inspect(TINY)


def test_the_command_prints_tables_within_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = called("inspect", *TINY, "norm=batch")
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "written:" not in line)
    for text in ("at the start", "after training", "dense.layers.0.norm", "update/weight"):
        assert text in done.stdout


def test_attention_and_modules_that_are_not_layers_are_left_out():
    made = nn.ModuleDict({"attend": nn.MultiheadAttention(4, 1), "norm": nn.Identity()})
    assert {name: kind for name, (kind, _) in layers_of(made).items()} == {
        "attend.out_proj": "linear",
        "norm": "norm",
    }
    assert flat(look(nn.Sequential(nn.Flatten()), torch.ones(2, 3))) == {}
