"""Evaluating saved runs: averages, calibration, deletion, perturbation, and wrong requests."""

from __future__ import annotations

import itertools
import math
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from sklearn import metrics as sklearn_metrics
from torch import nn

import ablate
from ablate import record
from ablate.commands.evaluate import pictures, serve
from ablate.config.knobs.looking import EVALUATE
from ablate.config.settings import of_values, of_words
from ablate.errors import AblateError
from ablate.measure import calibration, mistakes, perturbations
from ablate.measure.deletion import Correlation, HiddenLayers
from ablate.measure.ensembles import SubNetworks, divergence, ensemble, entropy
from ablate.measure.evaluate_settings import resolved
from ablate.measure.saved import open_run
from ablate.nets.build import build
from ablate.nets.dropout import Dropout
from ablate.nets.resnet import Residual
from ablate.train.quality import measure
from tests import reference
from tests.calls import called
from tests.configs import config

TINY = ["data.train_size=128", "epochs=2", "model=mlp", "model.hidden=[12]", "dropout.dense=0.25"]
QUICK = {"delete": False, "perturb": False, "worst": 2}


def random_logits(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


SHAPES = {"images": st.integers(1, 6), "classes": st.integers(2, 6), "seed": st.integers(0, 10**6)}


# -- averages --------------------------------------------------------------------------------------


@given(**SHAPES, members=st.integers(1, 5))
def test_means_entropy_and_information_follow_their_formulas(images, classes, seed, members):
    logits = random_logits(members, images, classes, seed=seed)
    found = ensemble(logits)
    for n in range(images):
        mean, geometric, uncertainty, information = reference.ensemble(logits[:, n].tolist())
        assert found.arithmetic_NK[n].exp().tolist() == pytest.approx(mean)
        assert found.geometric_NK[n].exp().tolist() == pytest.approx(geometric)
        assert float(found.entropy_N[n]) == pytest.approx(uncertainty, abs=1e-12)
        assert float(found.information_N[n]) == pytest.approx(information, abs=1e-12)


@given(**SHAPES, members=st.integers(2, 5), scale=st.floats(0, 2000))
def test_information_is_between_zero_and_its_bounds_by_members_and_entropy(
    images, classes, seed, members, scale
):
    found = ensemble(random_logits(members, images, classes, seed=seed, scale=scale))
    most = found.entropy_N.clamp(max=math.log(members)) + 1e-12
    assert ((found.information_N >= 0) & (found.information_N <= most)).all()
    assert (found.entropy_N <= math.log(classes) + 1e-12).all()


def test_information_is_zero_if_members_agree_and_largest_if_sure_ones_differ():
    same = ensemble([random_logits(4, 3)] * 5)
    assert same.information_N.tolist() == pytest.approx([0] * 4, abs=1e-12)
    sure = 1e4 * torch.eye(3, dtype=torch.float64)
    found = ensemble([sure[k].expand(2, 3) for k in range(3)])
    assert found.information_N.tolist() == pytest.approx([math.log(3)] * 2)


@given(classes=st.integers(1, 50))
def test_the_entropy_of_a_uniform_distribution_is_log_k(classes):
    uniform = torch.zeros(1, classes, dtype=torch.float64).log_softmax(-1)
    assert float(entropy(uniform)) == pytest.approx(math.log(classes), abs=1e-12)


@given(**SHAPES)
def test_the_divergence_agrees_with_scipy(images, classes, seed):
    p, q = random_logits(2, images, classes, seed=seed).softmax(-1)
    expected = stats.entropy(p.numpy(), q.numpy(), axis=-1).mean()
    assert divergence(p.log(), q.log()) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("scaling", ["inverted", "test"])
@pytest.mark.parametrize(("rate", "repeats"), [(0.5, 1), (0.25, 3)])
def test_for_a_softmax_layer_the_geometric_mean_over_sub_networks_is_weight_scaling(
    scaling, rate, repeats
):
    # Srivastava et al. 2014; Baldi & Sadowski 2013: exact for one layer, at any rate. A mask that
    # keeps m units has probability (1-p)^m p^(n-m): at p = 1/4, as if it were listed 3^m times.
    made = config(
        model="mlp",
        dropout={"conv": 0, "dense": 0, "output": 0, "input": rate, "kind": "bernoulli"}
        | {"scaling": scaling, "_target_": None},
        **{"model.hidden": []},
    )
    net = build(made, (1, 2, 2), 5).double().eval()
    x = random_logits(7, 1, 2, 2)
    kept = 1 / (1 - rate) if scaling == "inverted" else 1
    members = [
        net.dense.output(x.flatten(1) * torch.tensor(mask) * kept)
        for mask in reference.masks(4)
        for _ in range(repeats ** sum(mask))
    ]
    expected = net(x).log_softmax(-1).detach()
    found = ensemble([member.detach() for member in members])
    torch.testing.assert_close(found.geometric_NK, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(found.arithmetic_NK, expected, atol=1e-3)


@pytest.mark.parametrize("scaling", ["inverted", "none"])
def test_sampled_outputs_of_a_linear_layer_have_their_exact_mean_and_variance(scaling):
    rate, passes, batch = 0.3, 40, 100
    count = passes * batch
    layer = nn.Linear(6, 3).double()
    net = nn.Sequential(Dropout(rate, scaling=scaling).double(), layer).eval()
    x, drawn = random_logits(1, 6), SubNetworks(net, seed=3)
    outputs = []
    for number in range(passes):
        with drawn.sample(number), torch.no_grad():
            outputs.append(net(x.expand(batch, -1)))
    found = torch.cat(outputs)
    factor = 1 / (1 - rate) if scaling == "inverted" else 1.0
    terms = (layer.weight * x[0] * factor).detach()
    mean = terms.sum(1) * (1 - rate) + layer.bias.detach()
    variance = (terms**2).sum(1) * rate * (1 - rate)
    error = (variance / count).sqrt()
    assert ((found.mean(0) - mean).abs() < 4 * error).all()
    assert ((found.var(0) / variance - 1).abs() < 6 * math.sqrt(2 / count)).all()


def test_sampling_changes_only_dropout_and_can_be_repeated():
    made = config(
        dropout="standard",
        norm="batch",
        **{"model.channels": [4], "model.hidden": [8], "regularize.stochastic_depth": 0},
    )
    net = build(made, (1, 8, 8), 3).eval()
    x, drawn = torch.randn(5, 1, 8, 8), SubNetworks(net, seed=0)
    plain, before = net(x), {k: v.clone() for k, v in net.state_dict().items()}

    def member(number, part=0):
        with drawn.sample(number, part):
            norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
            assert norms
            assert not any(norm.training for norm in norms)
            return net(x)

    assert torch.equal(member(0), member(0))
    assert not torch.equal(member(0), member(1))
    assert not torch.equal(member(0), member(0, part=1))
    assert torch.equal(net(x), plain)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_stochastic_depth_is_sampled_image_by_image():
    unit = Residual(nn.Linear(3, 3), nn.Identity(), nn.Identity(), rate=0.5).eval()
    x = torch.randn(50, 3)
    with SubNetworks(unit, seed=0).sample(0), torch.no_grad():
        added = unit(x) - x
        left_out = (added == 0).all(1)
        assert 10 < left_out.sum() < 40
        torch.testing.assert_close(added[~left_out], 2 * unit.branch(x)[~left_out])


# -- calibration -----------------------------------------------------------------------------------


def labels_of(images, classes, seed):
    return torch.randint(classes, (images,), generator=torch.Generator().manual_seed(seed + 1))


def loss_at(logits, labels):
    return lambda t: float(nn.functional.cross_entropy(logits / t, labels))


@given(images=st.integers(20, 60), classes=st.integers(2, 5), seed=st.integers(0, 10**6))
def test_the_temperature_is_where_scipy_finds_the_smallest_loss(images, classes, seed):
    labels = labels_of(images, classes, seed)
    logits = random_logits(images, classes, seed=seed)
    logits += 2 * nn.functional.one_hot(labels, classes)
    found = calibration.temperature(logits, labels)
    loss = loss_at(logits, labels)
    best = optimize.minimize_scalar(
        lambda log_t: loss(math.exp(log_t)), bounds=np.log(calibration.RANGE), method="bounded"
    )
    assert loss(found.value) <= best.fun + 1e-12
    if not found.limited:
        assert found.value == pytest.approx(math.exp(best.x), rel=1e-2)


@given(factor=st.floats(0.1, 10))
def test_scaling_logits_by_a_factor_scales_the_temperature_by_it(factor):
    logits, labels = random_logits(50, 4), labels_of(50, 4, 0)
    logits += nn.functional.one_hot(labels, 4)
    one = calibration.temperature(logits, labels).value
    assert calibration.temperature(factor * logits, labels).value == pytest.approx(factor * one)


def test_an_unbounded_temperature_is_limited_and_marked_so():
    right = torch.eye(3, dtype=torch.float64)
    least, most = calibration.RANGE
    assert calibration.temperature(right, torch.arange(3)) == calibration.Temperature(least, True)
    wrong = calibration.temperature(-right, torch.arange(3))
    assert wrong == calibration.Temperature(most, True)


@given(images=st.integers(1, 60), classes=st.integers(2, 6), seed=st.integers(0, 10**6))
def test_the_calibration_error_follows_from_the_curve(images, classes, seed):
    log = random_logits(images, classes, seed=seed).log_softmax(-1)
    labels = labels_of(images, classes, seed)
    curve = calibration.curve(log, labels)
    known = curve[curve["images"] > 0]
    gaps = (known["confidence"] - known["accuracy"]).abs() * known["images"] / images
    confidence, guess = log.exp().max(-1)
    right = (guess == labels).tolist()
    assert curve["images"].sum() == images
    assert gaps.sum() == pytest.approx(reference.calibration_error(confidence.tolist(), right))
    assert gaps.sum() == pytest.approx(float(measure(log[None], labels)["ece"]))


# -- mistakes --------------------------------------------------------------------------------------


@given(images=st.integers(1, 40), classes=st.integers(2, 6), seed=st.integers(0, 10**6))
def test_confusion_and_class_accuracies_agree_with_scikit_learn(images, classes, seed):
    logits, labels = random_logits(images, classes, seed=seed), labels_of(images, classes, seed)
    counts = mistakes.confusion(logits, labels)
    truth, given_ = labels.numpy(), logits.argmax(-1).numpy()
    expected = sklearn_metrics.confusion_matrix(truth, given_, labels=range(classes))
    assert counts.tolist() == expected.tolist()
    present = np.unique(truth)
    recalls = sklearn_metrics.recall_score(truth, given_, labels=present, average=None)
    accuracy = mistakes.class_accuracy(counts)
    assert [accuracy[k] for k in present] == pytest.approx(recalls.tolist())
    assert [accuracy[k] for k in set(range(classes)) - set(present)] == [None] * (
        classes - len(present)
    )


def test_the_commonest_mistakes_come_first_and_right_answers_are_not_mistakes():
    counts = torch.tensor([[9, 1, 0], [0, 9, 0], [3, 0, 9]])
    assert mistakes.most_confused(counts, ["a", "b", "c"]) == [("c", "a", 3), ("a", "b", 1)]


def test_each_image_is_listed_with_its_loss():
    log = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64).log()
    frame = mistakes.predictions(log, torch.tensor([1, 1]), ["cat", "dog"])
    assert frame["true"].tolist() == ["dog", "dog"]
    assert frame["given"].tolist() == ["cat", "dog"]
    assert frame["right"].tolist() == [False, True]
    assert frame["loss"].tolist() == pytest.approx([-math.log(0.1), -math.log(0.8)])
    assert frame["confidence"].tolist() == pytest.approx([0.9, 0.8])
    assert frame["entropy"].tolist() == pytest.approx(
        [reference.entropy([0.9, 0.1]), reference.entropy([0.2, 0.8])]
    )


# -- hidden units ----------------------------------------------------------------------------------


class Own(nn.Module):
    """A user's network: one activation shared by two layers, no dropout."""

    def __init__(self, functional=False):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(3, 2)
        self.act = torch.relu if functional else nn.ReLU()

    def forward(self, x):
        return self.last(self.act(self.second(self.act(self.first(x.flatten(1))))))


def units_of(model, **changes):
    net = build(config(model=model, **changes), (1, 8, 8), 3).eval()
    return HiddenLayers(net, torch.randn(2, 1, 8, 8)).units


def test_hidden_layers_are_found_in_the_order_of_computation():
    assert list(units_of("mlp", **{"model.hidden": [5, 7]}).values()) == [5, 7]
    cnn = units_of("cnn", **{"model.channels": [4, 6], "model.hidden": [9]})
    assert list(cnn.values()) == [4, 6, 9]
    assert list(units_of("lstm", **{"model.hidden": [5]}).values()) == [5]
    assert list(units_of("rnn", **{"model.hidden": [5, 6]}).values()) == [5, 6]
    assert units_of("mlp", **{"model.hidden": []}) == {}
    # A stem, then three stages of one unit with two activations each.
    assert list(units_of("resnet", **{"model.depth": 8, "model.width": 4}).values()) == [
        *(4, 4, 4, 8, 8, 16, 16)
    ]


def test_hidden_layers_are_found_with_shared_or_functional_activations():
    x = torch.randn(2, 1, 2, 2)
    assert HiddenLayers(Own(), x).units == {"act": 6, "act#2": 3}
    assert HiddenLayers(Own(functional=True), x).units == {"first": 6, "second": 3}


def test_a_deleted_unit_is_zero_for_all_later_layers():
    net, x = Own().eval(), torch.randn(5, 1, 2, 2)
    layers = HiddenLayers(net, x)
    kept = {"act": torch.tensor([1.0, 0, 1, 1, 0, 1]), "act#2": torch.tensor([1.0, 1, 0])}
    with torch.no_grad():
        with layers.changed(lambda name, y: y * kept[name]):
            found = net(x)
        first = net.first(x.flatten(1)).relu() * kept["act"]
        expected = net.last(net.second(first).relu() * kept["act#2"])
        assert torch.equal(found, expected)
        assert not torch.equal(net(x), expected), "the hooks were not removed"


@given(
    samples=st.integers(2, 30),
    units=st.integers(2, 6),
    seed=st.integers(0, 10**6),
    parts=st.integers(1, 3),
    constant=st.booleans(),
)
def test_the_correlation_agrees_with_numpy_however_it_is_accumulated(
    samples, units, seed, parts, constant
):
    x = random_logits(samples, units, seed=seed) + 1000
    if constant:
        x = torch.cat([x, torch.full((samples, 1), 0.1, dtype=torch.float64)], 1)
    gathered = Correlation()
    for part in torch.tensor_split(x, parts):
        if len(part):
            gathered.add(part)
    dead, found = gathered.result()
    r = np.corrcoef(x[:, :units].numpy(), rowvar=False)
    pairs = [abs(r[i, j]) for i, j in itertools.combinations(range(units), 2)]
    assert dead == constant
    assert found == pytest.approx(np.mean(pairs), abs=1e-6)


def test_a_single_unit_has_no_correlation():
    gathered = Correlation()
    gathered.add(torch.tensor([[1.0, 5.0], [2.0, 5.0]]))
    assert gathered.result() == (1, None)


def test_strengths_of_shifts_are_distinct_whole_pixels():
    assert perturbations.strengths(8)["shift"] == [1, 2, 3]
    assert perturbations.strengths(32)["shift"] == [2, 4, 6, 8, 12]


# -- settings --------------------------------------------------------------------------------------


def test_settings_are_parsed_with_defaults_for_the_rest():
    wanted = resolved(
        of_words(EVALUATE, ["views=8", "samples=none", "delete=scaled", "augment.flip=0.5"])
    )
    assert (wanted.views, wanted.samples, wanted.split) == (8, None, "test")
    assert (wanted.delete, wanted.scaled, wanted.perturb) == (True, True, True)
    own = {"shift": 0.1, "flip": 0, "test_views": 1}
    expected = {"shift": 0.1, "flip": 0.5, "test_views": 8}
    assert wanted.augmentation({"augment": own}) == expected
    assert resolved(of_values(EVALUATE, {"views": None, "delete": False})).views is None


def test_all_faults_of_the_settings_are_reported_together():
    words = ["views=0", "samples=0", "viws=3", "augment=shft", "augment.flip=2", "split=train"]
    with pytest.raises(AblateError) as told:
        resolved(of_words(EVALUATE, words))
    faults = told.value.faults
    assert len(faults) == 6
    text = "\n".join(faults)
    assert "views=0 is not legal: it takes a whole number from 2 to 1000000, none or null" in text
    assert "samples=0 is not legal" in text
    assert "did you mean 'views'?" in text
    assert "did you mean 'shift'?" in text
    assert "augment.flip=2" in text
    assert "split=train" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["views"], "name=value"),
        (["views=3", "views=4"], "twice"),
        (["views=[", "delete=perhaps"], "cannot be read"),
        (["samples=2.5"], "whole number"),
        (["delete=false", "draws=2"], "draws=2 touches nothing"),
        (["views=none", "augment=shift"], "augment=shift touches nothing"),
        (["augment=none"], "views=none leaves them out"),
        (["augment.test_views=3"], "views=K"),
        (["augment.flp=1"], "did you mean 'augment.flip'?"),
    ],
)
def test_a_wrong_setting_is_named(words, told):
    with pytest.raises(AblateError, match=told.replace("?", r"\?").replace("[", r"\[")):
        resolved(of_words(EVALUATE, words))


# -- saved runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train three runs once: two seeds with dropout and shifts, and one run with neither."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for seed in (0, 1):
            ablate.run([*TINY, "augment=shift", f"seed={seed}"])
        ablate.run([*TINY, "dropout.dense=0"])
    return place / "results"


@pytest.fixture
def results(trained, tmp_path, monkeypatch):
    """Copy the trained runs into the test's own working directory."""
    shutil.copytree(trained, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return Path("results/digits-mlp")


@pytest.fixture
def _no_pictures(monkeypatch):
    """Skip the pictures, which take longest, in tests that do not look at them."""
    monkeypatch.setattr(pictures, "of_run", lambda *_: {})
    monkeypatch.setattr(pictures, "of_arms", lambda *_: {})


def folders(results):
    """Return the folders of the runs: seeds 0 and 1 with dropout and shifts, then the other."""
    found = {d: record.read(d) for d in record.find(results)}
    return sorted(
        found, key=lambda d: (not found[d]["config"]["augment"]["shift"], found[d]["seed"])
    )


def changed(folder, **entries):
    record.write(folder, {**record.read(folder), **entries})


@pytest.mark.usefixtures("_no_pictures")
def test_the_plain_evaluation_agrees_with_that_of_training(results):
    found = ablate.evaluate(results, **QUICK)
    assert len(found.runs) == 3
    assert found.faults == ()
    for row in found.runs.to_dict("records"):
        trained = record.read(Path(row["path"]))["metrics"]
        for name in ("loss", "accuracy", "error", "ece", "brier"):
            assert row[f"plain/{name}"] == pytest.approx(trained[f"test/{name}"], rel=1e-6)
    on_val = ablate.evaluate(folders(results)[0], split="val", **QUICK)
    trained = record.read(folders(results)[0])["metrics"]
    assert on_val.runs.loc[0, "plain/loss"] == pytest.approx(trained["val/loss"], rel=1e-6)
    assert "calibration/temperature" not in on_val.runs, "there are no other images to fit it on"


@pytest.mark.usefixtures("_no_pictures")
def test_views_are_averaged_as_in_training_with_as_many_test_views(results):
    other = ablate.run([*TINY, "augment=shift", "augment.test_views=3", "out=other"])
    found = ablate.evaluate(folders(results)[0], views=3, **QUICK).runs.loc[0]
    for name in ("loss", "accuracy", "ece", "brier"):
        assert found[f"views/{name}"] == pytest.approx(other["metrics"][f"test/{name}"], rel=1e-6)
    assert found["views/loss"] != found["plain/loss"]


@pytest.mark.usefixtures("_no_pictures")
def test_a_run_without_augmentation_has_views_only_if_requested(results):
    plain = folders(results)[2]
    assert "views/error" not in ablate.evaluate(plain, **QUICK).runs
    found = ablate.evaluate(plain, views=3, augment="shift", **QUICK)
    assert "views/error" in found.runs
    kept = record.read(plain)["evaluate"]["test"]["views"]
    assert (kept["views"], kept["augment"]) == (3, {"shift": 0.125})


@pytest.mark.usefixtures("_no_pictures")
def test_shifts_that_would_leave_nothing_of_an_image_are_refused(results):
    with pytest.raises(AblateError, match="for images of 8 × 8 pixels: it takes at most 7"):
        ablate.evaluate(folders(results)[2], **QUICK, **{"augment.shift": 8})


@pytest.mark.usefixtures("_no_pictures")
def test_the_record_gains_an_evaluation_and_keeps_everything_else(results):
    folder = folders(results)[0]
    before = record.read(folder)
    ablate.evaluate(folder, draws=1, worst=1)
    after = record.read(folder)
    kinds = {"plain", "views", "dropout", "deletion", "correlation", "calibration", "classes"}
    assert set(after["evaluate"]["test"]) == kinds | {"perturbation"}
    changes = ("evaluate", "checksum")
    assert {k: v for k, v in after.items() if k not in changes} == {
        k: v for k, v in before.items() if k not in changes
    }
    ablate.evaluate(folder, split="val", views=3, samples=None, **QUICK)
    both = record.read(folder)["evaluate"]
    assert both["test"] == after["evaluate"]["test"]
    assert both["val"]["views"]["views"] == 3
    ablate.evaluate(folder, samples=3, views=None, **QUICK)
    again = record.read(folder)["evaluate"]["test"]
    assert again["dropout"]["samples"] == 3
    assert again["deletion"] == after["evaluate"]["test"]["deletion"], (
        "another kind of measurement was lost"
    )
    assert again["views"] == after["evaluate"]["test"]["views"]


@pytest.mark.usefixtures("_no_pictures")
def test_the_same_request_again_gives_the_same_numbers(results):
    folder = folders(results)[0]
    one, other = (ablate.evaluate(folder, samples=3, draws=2) for _ in range(2))
    assert one.runs.equals(other.runs)
    assert all(frame.equals(other.frames[name]) for name, frame in one.frames.items())
    more = ablate.evaluate(folder, samples=4, **QUICK)
    assert more.runs.loc[0, "dropout/arithmetic/loss"] != one.runs.loc[0, "dropout/arithmetic/loss"]


@pytest.mark.usefixtures("_no_pictures")
def test_weight_scaling_is_compared_with_averages_of_sub_networks(results):
    row = ablate.evaluate(folders(results)[0], samples=200, **QUICK).runs.loc[0]
    assert row["dropout/scaling/loss"] == row["plain/loss"]
    for mean in ("arithmetic", "geometric"):
        assert 0.9 < row[f"dropout/agreement/{mean}"] <= 1
        assert 0 < row[f"dropout/divergence/{mean}"] < 0.05
    assert 0 < row["dropout/information/all"] < row["dropout/entropy/all"] < math.log(10)


@pytest.mark.usefixtures("_no_pictures")
def test_curves_start_from_the_unchanged_network_and_images(results):
    found = ablate.evaluate(folders(results)[0], draws=2)
    accuracy = found.runs.loc[0, "plain/accuracy"]
    deletion, perturbation = found.frames["deletion"], found.frames["perturbation"]
    assert deletion.groupby("share").size().to_dict() == dict.fromkeys(
        [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 2
    )
    assert (deletion.loc[deletion["share"] == 0, "accuracy"] == accuracy).all()
    at_rest = perturbation[perturbation["strength"] == 0]
    assert at_rest["kind"].tolist() == ["shift", "rotate", "noise"]
    assert (at_rest["accuracy"] == accuracy).all()


def test_a_stronger_perturbation_is_the_same_one_scaled_up(results):
    folder = folders(results)[0]
    saved = open_run(folder, record.read(folder), "cpu")
    images = saved.data.test.images[:20]
    plain = saved.data.normalized(images)

    def added(kind, strength):
        return perturbations.perturbed(saved, kind, strength)(images, 0) - plain

    noise = added("noise", 1.0)
    torch.testing.assert_close(added("noise", 2.0), 2 * noise)
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    black = -saved.data.mean / saved.data.std
    for strength in (1, 2):
        moved = plain + added("shift", strength)
        ways = range(-strength, strength + 1)
        for x, y in zip(plain, moved, strict=True):
            at_black = (x - black, y - black)
            assert any(
                torch.allclose(reference.shifted(at_black[0], *by), at_black[1], atol=1e-6)
                for by in itertools.product(ways, ways)
            )
    assert (added("rotate", 60.0).flatten(1).abs().amax(1) > 0.5).all()
    assert not added("rotate", 0.0).any()


@pytest.mark.usefixtures("_no_pictures")
def test_scaling_up_the_remaining_units_changes_the_deletion_curve(results):
    folder = folders(results)[0]
    plain, scaled = (
        ablate.evaluate(folder, delete=how, perturb=False).frames["deletion"]
        for how in (True, "scaled")
    )
    assert plain.loc[plain["share"] == 0, "loss"].equals(scaled.loc[scaled["share"] == 0, "loss"])
    assert not plain["loss"].equals(scaled["loss"])


def test_pictures_and_curves_are_returned_and_written(results):
    folder = folders(results)[0]
    found = ablate.evaluate(folder, draws=1, worst=3)
    names = {"calibration", "confusion", "worst", "deletion", "correlation", "perturbation"}
    assert set(found.figures) == names | {"uncertainty"}
    assert set(found.frames) == names | {"predictions"}
    written = {p.name for p in (folder / "evaluate").iterdir()}
    assert written - {"evaluate.files.json"} == {
        f"{n}.{e}" for n in found.figures for e in ("png", "svg")
    } | {f"{n}.csv" for n in found.frames}
    test_images = record.read(folder)["environment"]["data"]["sizes"]["test"]
    assert len(found.frames["predictions"]) == test_images
    losses = found.frames["predictions"]["loss"].sort_values(ascending=False)
    assert found.frames["worst"]["loss"].tolist() == losses.head(3).tolist()
    assert found.frames["confusion"].drop(
        columns=["key", "arm", "seed", "true"]
    ).to_numpy().sum() == (test_images)


def test_the_worst_images_can_be_left_out(results):
    folder = folders(results)[1]
    found = ablate.evaluate(folder, delete=False, perturb=False, worst=None)
    assert "worst" not in found.figures
    assert "worst" not in found.frames
    assert not list((folder / "evaluate").glob("worst.*"))
    assert resolved(of_words(EVALUATE, ["worst=none"])).worst is None


def test_arms_are_drawn_side_by_side_in_the_folder_of_the_sweep(results, monkeypatch):
    monkeypatch.setattr(pictures, "of_run", lambda *_: {})
    found = ablate.evaluate(results, draws=1, perturb=False, worst=1, samples=2)
    assert set(found.figures) == {"calibration", "deletion", "correlation"}
    assert found.runs.groupby("arm").size().tolist() == [1, 2]
    assert (results / "evaluate" / "deletion.png").is_file()
    assert (results / "evaluate" / "runs.csv").is_file()
    assert found.runs["dropout/samples"].isna().tolist().count(True) == 1, (
        "a run without dropout has no samples"
    )


# -- users' own code -------------------------------------------------------------------------------

OWN = """
import torch
class Drop(torch.nn.Module):
    def __init__(self, rate): super().__init__(); self.rate = rate
    def forward(self, x):
        return torch.nn.functional.dropout(x, self.rate, self.training)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = torch.nn.Linear(64, 8), torch.nn.Linear(8, 10)
        self.drop = torch.nn.Dropout(0.3)
    def forward(self, x):
        return self.out(self.drop(torch.tanh(self.hidden(x.flatten(1)))))
"""


def own_module(name, folder):
    (folder / f"{name}.py").write_text(OWN)


@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize("what", ["model._target_", "dropout._target_"])
def test_users_own_parts_are_sampled_and_refused_once_they_have_changed(
    what, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    name = f"evaluated_{what[:5]}"
    own_module(name, tmp_path)
    target = f"{name}.{'Net' if what == 'model._target_' else 'Drop'}"
    rest = TINY[:2] if what == "model._target_" else TINY
    made = ablate.run([*rest, f"{what}={target}"])
    folder = next(iter(record.find(Path("results"))))
    one, other = (ablate.evaluate(folder, samples=3, delete=True, draws=1) for _ in range(2))
    assert one.runs.equals(other.runs)
    assert one.runs.loc[0, "dropout/information/all"] > 0
    assert one.runs.loc[0, "plain/loss"] == pytest.approx(made["metrics"]["test/loss"])
    (tmp_path / f"{name}.py").write_text(f"{OWN}\n# changed\n")
    with pytest.raises(AblateError, match=rf"{name}\.py was edited since it was trained"):
        ablate.evaluate(folder, **QUICK)


# -- wrong requests --------------------------------------------------------------------------------


def malicious(place):
    class Evil:
        def __reduce__(self):
            return Path.touch, (place / "executed",)

    return pickle.dumps({"weight": Evil()}, protocol=2)  # the protocol that torch uses


def test_a_malicious_checkpoint_is_refused_and_not_executed(results, tmp_path):
    folder = folders(results)[0]
    torch.save({"weight": torch.ones(1)}, folder / "checkpoint.pt")
    with zipfile.ZipFile(folder / "checkpoint.pt") as sound:
        parts = {name: sound.read(name) for name in sound.namelist()}
    with zipfile.ZipFile(folder / "checkpoint.pt", "w") as evil:
        for name, content in parts.items():
            evil.writestr(name, malicious(tmp_path) if name.endswith("data.pkl") else content)
    with pytest.raises(AblateError, match="damaged, or holds more than tensors"):
        ablate.evaluate(folder, **QUICK)
    (folder / "checkpoint.pt").write_bytes(malicious(tmp_path))
    with pytest.raises(AblateError, match="damaged, or holds more than tensors"):
        ablate.evaluate(folder, **QUICK)
    assert not (tmp_path / "executed").exists()
    pickle.loads(malicious(tmp_path))
    assert (tmp_path / "executed").exists(), "the pickle was harmless, so the test shows nothing"


def truncated(folder):
    whole = (folder / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])


def resized(folder):
    found = record.read(folder)
    found["config"]["model"]["hidden"] = [13]
    record.write(folder, found)


def other_data(folder):
    found = record.read(folder)
    found["environment"]["data"]["digest"] = "0" * 16
    record.write(folder, found)


def unsaved(folder):
    found = record.read(folder)
    found["config"]["save"] = "none"
    record.write(folder, found)


WRONG = {
    "damaged": (truncated, "checkpoint.pt is damaged"),
    "empty": (lambda d: (d / "checkpoint.pt").write_bytes(b""), "checkpoint.pt is damaged"),
    "missing": (lambda d: (d / "checkpoint.pt").unlink(), "checkpoint.pt is missing"),
    "a state": (lambda d: record.save_state(d, {"step": 1}), "no weights of a finished run"),
    "changed": (resized, "do not fit"),
    "other data": (other_data, "data have changed"),
    "not kept": (unsaved, "save=none"),
    "running": (lambda d: changed(d, status="running"), "is running, not finished"),
    "diverged": (lambda d: changed(d, status="diverged"), "is diverged, not finished"),
    "broken": (lambda d: (d / "record.json").write_text("{"), "record.json"),
    "not whole": (lambda d: changed(d, evaluate=None), "not a complete record"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_run_that_cannot_be_evaluated_is_named_and_left_unchanged(results, fault):
    folder = folders(results)[0]
    spoil, told = WRONG[fault]
    spoil(folder)
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}
    with pytest.raises(AblateError, match=told) as error:
        ablate.evaluate(folder, **QUICK)
    assert str(folder) in str(error.value)
    assert error.value.status == 2
    assert {p: p.read_bytes() for p in before} == before
    assert not (folder / "evaluate").exists()


def test_a_run_held_by_another_process_is_refused(results):
    folder = folders(results)[0]
    with record.claim(folder), pytest.raises(AblateError, match="another process"):
        ablate.evaluate(folder, **QUICK)


@pytest.mark.usefixtures("_no_pictures")
def test_if_some_runs_cannot_be_evaluated_the_others_are(results):
    first, second, third = folders(results)
    truncated(first)
    changed(second, status="failed")
    found = ablate.evaluate(results, **QUICK)
    assert found.runs["path"].tolist() == [str(third)]
    assert len(found.faults) == 2
    truncated(third)
    with pytest.raises(AblateError) as error:
        ablate.evaluate(results, **QUICK)
    assert len(error.value.faults) == 3


def test_settings_that_affect_no_run_are_refused(results):
    plain = folders(results)[2]
    with pytest.raises(AblateError) as error:
        ablate.evaluate(plain, samples=5, views=5)
    assert len(error.value.faults) == 2
    assert record.read(plain)["evaluate"] == {}
    with pytest.raises(AblateError, match="nowhere is not there"):
        ablate.evaluate("nowhere")


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("_no_pictures")
def test_a_run_is_shown_in_80_columns(results, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = folders(results)[0]
    assert serve.serve(str(folder), ["draws=1", "samples=2"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for words in ("as trained", "views averaged", "sub-networks, mean", "temperature", "rotate"):
        assert words in out
    assert f"{folder}/evaluate" in out


@pytest.mark.parametrize("factor", [1e30, math.nan])
def test_a_run_whose_outputs_are_not_finite_is_evaluated_with_dashes(factor, results, capsys):
    folder = folders(results)[0]
    weights = torch.load(folder / "checkpoint.pt")
    broken = {k: v * factor if v.is_floating_point() else v for k, v in weights.items()}
    torch.save(broken, folder / "checkpoint.pt")
    assert serve.serve(str(folder), ["draws=1", "samples=2", "perturb=false"]) == 0
    out = capsys.readouterr().out
    (plain,) = (line.split() for line in out.splitlines() if "as trained" in line)
    assert plain.count("–") == 3, "only loss, calibration error and Brier score are unknown"
    assert "equal decisions" in out
    assert "nan" not in out
    assert "temperature" not in out, "no temperature fits outputs that are not finite"


@pytest.mark.usefixtures("_no_pictures")
def test_the_command_exits_1_if_some_runs_were_left_out_and_2_on_a_wrong_request(
    results, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    truncated(folders(results)[0])
    changed(folders(results)[1], status="interrupted")
    done = called("evaluate", str(results), "delete=false", "perturb=false", "worst=1")
    assert done.returncode == 1
    assert "not evaluated: " in done.stderr
    assert "Traceback" not in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    refused = called("evaluate", str(results), "views=0", "smples=3")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "views=0 is not legal" in refused.stderr
    assert "did you mean 'samples'?" in refused.stderr
    assert "Nothing was started." in refused.stderr
