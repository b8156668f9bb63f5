"""Which weights are evaluated and tested: averages, the best epoch's, or those at an early stop."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import update_bn

from ablate.nets.build import build
from tests.techniques import begun, runs

both = pytest.mark.parametrize("fused", [False, True], ids=["looped", "fused"])
AVERAGES = [
    "regularize: ema",
    "regularize: ema with batch norm",
    "regularize: swa",
    "regularize: swa with batch norm",
]


def by_hand(run, weights, steps):
    """Average a run's tensors after each step, by the formulas."""
    decay, start = run["regularize"]["ema"], run["regularize"]["swa"]
    average = weights[0]
    for new in weights[1:]:
        average = {k: decay * a + (1 - decay) * new[k] for k, a in average.items()}
    if start is not None:
        counted = weights[round(start * steps) :] or weights[-1:]
        average = {k: sum(w[k] for w in counted) / len(counted) for k in average}
    return average


def plain_network(run, tensors, training):
    """Make a plain network of these tensors; averaged weights get new statistics."""
    network = build(run, training.data.shape, training.data.classes)
    held = network.state_dict()
    network.load_state_dict({k: tensors[k].to(v.dtype) for k, v in held.items()})
    start = run["regularize"]["swa"]
    if start is not None and round(start * training.steps) < training.step:
        update_bn(training.batches.plain(), network)
    return network.eval()


def loss_of(network, split, training):
    with torch.no_grad():
        logits = network(training.data.normalized(split.images))
    return F.cross_entropy(logits, split.labels).item()


@both
@pytest.mark.parametrize("name", AVERAGES)
def test_history_and_metrics_are_of_the_average(name, fused):
    configs, training = runs(name), begun(runs(name), fused=fused)
    seen = [[] for _ in configs]
    expected = [[] for _ in configs]
    networks = []
    while not training.done:
        epoch_ended = training.advance()
        for r, states in enumerate(seen):
            states.append(training.stack.slice(r))
        if epoch_ended:
            networks = [
                plain_network(run, by_hand(run, seen[r], training.steps), training)
                for r, run in enumerate(configs)
            ]
            for losses, network in zip(expected, networks, strict=True):
                losses.append(loss_of(network, training.data.val, training))
    metrics = training.finish()
    for r, course in enumerate(training.courses):
        assert [h["val/loss"] for h in course.history] == pytest.approx(expected[r], rel=1e-5)
        test = loss_of(networks[r], training.data.test, training)
        assert metrics[r]["test/loss"] == pytest.approx(test, rel=1e-5)
        tested = training.stack.slice(r)
        for key, tensor in networks[r].state_dict().items():
            if tensor.is_floating_point():  # the weights, and the statistics of update_bn
                torch.testing.assert_close(tested[key], tensor, rtol=1e-5, atol=1e-6)


@both
@pytest.mark.parametrize("name", ["regularize: ema", "regularize: swa with batch norm"])
@pytest.mark.parametrize("select", ["last", "best"])
def test_what_is_tested_of_an_average_is_the_selected_epochs(name, select, fused):
    configs = [c | {"select": select, "epochs": 4} for c in runs(name)]
    for config in configs:
        config["optimizer"] = config["optimizer"] | {"lr": 100 * config["optimizer"]["lr"]}
    training = begun(configs, fused=fused)
    epochs = []
    while not training.done:
        if training.advance():
            with training.scores.in_place(training.step):
                epochs.append([training.stack.slice(r) for r in range(len(configs))])
    metrics = training.finish()
    chosen = []
    for r, course in enumerate(training.courses):
        scores = [(h["val/accuracy"], -h["val/loss"]) for h in course.history]
        chosen.append(scores.index(max(scores)) if select == "best" else len(scores) - 1)
        tested = training.stack.slice(r)
        assert all(torch.equal(tested[k], epochs[chosen[r]][r][k]) for k in tested)
        accuracy = course.history[chosen[r]]["val/accuracy"]
        assert metrics[r]["val/accuracy"] == pytest.approx(accuracy)
    assert select == "last" or min(chosen) < 3, "some run was at its best before the end"


@both
@pytest.mark.parametrize("select", ["last", "best"])
def test_a_stopped_run_is_tested_with_the_weights_of_the_stopping_or_the_best_epoch(select, fused):
    configs = [c | {"select": select} for c in runs("regularize: early_stopping")]
    training = begun(configs, fused=fused)
    epochs = []
    while not training.done:
        if training.advance():
            epochs.append([training.stack.slice(r) for r in range(len(configs))])
    training.finish()
    lengths = [len(course.history) for course in training.courses]
    assert len(set(lengths)) > 2, "runs stop at their own epochs"
    for r, course in enumerate(training.courses):
        scores = [(h["val/accuracy"], -h["val/loss"]) for h in course.history]
        best = scores.index(max(scores))
        if lengths[r] < configs[r]["epochs"]:
            assert best == lengths[r] - 2, "a patience of one epoch"
        chosen = best if select == "best" else lengths[r] - 1
        tested = training.stack.slice(r)
        assert all(torch.equal(tested[k], epochs[chosen][r][k]) for k in tested)


@both
@pytest.mark.parametrize("name", ["regularize: ema", "regularize: swa with batch norm"])
def test_an_average_of_a_run_in_bf16_is_kept_in_float32(name, fused):
    configs = runs(name, "bf16")
    training = begun(configs, fused=fused)
    seen = [[] for _ in configs]
    while not training.done:
        training.advance()
        for r, states in enumerate(seen):
            states.append(training.stack.slice(r))
    averages = training.update.average.average
    assert {t.dtype for t in averages.values() if t.is_floating_point()} == {torch.float32}
    for r, run in enumerate(configs):
        states = [{k: t.double() for k, t in state.items()} for state in seen[r]]
        for key, exact in by_hand(run, states, training.steps).items():
            if averages[key].is_floating_point():  # bf16 would round by up to 4e-3
                torch.testing.assert_close(averages[key][r].double(), exact, rtol=1e-5, atol=1e-7)
